// Store's puts: claims, staging, commit.
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/store.h"
#include "server/store/store_impl.h"

namespace kvcompd::server {
namespace {

// Tensor times pipeline ranks: more than any deployment splits a block over. Bounded, because coverage is
// looked for among them under a lock.
constexpr size_t kMaxShardsPerBlock = 128;

absl::Status CheckPut(const Namespace& ns, const PutRequestInfo& info) {
  if (info.key.empty()) return absl::InvalidArgumentError("the block key is empty");
  if (info.tokens == 0 || info.tokens > ns.descriptor().tokens_per_block) {
    return absl::InvalidArgumentError(
        absl::StrCat(info.tokens, " tokens; 1 to ", ns.descriptor().tokens_per_block, " are possible"));
  }
  if (info.shard.head_count == 0 || info.shard.layer_count == 0) {
    return absl::InvalidArgumentError("the shard has no heads or no layers");
  }
  return absl::OkStatus();
}

absl::Status TokensDiffer(uint32_t stored, uint32_t put) {
  return absl::FailedPreconditionError(absl::StrCat("the block is stored with ", stored, " tokens, not ", put,
                                                    "; its key should differ: does it cover all tokens?"));
}

absl::Status TooManyShards() {
  return absl::ResourceExhaustedError(absl::StrCat("the block has ", kMaxShardsPerBlock,
                                                   " shards, as many as may be; store larger parts of it"));
}

}  // namespace

ShardStaging::~ShardStaging() {
  if (ended_) return;
  Store::Impl& impl = *claim_.store_->impl_;
  IndexShard& shard = impl.index.ShardOf(claim_.ns_.get(), claim_.key_);
  bool held = false;
  {
    MutexLock lock(&shard.mutex);
    held = shard.claims.End(claim_.ns_.get(), claim_.key_, claim_.number_);
  }
  if (held && !slot_.empty()) impl.dropped_uncommitted->Increment();
}

bool PutClaim::Touch() const {
  const int64_t now = store_->impl_->clock->NowUs();
  IndexShard& shard = store_->impl_->index.ShardOf(ns_.get(), key_);
  MutexLock lock(&shard.mutex);
  return shard.claims.Touch(ns_.get(), key_, number_, now);
}

PutReply Store::BeginPut(const std::shared_ptr<Namespace>& ns, const PutRequestInfo& info) {
  absl::Status valid = CheckPut(*ns, info);
  if (!valid.ok()) return impl_->Refuse(std::move(valid), Reason::kMalformed);
  const uint64_t claim = impl_->next_claim++;
  IndexShard& shard = impl_->index.ShardOf(ns.get(), info.key);
  PutReply reply;
  {
    MutexLock lock(&shard.mutex);
    BlockEntry* entry = shard.blocks.Find(ns.get(), info.key);
    if (entry != nullptr) {
      if (entry->tokens != info.tokens) {
        return impl_->Refuse(TokensDiffer(entry->tokens, info.tokens), Reason::kMalformed);
      }
      if (entry->CoversRange(info.shard)) {
        impl_->index.Touch(&shard, entry);
        reply.verdict = PutVerdict::kAlreadyStored;
        reply.generation = {impl_->epoch, entry->generation};
        reply.encoded_bytes = entry->encoded_bytes();
        reply.raw_bytes = entry->raw_bytes();
        return reply;
      }
      if (entry->shards.size() >= kMaxShardsPerBlock) {
        return impl_->Refuse(TooManyShards(), Reason::kQuota);
      }
    }
    if (info.probe) {
      const bool claimed = shard.claims.Claimed(ns.get(), info.key, info.shard, info.put_id);
      reply.verdict = claimed ? PutVerdict::kInProgress : PutVerdict::kRefused;
      reply.reason = claimed ? Reason::kInProgress : Reason::kNone;
      return reply;
    }
    switch (shard.claims.Begin(ns.get(), info.key, info.shard, info.put_id, claim, impl_->clock->NowUs())) {
      case ClaimTable::Outcome::kClaimed:
        break;
      case ClaimTable::Outcome::kTakenOver:
        impl_->dropped_taken_over->Increment();
        break;
      case ClaimTable::Outcome::kInProgress:
        reply.verdict = PutVerdict::kInProgress;
        reply.reason = Reason::kInProgress;
        return reply;
    }
  }
  // Made first, so that a claim without memory ends with it.
  std::unique_ptr<ShardStaging> staging(new ShardStaging());
  staging->claim_.store_ = this;
  staging->claim_.ns_ = ns;
  staging->claim_.key_ = info.key;
  staging->claim_.number_ = claim;
  staging->parent_ = info.parent;
  staging->shard_ = info.shard;
  staging->tokens_ = info.tokens;
  absl::StatusOr<ChargedSlot> slot =
      impl_->slots.Allocate(ns.get(), info.bound_bytes, ChargeKind::kStaged, &reply.reason);
  if (!slot.ok()) {
    PutReply refused = impl_->Refuse(slot.status(), reply.reason);
    refused.no_room = absl::IsResourceExhausted(slot.status());
    return refused;
  }
  staging->slot_ = *std::move(slot);
  reply.verdict = PutVerdict::kWanted;
  reply.staging = std::move(staging);
  return reply;
}

absl::StatusOr<CommitReply> Store::Commit(std::unique_ptr<ShardStaging> staging, const CommitInfo& info) {
  if (staging == nullptr) return absl::InvalidArgumentError("nothing is staged");
  if (info.bytes == 0 || info.bytes > staging->memory().size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit of ", info.bytes, " bytes, staged were ", staging->memory().size()));
  }
  auto stored = std::make_shared<StoredShard>();
  stored->range = staging->shard_;
  stored->error_bound = info.error_bound;
  stored->raw_bytes = info.raw_bytes;
  stored->profile = impl_->profiles.Intern(info.profile);
  stored->codebooks = info.codebooks;
  stored->slot = std::move(staging->slot_);
  stored->slot.Shrink(info.bytes);

  Namespace* const ns = staging->claim_.ns_.get();
  const BlockKey& key = staging->claim_.key_;
  IndexShard& shard = impl_->index.ShardOf(ns, key);
  WatchHub::WakeList wake;
  CommitReply reply;
  {
    MutexLock lock(&shard.mutex);
    staging->ended_ = true;
    if (!shard.claims.End(ns, key, staging->claim_.number_)) {
      return absl::AbortedError(
          "the put stood still for too long, or was taken over or flushed meanwhile; put the block again");
    }
    BlockEntry* entry = shard.blocks.Find(ns, key);
    if (entry != nullptr && entry->tokens != staging->tokens_) {
      return TokensDiffer(entry->tokens, staging->tokens_);
    }
    if (entry != nullptr && entry->CoversRange(staging->shard_)) {
      impl_->duplicate_shards->Increment();
      impl_->index.Touch(&shard, entry);
      return CommitReply{{impl_->epoch, entry->generation}, true};
    }
    if (entry != nullptr && entry->shards.size() >= kMaxShardsPerBlock) return TooManyShards();
    if (entry == nullptr) {
      entry = impl_->index.Insert(
          &shard, std::make_unique<BlockEntry>(ns, key, staging->parent_, impl_->next_generation++,
                                               staging->tokens_));
    }
    stored->slot.MoveTo(ChargeKind::kStored);
    impl_->index.AddShard(&shard, entry, std::move(stored), &wake);
    reply.generation = {impl_->epoch, entry->generation};
  }
  WatchHub::Wake(&wake);
  impl_->committed_shards->Increment();
  return reply;
}

absl::StatusOr<ChargedSlot> Store::AllocateTail(const std::shared_ptr<Namespace>& ns, uint64_t bytes,
                                                Reason* reason) {
  absl::StatusOr<ChargedSlot> slot = impl_->slots.Allocate(ns.get(), bytes, ChargeKind::kTail, reason);
  if (slot.ok()) return slot;
  (*reason == Reason::kQuota ? impl_->refused_tails_quota : impl_->refused_tails_memory)->Increment();
  return slot;
}

}  // namespace kvcompd::server
