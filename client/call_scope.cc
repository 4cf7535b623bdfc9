#include "client/call_scope.h"

namespace kvcompd::client {

bool CallScope::ScopeWaiter::WaitUs(int64_t us) {
  if (injected_ == nullptr) return own_.WaitUs(us);
  return own_.WaitUs(0) && injected_->WaitUs(us) && own_.WaitUs(0);
}

CallScope::CallScope(ClientCore* core, const std::shared_ptr<Cancellation>& user)
    : waiter_(core->options().waiter.get()),
      wakes_(token_, [this] { waiter_.Interrupt(); }),
      of_user_(user, [token = token_] { token->Cancel(); }),
      of_client_(core->live_calls(), [token = token_] { token->Cancel(); }) {
  if (core->shut_down()) waiter_.Interrupt();
}

absl::Status CallScope::Next(RetryState* retry, const ByteStream::End& failed) {
  const auto cancelled_status = [] { return absl::CancelledError("the call was cancelled"); };
  if (cancelled()) return cancelled_status();
  if (failed.draining && absl::IsUnavailable(failed.status)) return failed.status;
  absl::Status next = retry->Next(failed.status);
  return cancelled() ? cancelled_status() : next;
}

}  // namespace kvcompd::client
