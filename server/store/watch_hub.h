// WatchHub: who is told of blocks stored and removed. A watcher has a bounded queue; what does not fit is
// dropped, counted, and the watcher is told how many. Publishing never waits.
//
// Thread-safe. `wake` is called without locks held, from whatever thread published; it must not block.
#ifndef KVCOMPD_SERVER_STORE_WATCH_HUB_H_
#define KVCOMPD_SERVER_STORE_WATCH_HUB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
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
    std::vector<Event> queue_ ABSL_GUARDED_BY(mutex_);
    uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
  };

  std::shared_ptr<Watcher> Subscribe(std::string namespace_id, std::function<void()> wake);
  void Unsubscribe(const std::shared_ptr<Watcher>& watcher);
  void Publish(const std::string& namespace_id, const Event& event);
  size_t watchers() const;

 private:
  const size_t queue_events_;
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_WATCH_HUB_H_
