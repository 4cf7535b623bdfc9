// WatchHub: who is told of blocks stored and removed. A watcher has a bounded queue; where it is full the
// oldest event goes, is counted, and the watcher is told how many. Publishing never waits.
//
// Called by the store (publish) and by the Watch handler. Thread-safe. `wake` is called without locks held,
// from whatever thread published; it must not block, and may still be called once after Unsubscribe.
//
//   auto watcher = hub.Subscribe(ns->id(), [reactor] { reactor->Wake(); });
//   auto events = watcher->Take(&lost);
//   hub.Unsubscribe(watcher);
#ifndef KVCOMPD_SERVER_STORE_WATCH_HUB_H_
#define KVCOMPD_SERVER_STORE_WATCH_HUB_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/base/mutex.h"
#include "codec/base/types.h"
#include "server/store/reason.h"

namespace kvcompd::server {

struct Event {
  enum class Kind { kStored = 1, kRemoved = 2, kSnapshotEnd = 3 };
  Kind kind = Kind::kStored;
  BlockKey key;
  BlockKey parent;
  Generation generation;
  Reason reason = Reason::kNone;
  uint32_t tokens = 0;
};

class WatchHub {
 public:
  explicit WatchHub(size_t queue_events);

  class Watcher {
   public:
    // Moves out what is queued; `lost` = dropped since the last call.
    std::vector<Event> Take(uint64_t* lost);

   private:
    friend class WatchHub;
    std::string namespace_id_;
    std::function<void()> wake_;
    Mutex mutex_;
    std::deque<Event> queue_ ABSL_GUARDED_BY(mutex_);
    uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
  };

  std::shared_ptr<Watcher> Subscribe(std::string namespace_id, std::function<void()> wake);
  void Unsubscribe(const std::shared_ptr<Watcher>& watcher);
  void Publish(std::string_view namespace_id, const Event& event);
  // Publish in two steps, for a caller that needs the order of events fixed under a lock of its own: Enqueue
  // under it, Wake after it.
  using WakeList = std::vector<std::shared_ptr<Watcher>>;
  void Enqueue(std::string_view namespace_id, const Event& event, WakeList* wake);
  static void Wake(WakeList* wake);  // leaves the list empty
  size_t watchers() const;

 private:
  const size_t queue_events_;
  std::atomic<size_t> num_watchers_{0};  // so that nobody watching costs nothing
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_WATCH_HUB_H_
