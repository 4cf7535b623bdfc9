#include "server/store/sequence_table.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/random_id.h"

namespace kvcompd::server {

Sequence::Sequence(std::shared_ptr<Namespace> ns, const BlockKey& parent, const ShardRange& shard,
                   Store* store)
    : ns_(std::move(ns)),
      group_(ns_->descriptor().FindGroup(shard.group)),
      shard_(shard),
      store_(store),
      parent_(parent) {}

uint64_t Sequence::RowBytes(Tensor tensor) const {
  return uint64_t{group().head_dim(tensor)} * ElementBytes(group().dtype);
}

uint64_t Sequence::TailOffset(uint32_t layer_index, Tensor tensor) const {
  const uint64_t k_bytes = group().TensorBytes(Tensor::kK, shard_.head_count, tokens_per_block());
  const uint64_t v_bytes = group().TensorBytes(Tensor::kV, shard_.head_count, tokens_per_block());
  return layer_index * (k_bytes + v_bytes) + (tensor == Tensor::kV ? k_bytes : 0);
}

uint64_t Sequence::tail_bytes() const { return TailOffset(shard_.layer_count, Tensor::kK); }

ByteSpan Sequence::TailRows(uint32_t layer_index, Tensor tensor) const {
  if (tail_.empty() || layer_index >= shard_.layer_count || !group().has(tensor)) return {};
  return ByteSpan(tail_.bytes())
      .subspan(TailOffset(layer_index, tensor),
               group().TensorBytes(tensor, shard_.head_count, tokens_per_block()));
}

void Sequence::CopyRows(ByteSpan data, uint32_t data_tokens, uint32_t skip, uint32_t rows) {
  const std::byte* from = data.data();
  for (uint32_t layer = 0; layer < shard_.layer_count; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (!group().has(tensor)) continue;
      const uint64_t row_bytes = RowBytes(tensor);
      std::byte* to = tail_.bytes().data() + TailOffset(layer, tensor) + tail_tokens_ * row_bytes;
      for (uint32_t head = 0; head < shard_.head_count; ++head) {
        std::memcpy(to, from + skip * row_bytes, rows * row_bytes);
        from += data_tokens * row_bytes;
        to += tokens_per_block() * row_bytes;
      }
    }
  }
}

absl::StatusOr<uint32_t> Sequence::Append(uint64_t first_token, uint32_t tokens, ByteSpan data) {
  if (first_token > this->tokens()) {
    return absl::FailedPreconditionError(
        absl::StrCat("append at token ", first_token, ", the sequence ends at ", this->tokens()));
  }
  const uint64_t token_bytes =
      uint64_t{shard_.layer_count} * shard_.head_count * (RowBytes(Tensor::kK) + RowBytes(Tensor::kV));
  if (data.size() != token_bytes * tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.size(), " bytes for ", tokens, " tokens of ", token_bytes, " bytes"));
  }
  const uint64_t held = this->tokens() - first_token;
  if (held >= tokens || tail_full()) return 0;
  if (tail_.empty()) {
    absl::StatusOr<ChargedSlot> slot = store_->AllocateTail(ns_, tail_bytes());
    if (!slot.ok()) return slot.status();
    tail_ = *std::move(slot);
  }
  const uint32_t skip = static_cast<uint32_t>(held);
  const uint32_t rows = std::min(tokens - skip, tokens_per_block() - tail_tokens_);
  CopyRows(data, tokens, skip, rows);
  tail_tokens_ += rows;
  return rows;
}

void Sequence::TailCommitted(const BlockKey& key) {
  parent_ = key;
  committed_tokens_ += tail_tokens_;
  tail_tokens_ = 0;
}

SequenceLock::SequenceLock(SequenceTable* table, std::string handle, std::shared_ptr<Sequence> sequence)
    : table_(table), handle_(std::move(handle)), sequence_(std::move(sequence)) {}

SequenceLock::SequenceLock(SequenceLock&& other) noexcept
    : table_(other.table_), handle_(std::move(other.handle_)), sequence_(std::move(other.sequence_)) {}

SequenceLock::~SequenceLock() {
  if (sequence_ != nullptr) table_->Release(handle_, sequence_.get(), /*drop=*/false);
}

void SequenceLock::Drop() {
  table_->Release(handle_, sequence_.get(), /*drop=*/true);
  sequence_.reset();
}

absl::Status SequenceTable::Options::Validate() const {
  if (max_sequences == 0) return absl::InvalidArgumentError("max_sequences is 0");
  if (default_ttl_ms == 0 || default_ttl_ms > max_ttl_ms) {
    return absl::InvalidArgumentError("default_ttl_ms must be in 1 to max_ttl_ms");
  }
  return absl::OkStatus();
}

SequenceTable::SequenceTable(const Options& options, Store* store, const Clock* clock, Metrics* metrics)
    : options_(options),
      store_(store),
      clock_(clock),
      refused_(&metrics->Counter("kvcompd_sequences_refused_total", "Sequences not opened",
                                 {{"reason", "limit"}})),
      expired_(&metrics->Counter("kvcompd_sequences_expired_total", "Sequences that ended by their TTL")) {}

absl::StatusOr<SequenceTable::Opened> SequenceTable::Open(const std::shared_ptr<Namespace>& ns,
                                                          const BlockKey& parent, const ShardRange& shard,
                                                          uint32_t ttl_ms) {
  absl::StatusOr<ShardRange> resolved = ns->descriptor().ResolveShard(shard);
  if (!resolved.ok()) return resolved.status();
  Opened opened;
  opened.ttl_ms = std::min(ttl_ms == 0 ? options_.default_ttl_ms : ttl_ms, options_.max_ttl_ms);
  opened.handle = RandomId();
  auto sequence = std::make_shared<Sequence>(ns, parent, *resolved, store_);
  sequence->ttl_ms_ = opened.ttl_ms;
  sequence->expires_us_ = clock_->NowUs() + int64_t{opened.ttl_ms} * 1000;
  MutexLock lock(&mutex_);
  if (sequences_.size() >= options_.max_sequences) {
    refused_->Increment();
    return absl::ResourceExhaustedError(
        absl::StrCat("as many sequences are open as may be, ", options_.max_sequences));
  }
  sequences_.emplace(opened.handle, std::move(sequence));
  return opened;
}

absl::StatusOr<SequenceLock> SequenceTable::Acquire(const Namespace& ns, const std::string& handle,
                                                    absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  const absl::Status not_found = absl::NotFoundError("the sequence has expired or is not known");
  std::shared_ptr<Sequence> sequence;  // outlives the lock: the last reference frees its tail
  MutexLock lock(&mutex_);
  auto it = sequences_.find(handle);
  if (it == sequences_.end() || it->second->ns_.get() != &ns) return not_found;
  sequence = it->second;
  while (sequence->held_ && !sequence->gone_) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("another call holds the sequence");
    }
    released_.WaitFor(&mutex_, left);
  }
  if (sequence->gone_ || sequence->expires_us_ <= clock_->NowUs()) return not_found;
  sequence->held_ = true;
  return SequenceLock(this, handle, std::move(sequence));
}

void SequenceTable::Release(const std::string& handle, Sequence* sequence, bool drop) {
  std::shared_ptr<Sequence> dropped;
  {
    MutexLock lock(&mutex_);
    sequence->held_ = false;
    sequence->expires_us_ = clock_->NowUs() + int64_t{sequence->ttl_ms_} * 1000;
    if (drop) {
      sequence->gone_ = true;
      auto it = sequences_.find(handle);
      if (it != sequences_.end()) {
        dropped = std::move(it->second);
        sequences_.erase(it);
      }
    }
  }
  released_.SignalAll();
}

void SequenceTable::Tick() {
  const int64_t now = clock_->NowUs();
  std::vector<std::shared_ptr<Sequence>> dropped;  // freed after the lock
  MutexLock lock(&mutex_);
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    auto sequence = it++;
    if (sequence->second->held_ || sequence->second->expires_us_ > now) continue;
    sequence->second->gone_ = true;
    dropped.push_back(std::move(sequence->second));
    sequences_.erase(sequence);
  }
  expired_->Increment(static_cast<double>(dropped.size()));
}

size_t SequenceTable::size() const {
  MutexLock lock(&mutex_);
  return sequences_.size();
}

}  // namespace kvcompd::server
