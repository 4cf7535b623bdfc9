// SlotAllocator: memory for a namespace, within its quota and the watermarks, by evicting what may go.
//
// Called by the store. Thread-safe.
//
//   Reason reason;
//   auto slot = slots.Allocate(ns.get(), bytes, ChargeKind::kStaged, &reason);   // RESOURCE_EXHAUSTED
#ifndef KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_
#define KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "codec/base/mutex.h"
#include "server/store/charged_slot.h"
#include "server/store/evictor.h"
#include "server/store/namespace.h"
#include "server/store/reason.h"
#include "server/store/slab_arena.h"

namespace kvcompd::server {

class SlotAllocator {
 public:
  struct Limits {
    uint64_t high_bytes = 0;  // above this much of the arena in use, it is evicted
    uint64_t low_bytes = 0;   // down to this
    // What is staged and in open tails cannot be evicted; so there is a limit to it.
    uint64_t namespace_unstored_bytes = 0;
    uint64_t all_unstored_bytes = 0;
  };
  // unstored_bytes: staged and in open tails, of all namespaces.
  SlotAllocator(SlabArena* arena, Evictor* evictor, const std::atomic<uint64_t>* unstored_bytes,
                const Limits& limits);

  // Evicts in turn: the namespace's own blocks while it is over its quota; anyone's above the high watermark;
  // anyone's while the arena has no range that is long enough. RESOURCE_EXHAUSTED with reason kQuota or
  // kMemory; INVALID_ARGUMENT, kMalformed: 0 bytes.
  absl::StatusOr<ChargedSlot> Allocate(Namespace* ns, uint64_t bytes, ChargeKind kind, Reason* reason);
  // Down to the low watermark where more than the high one is in use with so many bytes added.
  void KeepWatermark(uint64_t extra_bytes);

 private:
  // Where very many blocks are leased, pinned or being read, the walk over them is not made for each
  // allocation anew.
  static constexpr uint32_t kSkippedAfterVain = 64;

  // False: nothing more to do.
  bool EvictForWatermark(uint64_t extra_bytes, uint64_t above_bytes);
  absl::Status CheckUnstored(const Namespace::Account& account) const;
  bool FitQuota(const Namespace* ns, uint64_t quota_bytes);
  absl::StatusOr<SlabArena::Slot> AllocateEvicting(uint64_t bytes);

  SlabArena* const arena_;
  Evictor* const evictor_;
  const std::atomic<uint64_t>* const unstored_bytes_;
  const Limits limits_;
  // One at a time evicts for the watermark, or several threads would each evict the whole distance. Taken
  // before an index shard's lock.
  Mutex watermark_mutex_;
  uint32_t to_skip_ ABSL_GUARDED_BY(watermark_mutex_) = 0;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_
