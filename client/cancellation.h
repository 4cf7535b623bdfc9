// Cancellation: ends calls of one thread from another. Options of calls name one; several calls may share it.
//
// Thread-safe. Not from a callback of a call that it ends.
//
//   auto cancel = std::make_shared<Cancellation>();
//   ns->AsyncGet(blocks, {.cancel = cancel}, nullptr, done);
//   cancel->Cancel();                            // done gets CANCELLED: soon, or when its turn comes
#ifndef KVCOMPD_CLIENT_CANCELLATION_H_
#define KVCOMPD_CLIENT_CANCELLATION_H_

#include <atomic>
#include <functional>
#include <list>
#include <memory>

#include "codec/base/mutex.h"

namespace kvcompd::client {

class Cancellation {
 public:
  // For good: calls that start afterwards end at once. Idempotent.
  void Cancel();
  bool cancelled() const { return cancelled_; }

  // Internal to the client: something that is told, once, on the thread that cancels, or at once where that
  // has been. The action must not make or destroy Links of the same Cancellation.
  class Link {
   public:
    Link(std::shared_ptr<Cancellation> of, std::function<void()> action);  // null: nothing is ever told
    ~Link();  // waits for an action under way; none starts afterwards
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

   private:
    const std::shared_ptr<Cancellation> of_;
    std::list<std::function<void()>>::iterator at_;
  };

 private:
  Mutex mutex_;  // held over the actions
  // Written under mutex_, read also by those whose locks an action takes.
  std::atomic<bool> cancelled_{false};
  std::list<std::function<void()>> actions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CANCELLATION_H_
