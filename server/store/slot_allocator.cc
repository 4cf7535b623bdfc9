#include "server/store/slot_allocator.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {

SlotAllocator::SlotAllocator(SlabArena* arena, Evictor* evictor, uint64_t high_bytes, uint64_t low_bytes,
                             uint64_t unstored_bytes)
    : arena_(arena),
      evictor_(evictor),
      high_bytes_(high_bytes),
      low_bytes_(low_bytes),
      unstored_bytes_(unstored_bytes) {}

bool SlotAllocator::FitQuota(const Namespace* ns, uint64_t quota_bytes) {
  const std::atomic<uint64_t>& used = ns->account().charged_bytes;
  if (used > quota_bytes) {
    evictor_->Evict(Evictor::Cause::kQuota, ns, [&] { return used <= quota_bytes; });
  }
  return used <= quota_bytes;
}

void SlotAllocator::KeepWatermark(uint64_t extra_bytes) {
  if (arena_->used_bytes() + extra_bytes <= high_bytes_) return;
  MutexLock lock(&watermark_mutex_);
  if (arena_->used_bytes() + extra_bytes <= high_bytes_) return;  // another thread was first
  evictor_->Evict(Evictor::Cause::kWatermark, nullptr,
                  [&] { return arena_->used_bytes() + extra_bytes <= low_bytes_; });
}

absl::StatusOr<SlabArena::Slot> SlotAllocator::AllocateEvicting(uint64_t bytes) {
  KeepWatermark(SlabArena::ChargedBytes(bytes));
  absl::StatusOr<SlabArena::Slot> slot = arena_->Allocate(bytes);
  if (slot.ok()) return slot;
  // Enough bytes may be free and no range long enough: then whatever goes next may join two ranges.
  evictor_->Evict(Evictor::Cause::kMemory, nullptr, [&] {
    slot = arena_->Allocate(bytes);
    return slot.ok();
  });
  return slot;
}

absl::StatusOr<ChargedSlot> SlotAllocator::Allocate(Namespace* ns, uint64_t bytes, ChargeKind kind,
                                                    Reason* reason) {
  if (bytes == 0) {
    *reason = Reason::kMalformed;
    return absl::InvalidArgumentError("0 bytes");
  }
  // What can never fit evicts nothing.
  const uint64_t charged = SlabArena::ChargedBytes(bytes);
  if (charged > arena_->max_slot_bytes()) {
    *reason = Reason::kMemory;
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes are more than the largest slot, ", arena_->max_slot_bytes()));
  }
  const uint64_t quota = ns->quota_bytes();
  Namespace::Account& account = ns->account();
  // Charged first, so that two calls at once cannot exceed the quota together.
  account.Charge(kind, charged);
  if (kind != ChargeKind::kStored && account.staged_bytes + account.tail_bytes > unstored_bytes_) {
    account.Uncharge(kind, charged);
    *reason = Reason::kMemory;
    return absl::ResourceExhaustedError(absl::StrCat("the namespace has ", unstored_bytes_,
                                                     " bytes under way already; commit some blocks first"));
  }
  if (quota != 0 && (charged > quota || !FitQuota(ns, quota))) {
    account.Uncharge(kind, charged);
    *reason = Reason::kQuota;
    return absl::ResourceExhaustedError(
        absl::StrCat("the namespace's quota of ", quota, " bytes is used up"));
  }
  absl::StatusOr<SlabArena::Slot> slot = AllocateEvicting(bytes);
  if (!slot.ok()) {
    account.Uncharge(kind, charged);
    *reason = Reason::kMemory;
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", bytes, " bytes: what is stored is leased, pinned or being read"));
  }
  return ChargedSlot(*std::move(slot), &account, kind);
}

}  // namespace kvcompd::server
