#include "server/service/active_streams.h"

#include <algorithm>
#include <utility>

namespace kvcompd::server {

ActiveStreams::Entry::~Entry() {
  MutexLock lock(&owner_->mutex_);
  owner_->entries_.erase(this);
}

std::unique_ptr<ActiveStreams::Entry> ActiveStreams::Add(int64_t now_us, std::function<void()> cancel,
                                                         bool may_idle) {
  MutexLock lock(&mutex_);
  // Streams that are quiet by nature must not take the places of Put and Get.
  uint32_t idle = 0;
  for (const Entry* entry : entries_) idle += entry->may_idle_ ? 1 : 0;
  const uint32_t taken = may_idle ? idle : static_cast<uint32_t>(entries_.size()) - idle;
  if (taken >= (may_idle ? std::max(1u, max_streams_ / 4) : max_streams_)) return nullptr;
  std::unique_ptr<Entry> entry(new Entry());
  entry->owner_ = this;
  entry->cancel_ = std::move(cancel);
  entry->may_idle_ = may_idle;
  entry->started_us_ = now_us;
  entry->activity_ = std::make_shared<Activity>(now_us);
  entries_.insert(entry.get());
  return entry;
}

ActiveStreams::Cancelled ActiveStreams::CancelIdle(int64_t now_us, int64_t idle_us, int64_t longest_us) {
  MutexLock lock(&mutex_);
  Cancelled cancelled;
  for (Entry* entry : entries_) {
    if (entry->may_idle_ || entry->cancelled_) continue;
    const Activity& activity = *entry->activity_;
    // In this order: EndWork marks the progress before it takes its work off.
    const bool working = activity.work_.load() > 0;
    const bool idle = !working && now_us - activity.last_us_.load() >= idle_us;
    const bool overdue = now_us - entry->started_us_ >= longest_us;
    if (!idle && !overdue) continue;
    entry->cancel_();
    entry->cancelled_ = true;
    ++(idle ? cancelled.idle : cancelled.overdue);
  }
  return cancelled;
}

void ActiveStreams::CancelAll(bool only_idle) {
  MutexLock lock(&mutex_);
  for (Entry* entry : entries_) {
    if (!only_idle || entry->may_idle_) entry->cancel_();
  }
}

uint32_t ActiveStreams::busy() const {
  MutexLock lock(&mutex_);
  uint32_t n = 0;
  for (const Entry* entry : entries_) n += entry->may_idle_ ? 0 : 1;
  return n;
}

uint32_t ActiveStreams::open() const {
  MutexLock lock(&mutex_);
  return static_cast<uint32_t>(entries_.size());
}

}  // namespace kvcompd::server
