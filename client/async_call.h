// SubmitCall: a call on the client's threads. Internal to the client. Thread-safe.
//
//   return SubmitCall(core, deadline, options.cancel, std::move(done),
//                     [...](const Deadline& deadline) { return Work(deadline); });
//
// The deadline counts from here: a call that waited for too long gets DEADLINE_EXCEEDED when its turn comes,
// and the daemon is not asked.
#ifndef KVCOMPD_CLIENT_ASYNC_CALL_H_
#define KVCOMPD_CLIENT_ASYNC_CALL_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "client/cancellation.h"
#include "client/client_core.h"
#include "client/retry.h"

namespace kvcompd::client {

// INVALID_ARGUMENT: no `done`; RESOURCE_EXHAUSTED, CANCELLED: as CallExecutor::Submit. `done` is then not
// called.
template <typename Result, typename Work>
absl::Status SubmitCall(ClientCore& core, const Deadline& deadline, std::shared_ptr<Cancellation> cancel,
                        std::function<void(absl::StatusOr<Result>)> done, Work work) {
  if (done == nullptr) return absl::InvalidArgumentError("there is no callback");
  return core.async().Submit([deadline, cancel = std::move(cancel), done = std::move(done),
                              work = std::move(work)](bool run) {
    if (!run) return done(absl::CancelledError("the client has been shut down"));
    if (cancel != nullptr && cancel->cancelled()) return done(absl::CancelledError("the call was cancelled"));
    if (deadline.expired()) {
      return done(absl::DeadlineExceededError("the deadline passed before a thread was free for the call"));
    }
    done(work(deadline));
  });
}

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_ASYNC_CALL_H_
