// Store's removals: delete, quarantine, flush, trim.
#include "server/store/store.h"
#include "server/store/store_impl.h"

namespace kvcompd::server {

bool Store::Delete(const std::shared_ptr<Namespace>& ns, const BlockKey& key) {
  IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
  RemovedBlocks removed;
  MutexLock lock(&shard.mutex);
  BlockEntry* entry = shard.blocks.Find(ns.get(), key);
  if (entry == nullptr) return false;
  impl_->index.Remove(&shard, entry, Reason::kDeleted, &removed);
  return true;
}

void Store::Quarantine(const std::shared_ptr<Namespace>& ns, const BlockKey& key, Generation generation,
                       Reason reason) {
  IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
  RemovedBlocks removed;
  MutexLock lock(&shard.mutex);
  BlockEntry* entry = shard.blocks.Find(ns.get(), key);
  if (entry == nullptr || generation != Generation{impl_->epoch, entry->generation}) return;
  impl_->index.Remove(&shard, entry, reason, &removed);
}

Store::Removed Store::Flush(const std::shared_ptr<Namespace>& ns) {
  RemovedBlocks removed;
  size_t claims = 0;
  const uint64_t last_tick = impl_->index.last_tick();
  for (const auto& shard : impl_->index.shards()) {
    IndexShard* const s = shard.get();
    uint64_t before;
    do {
      before = removed.blocks();
      {
        MutexLock lock(&s->mutex);
        claims += s->claims.DropAllOf(ns.get());
        while (removed.blocks() - before < RemovedBlocks::kWakeAfter) {
          BlockEntry* entry = s->blocks.OldestOf(ns.get());
          if (entry == nullptr || entry->tick > last_tick) break;  // or it came after the flush began
          impl_->index.Remove(s, entry, Reason::kDeleted, &removed);
        }
      }
      removed.Free();
      removed.Wake();
    } while (removed.blocks() - before >= RemovedBlocks::kWakeAfter);
  }
  ns->codebooks().ForgetUploads();
  impl_->dropped_flushed->Increment(static_cast<double>(claims));
  return {removed.blocks(), removed.encoded_bytes()};
}

Store::Removed Store::Trim(std::optional<uint64_t> target_bytes, std::optional<uint64_t> older_than_ms) {
  Removed total;
  auto add = [&total](const RemovedBlocks& removed) {
    total.blocks += removed.blocks();
    total.encoded_bytes += removed.encoded_bytes();
  };
  if (older_than_ms) {
    const int64_t now = impl_->clock->NowUs();
    // An age beyond the clock's start is one that no block has.
    if (*older_than_ms <= static_cast<uint64_t>(now) / 1000) {
      const int64_t cutoff = now - static_cast<int64_t>(*older_than_ms) * 1000;
      RemovedBlocks removed;
      impl_->evictor.EvictUnusedSince(Evictor::Cause::kTrim, cutoff, &removed);
      add(removed);
    }
  }
  if (target_bytes) {
    RemovedBlocks removed;
    impl_->evictor.Evict(
        Evictor::Cause::kTrim, nullptr, [&] { return impl_->arena.used_bytes() <= *target_bytes; }, &removed);
    add(removed);
  }
  return total;
}

}  // namespace kvcompd::server
