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
  entry->last_us_ = now_us;
  entries_.insert(entry.get());
  return entry;
}

uint32_t ActiveStreams::CancelIdle(int64_t now_us, int64_t idle_us) {
  MutexLock lock(&mutex_);
  uint32_t cancelled = 0;
  for (Entry* entry : entries_) {
    if (entry->may_idle_ || now_us - entry->last_us_.load(std::memory_order_relaxed) < idle_us) continue;
    entry->cancel_();
    ++cancelled;
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
