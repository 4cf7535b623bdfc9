// Index: which blocks are visible, over shards that each have a lock of their own.
//
// Called by the store and the Evictor. Thread-safe; what needs a shard's lock says so. At most one shard's
// lock is held at a time; under it only the locks of WatchHub are taken.
//
//   IndexShard& shard = index.ShardOf(ns, key);
//   RemovedBlocks removed;                       // before the lock: memory goes after it
//   MutexLock lock(&shard.mutex);
//   if (BlockEntry* entry = shard.blocks.Find(ns, key)) index.Remove(&shard, entry, Reason::kDeleted,
//   &removed);
#ifndef KVCOMPD_SERVER_STORE_INDEX_H_
#define KVCOMPD_SERVER_STORE_INDEX_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/base/clock.h"
#include "codec/base/mutex.h"
#include "codec/base/types.h"
#include "server/ops/metrics.h"
#include "server/store/block_table.h"
#include "server/store/claim_table.h"
#include "server/store/pin_table.h"
#include "server/store/reason.h"
#include "server/store/watch_hub.h"

namespace kvcompd::server {

struct IndexShard {
  std::atomic<uint64_t> oldest_tick{BlockTable::kNoTick};  // also read without the lock
  Mutex mutex;
  BlockTable blocks ABSL_GUARDED_BY(mutex){&oldest_tick};
  ClaimTable claims ABSL_GUARDED_BY(mutex);
  PinTable pins ABSL_GUARDED_BY(mutex);
};

// What left the index under a lock, and what is to be done without it: drop references, wake watchers (when
// it goes, so it is declared before any lock).
class RemovedBlocks {
 public:
  // After so many their watchers should be woken, or the queue of one that reads would overflow.
  static constexpr uint64_t kWakeAfter = 256;

  RemovedBlocks() = default;
  ~RemovedBlocks() { Wake(); }
  RemovedBlocks(const RemovedBlocks&) = delete;
  RemovedBlocks& operator=(const RemovedBlocks&) = delete;

  void Wake() { WatchHub::Wake(&wake_); }  // watchers, now; no lock may be held
  void Free() { entries_.clear(); }        // their memory; no index shard's lock may be held
  // Totals, also after Free.
  uint64_t blocks() const { return blocks_; }
  uint64_t encoded_bytes() const { return encoded_bytes_; }

 private:
  friend class Index;
  WatchHub::WakeList wake_;
  std::vector<std::unique_ptr<BlockEntry>> entries_;
  uint64_t blocks_ = 0;
  uint64_t encoded_bytes_ = 0;
};

class Index {
 public:
  // num_shards: a power of two. epoch: of the generations in events.
  Index(uint32_t num_shards, uint64_t epoch, const Clock* clock, WatchHub* watch, Metrics* metrics);

  IndexShard& ShardOf(const Namespace* ns, const BlockKey& key) const;
  const std::vector<std::unique_ptr<IndexShard>>& shards() const { return shards_; }

  // The block was used just now.
  void Touch(IndexShard* shard, BlockEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);
  BlockEntry* Insert(IndexShard* shard, std::unique_ptr<BlockEntry> entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);
  // Adds a shard to a block, with its accounts; publishes the block where it is complete by that.
  void AddShard(IndexShard* shard, BlockEntry* entry, std::shared_ptr<const StoredShard> stored,
                WatchHub::WakeList* wake) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);
  // Takes a block out of sight: off the table, pins and accounts; counts it, publishes where it was complete.
  void Remove(IndexShard* shard, BlockEntry* entry, Reason reason, RemovedBlocks* removed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);

  // The order of use: every tick from now on is larger.
  uint64_t last_tick() const { return tick_.load(); }

 private:
  const uint64_t mask_;
  const uint64_t epoch_;
  const Clock* const clock_;
  WatchHub* const watch_;
  std::vector<std::unique_ptr<IndexShard>> shards_;
  std::array<prometheus::Counter*, static_cast<size_t>(Reason::kUnsupported) + 1> removed_{};
  std::atomic<uint64_t> tick_{0};
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_INDEX_H_
