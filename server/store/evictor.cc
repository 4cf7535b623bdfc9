#include "server/store/evictor.h"

#include <string>

namespace kvcompd::server {
namespace {

bool Evictable(const BlockEntry& entry) { return !entry.pinned && !entry.being_read(); }

}  // namespace

Evictor::Evictor(Index* index, Metrics* metrics) : index_(index) {
  const char* const names[] = {"watermark", "quota", "memory", "trim"};
  for (size_t i = 0; i < evicted_.size(); ++i) {
    evicted_[i] =
        &metrics->Counter("kvcompd_evictions_total", "Blocks evicted, by cause", {{"reason", names[i]}});
  }
}

IndexShard* Evictor::OldestShard(uint64_t last_tick) const {
  IndexShard* oldest = nullptr;
  uint64_t oldest_tick = BlockTable::kNoTick;
  for (const auto& shard : index_->shards()) {
    const uint64_t tick = shard->oldest_tick.load(std::memory_order_relaxed);
    if (tick > last_tick || tick >= oldest_tick) continue;
    oldest = shard.get();
    oldest_tick = tick;
  }
  return oldest;
}

IndexShard* Evictor::OldestShardOf(const Namespace* ns, uint64_t last_tick) const {
  IndexShard* oldest = nullptr;
  uint64_t oldest_tick = BlockTable::kNoTick;
  for (const auto& shard : index_->shards()) {
    MutexLock lock(&shard->mutex);
    const BlockEntry* entry = shard->blocks.OldestOf(ns);
    if (entry == nullptr || entry->tick > last_tick || entry->tick >= oldest_tick) continue;
    oldest = shard.get();
    oldest_tick = entry->tick;
  }
  return oldest;
}

bool Evictor::Evict(Cause cause, const Namespace* ns, absl::FunctionRef<bool()> enough,
                    RemovedBlocks* removed) {
  const uint64_t blocks_before = removed->blocks();
  // What is used from now on is out of bounds, what is passed over as well: so the walk ends.
  const uint64_t last_tick = index_->last_tick();
  uint64_t passed = 0;
  uint64_t asleep = 0;
  while (passed < kMaxPassed && !enough()) {
    if (asleep >= RemovedBlocks::kWakeAfter) {
      removed->Wake();
      asleep = 0;
    }
    IndexShard* shard = ns == nullptr ? OldestShard(last_tick) : OldestShardOf(ns, last_tick);
    if (shard == nullptr) break;
    const uint64_t before = removed->blocks();
    {
      MutexLock lock(&shard->mutex);
      BlockEntry* entry = ns == nullptr ? shard->blocks.Oldest() : shard->blocks.OldestOf(ns);
      if (entry != nullptr && entry->tick <= last_tick) {
        if (Evictable(*entry)) {
          index_->Remove(shard, entry, Reason::kEvicted, removed);
        } else {
          index_->Touch(shard, entry);
        }
      }
    }
    removed->Free();
    ++(removed->blocks() == before ? passed : asleep);
  }
  evicted(cause)->Increment(static_cast<double>(removed->blocks() - blocks_before));
  return passed < kMaxPassed;
}

void Evictor::EvictUnusedSince(Cause cause, int64_t cutoff_us, RemovedBlocks* removed) {
  const uint64_t blocks_before = removed->blocks();
  for (const auto& shard : index_->shards()) {
    IndexShard* const s = shard.get();
    uint64_t before;
    do {  // in parts, from the oldest one again
      before = removed->blocks();
      {
        MutexLock lock(&s->mutex);
        s->blocks.ForEach([&](BlockEntry* entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
          if (removed->blocks() - before >= RemovedBlocks::kWakeAfter) return;
          if (entry->used_us > cutoff_us || !Evictable(*entry)) return;
          index_->Remove(s, entry, Reason::kEvicted, removed);
        });
      }
      removed->Free();
      removed->Wake();
    } while (removed->blocks() - before >= RemovedBlocks::kWakeAfter);
  }
  evicted(cause)->Increment(static_cast<double>(removed->blocks() - blocks_before));
}

}  // namespace kvcompd::server
