#include "client/cancellation.h"

#include <utility>

namespace kvcompd::client {

void Cancellation::Cancel() {
  MutexLock lock(&mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  for (const auto& action : actions_) action();
}

Cancellation::Link::Link(std::shared_ptr<Cancellation> of, std::function<void()> action)
    : of_(std::move(of)) {
  if (of_ == nullptr) return;
  MutexLock lock(&of_->mutex_);
  if (of_->cancelled_) action();
  at_ = of_->actions_.insert(of_->actions_.end(), std::move(action));
}

Cancellation::Link::~Link() {
  if (of_ == nullptr) return;
  MutexLock lock(&of_->mutex_);
  of_->actions_.erase(at_);
}

}  // namespace kvcompd::client
