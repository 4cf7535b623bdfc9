#include "server/service/message_budget.h"

#include <algorithm>

namespace kvcompd::server {

void MessageBudget::Share::Release() {
  if (owner_ == nullptr) return;
  MutexLock lock(&owner_->mutex_);
  owner_->used_bytes_ -= bytes_;
}

MessageBudget::Share MessageBudget::Take(uint64_t want, uint64_t least, uint64_t leave) {
  MutexLock lock(&mutex_);
  const uint64_t left = capacity_bytes_ - used_bytes_ - std::min(leave, capacity_bytes_ - used_bytes_);
  if (least > left) return Share();
  const uint64_t bytes = std::clamp(left / 8, least, std::max(want, least));
  used_bytes_ += bytes;
  return Share(this, bytes);
}

uint64_t MessageBudget::used_bytes() const {
  MutexLock lock(&mutex_);
  return used_bytes_;
}

}  // namespace kvcompd::server
