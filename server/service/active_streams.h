// ActiveStreams: the streams that are open, so that there is a limit to them, a silent one is ended, and a
// drain can wait for the rest. Thread-safe.
//
//   auto entry = streams->Add(clock->NowUs(), [context] { context->TryCancel(); }, /*may_idle=*/false);
//   if (entry == nullptr) -> RESOURCE_EXHAUSTED
//   entry->Progress(clock->NowUs());   // on every message that moved
//   entry.reset();                     // before the stream's context goes
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

  class Entry {
   public:
    ~Entry();
    void Progress(int64_t now_us) { last_us_.store(now_us, std::memory_order_relaxed); }

   private:
    friend class ActiveStreams;
    Entry() = default;
    ActiveStreams* owner_ = nullptr;
    std::function<void()> cancel_;
    bool may_idle_ = false;
    std::atomic<int64_t> last_us_{0};
  };

  // Null at the limit: max_streams of Put and Get, and a quarter of that of those that may idle. `cancel` is
  // called under this object's lock and must only mark the stream cancelled. may_idle: a stream that is quiet
  // by nature (Watch, data sessions); only CancelAll ends it.
  std::unique_ptr<Entry> Add(int64_t now_us, std::function<void()> cancel, bool may_idle);
  // Cancels streams without progress since now_us - idle_us; returns how many.
  uint32_t CancelIdle(int64_t now_us, int64_t idle_us);
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
