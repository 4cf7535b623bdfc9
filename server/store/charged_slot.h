// ChargedSlot: a slot together with its charge on a namespace's account, from allocation to the last
// reference. It is the only thing that changes the byte counts of an account, so that for every namespace
// together stored + staged + tail bytes equal what the arena has in use, also while a block that left the
// index is still being read.
//
// Made by SlotAllocator; held by stagings, stored shards and open tails. Move-only, not thread-safe itself.
//
//   auto slot = allocator.Allocate(*ns, n, ChargeKind::kStaged, &reason);
//   slot->Shrink(m);
//   slot->MoveTo(ChargeKind::kStored);   // ~ChargedSlot frees and uncharges
#ifndef KVCOMPD_SERVER_STORE_CHARGED_SLOT_H_
#define KVCOMPD_SERVER_STORE_CHARGED_SLOT_H_

#include <cstdint>

#include "codec/base/types.h"
#include "server/store/namespace.h"
#include "server/store/slab_arena.h"

namespace kvcompd::server {

class ChargedSlot {
 public:
  ChargedSlot() = default;
  // Takes over a charge of slot.charged_bytes() that the caller has put on the account. The account must
  // outlive the slot, as namespaces do.
  ChargedSlot(SlabArena::Slot slot, Namespace::Account* account, ChargeKind kind);
  ChargedSlot(ChargedSlot&& other) noexcept;
  ChargedSlot& operator=(ChargedSlot&& other) noexcept;
  ~ChargedSlot() { Reset(); }

  MutableByteSpan bytes() const { return slot_.bytes(); }
  uint64_t charged_bytes() const { return slot_.charged_bytes(); }
  bool empty() const { return slot_.empty(); }

  void Shrink(uint64_t bytes);
  void MoveTo(ChargeKind kind);
  void Reset();  // frees

 private:
  SlabArena::Slot slot_;
  Namespace::Account* account_ = nullptr;
  ChargeKind kind_ = ChargeKind::kStaged;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_CHARGED_SLOT_H_
