// ActiveStreams: the streams that are open, so that there is a limit to them, a silent one is ended, one that
// trickles on is ended at last, and a drain can wait for the rest. Thread-safe.
//
//   auto entry = streams->Add(clock->NowUs(), [context] { context->TryCancel(); }, /*may_idle=*/false);
//   if (entry == nullptr) -> RESOURCE_EXHAUSTED
//   entry->activity()->Progress(clock->NowUs());   // on every message that moved
//   entry.reset();                                 // before the stream's context goes
#ifndef KVCOMPD_SERVER_SERVICE_ACTIVE_STREAMS_H_
#define KVCOMPD_SERVER_SERVICE_ACTIVE_STREAMS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>

#include "codec/base/mutex.h"

namespace kvcompd::server {

class ActiveStreams {
 public:
  explicit ActiveStreams(uint32_t max_streams) : max_streams_(max_streams) {}

  // What a stream's reactions and its jobs tell; jobs may do so when the stream is gone.
  class Activity {
   public:
    explicit Activity(int64_t now_us) : last_us_(now_us) {}
    void Progress(int64_t now_us) { last_us_.store(now_us, std::memory_order_relaxed); }
    // Between the two the peer waits for us, which is no idleness of its own.
    void BeginWork() { ++work_; }
    void EndWork(int64_t now_us) {
      Progress(now_us);
      --work_;
    }

   private:
    friend class ActiveStreams;
    std::atomic<int64_t> last_us_;
    std::atomic<uint32_t> work_{0};
  };

  class Entry {
   public:
    ~Entry();
    const std::shared_ptr<Activity>& activity() const { return activity_; }

   private:
    friend class ActiveStreams;
    Entry() = default;
    ActiveStreams* owner_ = nullptr;
    std::function<void()> cancel_;
    bool may_idle_ = false;
    bool cancelled_ = false;  // under the owner's lock
    int64_t started_us_ = 0;
    std::shared_ptr<Activity> activity_;
  };

  // Null at the limit: max_streams of Put and Get, and a quarter of that of those that may idle. `cancel` is
  // called under this object's lock; it may take the stream's own locks, but may not end the entry. may_idle:
  // a stream that is quiet by nature (Watch, data sessions); only CancelAll ends it.
  std::unique_ptr<Entry> Add(int64_t now_us, std::function<void()> cancel, bool may_idle);
  struct Cancelled {
    uint32_t idle = 0;
    uint32_t overdue = 0;
  };
  // Cancels, once each, streams without progress for idle_us that do not wait for us, and those that are open
  // for longest_us.
  Cancelled CancelIdle(int64_t now_us, int64_t idle_us, int64_t longest_us);
  // Cancels all, or only those that are quiet by nature (so that a drain ends).
  void CancelAll(bool only_idle);
  // Put and Get streams still open.
  uint32_t busy() const;
  uint32_t open() const;

 private:
  const uint32_t max_streams_;
  mutable Mutex mutex_;
  std::set<Entry*> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_ACTIVE_STREAMS_H_
