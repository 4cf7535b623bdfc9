// Evictor: takes the blocks used longest ago out of the index, never one that is pinned, leased or being
// read. (Staged shards are not in the index.) Such a block counts as used when the evictor comes across it,
// so that it is not looked at again and again.
//
// Called by SlotAllocator and by the store's Trim. Thread-safe. Exact least-recently-used order where nothing
// else happens at the same time; approximate under concurrency.
//
//   RemovedBlocks removed;   // before any lock: it wakes watchers when it goes
//   evictor.Evict(Evictor::Cause::kTrim, nullptr, [&] { return arena.used_bytes() <= target; }, &removed);
#ifndef KVCOMPD_SERVER_STORE_EVICTOR_H_
#define KVCOMPD_SERVER_STORE_EVICTOR_H_

#include <array>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "server/ops/metrics.h"
#include "server/store/index.h"

namespace kvcompd::server {

class Evictor {
 public:
  enum class Cause { kWatermark, kQuota, kMemory, kTrim };
  Evictor(Index* index, Metrics* metrics);

  // Evicts one block after the other, of one namespace or of all (null), until enough() or nothing is left.
  // The memory of each is free when enough() is asked again. Watchers are woken after every kWakeAfter
  // blocks, so no lock may be held, unless enough() is true by then. False: it gave up, after kMaxPassed
  // blocks that may not be evicted.
  bool Evict(Cause cause, const Namespace* ns, absl::FunctionRef<bool()> enough, RemovedBlocks* removed);
  // Those last used at or before a time.
  void EvictUnusedSince(Cause cause, int64_t cutoff_us, RemovedBlocks* removed);

  // A call gives up after coming across so many blocks that it may not evict: with most of the memory leased
  // a put must not walk all of it.
  static constexpr uint32_t kMaxPassed = 4096;

 private:
  // The shard with the oldest block; null where none is older than `last_tick`.
  IndexShard* OldestShard(uint64_t last_tick) const;
  IndexShard* OldestShardOf(const Namespace* ns, uint64_t last_tick) const;
  prometheus::Counter* evicted(Cause cause) const { return evicted_[static_cast<size_t>(cause)]; }

  Index* const index_;
  std::array<prometheus::Counter*, 4> evicted_{};
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_EVICTOR_H_
