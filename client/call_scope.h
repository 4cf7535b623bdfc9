// CallScope: one call of the client's API from its start to its end, however many attempts it takes: what
// may end it early, and when to try again.
//
// Internal to the client. Next belongs to the call's thread; the rest is thread-safe.
//
//   CallScope scope(core, options.cancel);
//   RetryState retry = core.Retry(repeat, deadline, scope.waiter());
//   ... an attempt that scope.token() cancels; where it failed:
//   if (auto s = scope.Next(&retry, end); !s.ok()) return s;           // OK: go again
#ifndef KVCOMPD_CLIENT_CALL_SCOPE_H_
#define KVCOMPD_CLIENT_CALL_SCOPE_H_

#include <memory>

#include "absl/status/status.h"
#include "client/byte_stream.h"
#include "client/cancellation.h"
#include "client/client_core.h"
#include "client/retry.h"

namespace kvcompd::client {

class CallScope {
 public:
  // user: what the caller may end it by; may be null. The core outlives it. A client that goes ends it, too;
  // one that starts after its client went is tried once.
  CallScope(ClientCore* core, const std::shared_ptr<Cancellation>& user);

  // Cancelled where the call is.
  const std::shared_ptr<Cancellation>& token() const { return token_; }
  bool cancelled() const { return token_->cancelled(); }
  Waiter* waiter() { return &waiter_; }

  // After a failed attempt: OK once another may start; else what to give the caller. A daemon that drains is
  // not asked again.
  absl::Status Next(RetryState* retry, const ByteStream::End& failed);

 private:
  // What the client's options name, or a sleep; either ends with the call.
  class ScopeWaiter final : public Waiter {
   public:
    explicit ScopeWaiter(Waiter* injected) : injected_(injected) {}
    bool WaitUs(int64_t us) override;
    void Interrupt() { own_.Interrupt(); }

   private:
    Waiter* const injected_;
    InterruptibleWaiter own_;
  };

  const std::shared_ptr<Cancellation> token_ = std::make_shared<Cancellation>();
  ScopeWaiter waiter_;
  const Cancellation::Link wakes_;
  const Cancellation::Link of_user_;
  const Cancellation::Link of_client_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CALL_SCOPE_H_
