#include "server/store/watch_hub.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace kvcompd::server {

std::vector<Event> WatchHub::Watcher::Take(uint64_t* lost) {
  MutexLock lock(&mutex_);
  std::vector<Event> events(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end()));
  queue_.clear();
  *lost = std::exchange(lost_, 0);
  return events;
}

WatchHub::WatchHub(size_t queue_events) : queue_events_(std::max<size_t>(queue_events, 1)) {}

std::shared_ptr<WatchHub::Watcher> WatchHub::Subscribe(std::string namespace_id, std::function<void()> wake) {
  auto watcher = std::make_shared<Watcher>();
  watcher->namespace_id_ = std::move(namespace_id);
  watcher->wake_ = std::move(wake);
  MutexLock lock(&mutex_);
  watchers_.push_back(watcher);
  num_watchers_ = watchers_.size();
  return watcher;
}

void WatchHub::Unsubscribe(const std::shared_ptr<Watcher>& watcher) {
  MutexLock lock(&mutex_);
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), watcher), watchers_.end());
  num_watchers_ = watchers_.size();
}

void WatchHub::Enqueue(std::string_view namespace_id, const Event& event, WakeList* wake) {
  if (num_watchers_.load() == 0) return;
  MutexLock lock(&mutex_);
  for (const std::shared_ptr<Watcher>& watcher : watchers_) {
    if (watcher->namespace_id_ != namespace_id) continue;
    {
      MutexLock queue_lock(&watcher->mutex_);
      if (watcher->queue_.size() >= queue_events_) {
        watcher->queue_.pop_front();
        ++watcher->lost_;
      }
      watcher->queue_.push_back(event);
    }
    // A removal of many blocks wakes each watcher once.
    if (std::find(wake->begin(), wake->end(), watcher) == wake->end()) wake->push_back(watcher);
  }
}

void WatchHub::Wake(WakeList* wake) {
  for (const std::shared_ptr<Watcher>& watcher : *wake) {
    if (watcher->wake_) watcher->wake_();
  }
  wake->clear();
}

void WatchHub::Publish(std::string_view namespace_id, const Event& event) {
  WakeList wake;
  Enqueue(namespace_id, event, &wake);
  Wake(&wake);
}

size_t WatchHub::watchers() const { return num_watchers_.load(); }

}  // namespace kvcompd::server
