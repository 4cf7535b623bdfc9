// SlotAllocator: memory for a namespace, within its quota and the watermarks, by evicting what may go.
//
// Called by the store. Thread-safe.
//
//   Reason reason;
//   auto slot = slots.Allocate(ns.get(), bytes, ChargeKind::kStaged, &reason);   // RESOURCE_EXHAUSTED
#ifndef KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_
#define KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_

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
  // Above high_bytes of the arena in use, the whole is evicted down to low_bytes.
  // One namespace may have unstored_bytes staged and in open tails, which cannot be evicted.
  SlotAllocator(SlabArena* arena, Evictor* evictor, uint64_t high_bytes, uint64_t low_bytes,
                uint64_t unstored_bytes);

  // Evicts in turn: the namespace's own blocks while it is over its quota; anyone's above the high watermark;
  // anyone's while the arena has no range that is long enough. RESOURCE_EXHAUSTED with reason kQuota or
  // kMemory; INVALID_ARGUMENT, kMalformed: 0 bytes.
  absl::StatusOr<ChargedSlot> Allocate(Namespace* ns, uint64_t bytes, ChargeKind kind, Reason* reason);
  // Down to the low watermark where more than the high one is in use with so many bytes added.
  void KeepWatermark(uint64_t extra_bytes);

 private:
  bool FitQuota(const Namespace* ns, uint64_t quota_bytes);
  absl::StatusOr<SlabArena::Slot> AllocateEvicting(uint64_t bytes);

  SlabArena* const arena_;
  Evictor* const evictor_;
  const uint64_t high_bytes_;
  const uint64_t low_bytes_;
  const uint64_t unstored_bytes_;
  // One at a time evicts for the watermark, or several threads would each evict the whole distance. Taken
  // before an index shard's lock.
  Mutex watermark_mutex_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_SLOT_ALLOCATOR_H_
