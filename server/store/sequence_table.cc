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

absl::StatusOr<uint32_t> Sequence::Append(uint64_t first_token, uint32_t tokens, ByteSpan data,
                                          Reason* reason) {
  *reason = Reason::kMalformed;
  if (sealed_.has_value()) {
    *reason = Reason::kNotStored;
    return absl::FailedPreconditionError("the sequence is sealed; open another after its last block");
  }
  if (first_token > this->tokens()) {
    *reason = Reason::kGap;
    return absl::FailedPreconditionError(absl::StrCat(
        "append at token ", first_token, ", the sequence ends at ", this->tokens(), "; append from there"));
  }
  const uint64_t token_bytes =
      uint64_t{shard_.layer_count} * shard_.head_count * (RowBytes(Tensor::kK) + RowBytes(Tensor::kV));
  if (data.size() != token_bytes * tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.size(), " bytes for ", tokens, " tokens of ", token_bytes,
                     " bytes each over the shard's layers, K and V, and heads"));
  }
  const uint64_t held = this->tokens() - first_token;
  if (held >= tokens || tail_full()) return 0;
  if (tail_.empty()) {
    absl::StatusOr<ChargedSlot> slot = store_->AllocateTail(ns_, tail_bytes(), reason);
    if (!slot.ok()) return slot.status();
    tail_ = *std::move(slot);
  }
  const uint32_t skip = static_cast<uint32_t>(held);
  const uint32_t rows = std::min(tokens - skip, tokens_per_block() - tail_tokens_);
  CopyRows(data, tokens, skip, rows);
  tail_tokens_ += rows;
  return rows;
}

void Sequence::TailCommitted(const SequenceBlock& block) {
  if (blocks_.empty()) first_remembered_ = committed_tokens_ / tokens_per_block();
  blocks_.push_back(block);
  if (blocks_.size() > kMaxRemembered) ForgetBefore(first_remembered_ + 1);
  parent_ = block.key;
  committed_tokens_ += tail_tokens_;
  tail_tokens_ = 0;
}

const SequenceBlock* Sequence::Committed(uint64_t block) const {
  if (block < first_remembered_ || block - first_remembered_ >= blocks_.size()) return nullptr;
  return &blocks_[block - first_remembered_];
}

void Sequence::ForgetBefore(uint64_t block) {
  while (!blocks_.empty() && first_remembered_ < block) {
    blocks_.pop_front();
    ++first_remembered_;
  }
}

void Sequence::Seal(SealRecord record) {
  sealed_ = std::move(record);
  tail_.Reset();
  tail_tokens_ = 0;
  blocks_.clear();
}

SequenceLock::SequenceLock(SequenceTable* table, std::string handle, std::shared_ptr<Sequence> sequence)
    : table_(table), handle_(std::move(handle)), sequence_(std::move(sequence)) {}

SequenceLock::SequenceLock(SequenceLock&& other) noexcept
    : table_(other.table_),
      handle_(std::move(other.handle_)),
      sequence_(std::move(other.sequence_)),
      renew_(other.renew_) {}

SequenceLock::~SequenceLock() {
  if (sequence_ != nullptr) table_->Release(handle_, sequence_.get(), renew_);
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
  if (sequences_.size() >= options_.max_sequences && !ForgetSealed()) {
    refused_->Increment();
    return absl::ResourceExhaustedError(absl::StrCat(
        "as many sequences are open as may be, ", options_.max_sequences, "; seal some, or try again later"));
  }
  sequences_.emplace(opened.handle, std::move(sequence));
  return opened;
}

absl::StatusOr<SequenceLock> SequenceTable::Acquire(const Namespace& ns, const std::string& handle) {
  MutexLock lock(&mutex_);
  auto it = sequences_.find(handle);
  // What is held is in use, whatever the clock says.
  if (it == sequences_.end() || it->second->ns_.get() != &ns ||
      (!it->second->held_ && it->second->expires_us_ <= clock_->NowUs())) {
    return absl::NotFoundError("the sequence has expired or is not known; open another");
  }
  if (it->second->held_) {
    return absl::AbortedError("another call is using this sequence; repeat this one when it has ended");
  }
  it->second->held_ = true;
  return SequenceLock(this, handle, it->second);
}

void SequenceTable::Release(const std::string& handle, Sequence* sequence, bool renew) {
  MutexLock lock(&mutex_);
  sequence->held_ = false;
  if (renew) sequence->expires_us_ = clock_->NowUs() + int64_t{sequence->ttl_ms_} * 1000;
  if (!sequence->sealed().has_value() || sequence->counted_sealed_) return;
  sequence->counted_sealed_ = true;
  ++sealed_live_;
  sealed_.push_back(handle);
}

bool SequenceTable::ForgetSealed() {
  while (!sealed_.empty()) {
    auto it = sequences_.find(sealed_.front());
    if (it != sequences_.end() && it->second->held_) return false;  // a moment later it can go
    sealed_.pop_front();
    if (it == sequences_.end()) continue;
    sequences_.erase(it);
    --sealed_live_;
    return true;
  }
  return false;
}

void SequenceTable::Tick() {
  const int64_t now = clock_->NowUs();
  std::vector<std::shared_ptr<Sequence>> dropped;  // freed after the lock
  size_t expired = 0;
  MutexLock lock(&mutex_);
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    auto sequence = it++;
    if (sequence->second->held_ || sequence->second->expires_us_ > now) continue;
    if (sequence->second->counted_sealed_) {
      --sealed_live_;
    } else {
      ++expired;
    }
    dropped.push_back(std::move(sequence->second));
    sequences_.erase(sequence);
  }
  expired_->Increment(static_cast<double>(expired));
  if (sealed_.size() <= 2 * sealed_live_ + 64) return;
  sealed_.erase(std::remove_if(sealed_.begin(), sealed_.end(),
                               [this](const std::string& handle)
                                   ABSL_NO_THREAD_SAFETY_ANALYSIS { return !sequences_.contains(handle); }),
                sealed_.end());
}

size_t SequenceTable::size() const {
  MutexLock lock(&mutex_);
  return sequences_.size() - sealed_live_;
}

}  // namespace kvcompd::server
