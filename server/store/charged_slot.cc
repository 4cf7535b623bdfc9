#include "server/store/charged_slot.h"

#include <utility>

namespace kvcompd::server {

ChargedSlot::ChargedSlot(SlabArena::Slot slot, Namespace::Account* account, ChargeKind kind)
    : slot_(std::move(slot)), account_(account), kind_(kind) {}

ChargedSlot::ChargedSlot(ChargedSlot&& other) noexcept
    : slot_(std::move(other.slot_)), account_(std::exchange(other.account_, nullptr)), kind_(other.kind_) {}

ChargedSlot& ChargedSlot::operator=(ChargedSlot&& other) noexcept {
  if (this != &other) {
    Reset();
    slot_ = std::move(other.slot_);
    account_ = std::exchange(other.account_, nullptr);
    kind_ = other.kind_;
  }
  return *this;
}

void ChargedSlot::Shrink(uint64_t bytes) {
  if (slot_.empty()) return;
  const uint64_t before = slot_.charged_bytes();
  slot_.Shrink(bytes);
  account_->Uncharge(kind_, before - slot_.charged_bytes());
}

void ChargedSlot::MoveTo(ChargeKind kind) {
  if (slot_.empty() || kind == kind_) return;
  account_->Move(kind_, kind, charged_bytes());
  kind_ = kind;
}

void ChargedSlot::Reset() {
  if (slot_.empty()) return;
  const uint64_t charged = slot_.charged_bytes();
  slot_ = SlabArena::Slot();
  account_->Uncharge(kind_, charged);
  account_ = nullptr;
}

}  // namespace kvcompd::server
