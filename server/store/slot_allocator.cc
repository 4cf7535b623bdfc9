#include "server/store/slot_allocator.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {

SlotAllocator::SlotAllocator(SlabArena* arena, Evictor* evictor, const std::atomic<uint64_t>* unstored_bytes,
                             const Limits& limits)
    : arena_(arena), evictor_(evictor), unstored_bytes_(unstored_bytes), limits_(limits) {}

bool SlotAllocator::FitQuota(const Namespace* ns, uint64_t quota_bytes) {
  const std::atomic<uint64_t>& used = ns->account().charged_bytes;
  if (used > quota_bytes) {
    RemovedBlocks removed;
    evictor_->Evict(
        Evictor::Cause::kQuota, ns, [&] { return used <= quota_bytes; }, &removed);
  }
  return used <= quota_bytes;
}

bool SlotAllocator::EvictForWatermark(uint64_t extra_bytes, uint64_t above_bytes) {
  RemovedBlocks removed;
  const auto enough = [&] {
    return arena_->used_bytes() + extra_bytes <= limits_.low_bytes ||
           removed.blocks() >= RemovedBlocks::kWakeAfter;
  };
  MutexLock lock(&watermark_mutex_);
  if (arena_->used_bytes() + extra_bytes <= above_bytes) return false;  // another thread was first
  if (to_skip_ > 0) {
    --to_skip_;
    return false;
  }
  const bool walked_all = evictor_->Evict(Evictor::Cause::kWatermark, nullptr, enough, &removed);
  if (!walked_all && removed.blocks() == 0) to_skip_ = kSkippedAfterVain;
  return removed.blocks() > 0;
}

void SlotAllocator::KeepWatermark(uint64_t extra_bytes) {
  if (arena_->used_bytes() + extra_bytes <= limits_.high_bytes) return;
  uint64_t above_bytes = limits_.high_bytes;
  while (EvictForWatermark(extra_bytes, above_bytes)) above_bytes = limits_.low_bytes;
}

absl::StatusOr<SlabArena::Slot> SlotAllocator::AllocateEvicting(uint64_t bytes) {
  KeepWatermark(SlabArena::ChargedBytes(bytes));
  absl::StatusOr<SlabArena::Slot> slot = arena_->Allocate(bytes);
  if (slot.ok()) return slot;
  // Enough bytes may be free and no range long enough: then whatever goes next may join two ranges.
  RemovedBlocks removed;
  const auto allocated = [&] {
    slot = arena_->Allocate(bytes);
    return slot.ok();
  };
  evictor_->Evict(Evictor::Cause::kMemory, nullptr, allocated, &removed);
  if (!slot.ok()) arena_->CountFailure();
  return slot;
}

absl::Status SlotAllocator::CheckUnstored(const Namespace::Account& account) const {
  if (account.staged_bytes + account.tail_bytes > limits_.namespace_unstored_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the namespace has ", limits_.namespace_unstored_bytes,
                                                     " bytes under way already; commit some blocks first"));
  }
  if (*unstored_bytes_ > limits_.all_unstored_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("puts and sequences under way have all of the ",
                                                     limits_.all_unstored_bytes,
                                                     " bytes that they may; try again later"));
  }
  return absl::OkStatus();
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
  if (absl::Status room = CheckUnstored(account); kind != ChargeKind::kStored && !room.ok()) {
    account.Uncharge(kind, charged);
    *reason = Reason::kMemory;
    return room;
  }
  if (quota != 0 && (charged > quota || !FitQuota(ns, quota))) {
    account.Uncharge(kind, charged);
    *reason = Reason::kQuota;
    return absl::ResourceExhaustedError(
        absl::StrCat("the namespace's quota of ", quota,
                     " bytes is used up by what is leased, pinned or under way; release some of it"));
  }
  absl::StatusOr<SlabArena::Slot> slot = AllocateEvicting(bytes);
  if (!slot.ok()) {
    account.Uncharge(kind, charged);
    *reason = Reason::kMemory;
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", bytes,
                     " bytes: what is stored is leased, pinned or being read; try again later, or go on "
                     "without storing"));
  }
  return ChargedSlot(*std::move(slot), &account, kind);
}

}  // namespace kvcompd::server
