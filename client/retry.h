// When to try again: exponential backoff with full jitter, within the deadline of the whole call.
//
// Called by every RPC of the client. RetryOptions and Deadline are plain values; a RetryState belongs to one
// call on one thread; Waiter is thread-safe.
//
//   RetryState retry(options, Repeat::kTransport, deadline, random, &waiter);
//   for (;;) {
//     absl::Status status = attempt();
//     if (status.ok() || !(status = retry.Next(status)).ok()) return status;   // OK from Next: go again
//   }
#ifndef KVCOMPD_CLIENT_RETRY_H_
#define KVCOMPD_CLIENT_RETRY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>

#include "absl/status/status.h"
#include "codec/base/clock.h"
#include "codec/base/mutex.h"

namespace kvcompd::client {

struct RetryOptions {
  uint32_t max_attempts = 20;        // of one call; 1: never again
  uint32_t contention_attempts = 3;  // of these, after ABORTED and RESOURCE_EXHAUSTED
  uint32_t initial_backoff_ms = 20;  // the first wait is uniform in [0, this]
  uint32_t max_backoff_ms = 1'000;   // no wait is longer
  double multiplier = 2.0;           // 1 to 10

  absl::Status Validate() const;
};

// What may be repeated. Nothing else than these codes ever is.
enum class Repeat {
  kNever,
  kTransport,   // UNAVAILABLE: the call is idempotent
  kContention,  // and ABORTED, RESOURCE_EXHAUSTED: it also leaves nothing behind when refused
};

// A moment on an injected clock.
class Deadline {
 public:
  static constexpr int64_t kNeverUs = std::numeric_limits<int64_t>::max();

  Deadline(const Clock* clock, int64_t budget_us)
      : clock_(clock), at_us_(budget_us == kNeverUs ? kNeverUs : clock->NowUs() + budget_us) {}
  static Deadline AfterMs(const Clock* clock, uint32_t ms) { return Deadline(clock, int64_t{ms} * 1000); }
  static Deadline Never(const Clock* clock) { return Deadline(clock, kNeverUs); }

  bool never() const { return at_us_ == kNeverUs; }
  int64_t RemainingUs() const { return never() ? kNeverUs : at_us_ - clock_->NowUs(); }
  bool expired() const { return RemainingUs() <= 0; }
  // The same moment as gRPC wants it.
  std::chrono::system_clock::time_point SystemTime() const;

 private:
  const Clock* clock_;
  int64_t at_us_;
};

// Sleeps between attempts.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // False: interrupted for good, do not try again.
  virtual bool WaitUs(int64_t us) = 0;
};

// Sleeps until Interrupt.
class InterruptibleWaiter final : public Waiter {
 public:
  bool WaitUs(int64_t us) override;
  void Interrupt();

 private:
  Mutex mutex_;
  CondVar cond_;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
};

class RetryState {
 public:
  RetryState(const RetryOptions& options, Repeat repeat, const Deadline& deadline,
             std::function<uint64_t()> random, Waiter* waiter);

  // After a failed attempt: OK once the wait is over and another may start; else what to give the caller: the
  // failure, with a note on why it is not tried again. Does not wait where the wait would reach the deadline.
  absl::Status Next(const absl::Status& failed);
  // The attempt got something done: attempts and backoff start anew (a long stream may break many times).
  void Progress();
  uint32_t attempts() const { return attempts_; }

 private:
  bool MayRepeat(absl::StatusCode code) const;
  int64_t DrawWaitUs();

  const RetryOptions options_;
  const Repeat repeat_;
  const Deadline deadline_;
  const std::function<uint64_t()> random_;
  Waiter* const waiter_;
  uint32_t attempts_ = 1;
  uint32_t contention_ = 0;
  double backoff_us_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_RETRY_H_
