#include "client/retry.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace kvcompd::client {
namespace {

// Moves the clock instead of sleeping.
class RecordingWaiter final : public Waiter {
 public:
  explicit RecordingWaiter(ManualClock* clock) : clock_(clock) {}
  bool WaitUs(int64_t us) override {
    waits.push_back(us);
    clock_->AdvanceUs(us);
    return !interrupted;
  }
  std::vector<int64_t> waits;
  bool interrupted = false;

 private:
  ManualClock* clock_;
};

class RetryTest : public ::testing::Test {
 protected:
  RetryState Make(Repeat repeat, int64_t budget_us, uint64_t random = UINT64_MAX) {
    return RetryState(
        options_, repeat, Deadline(&clock_, budget_us), [random] { return random; }, &waiter_);
  }
  ManualClock clock_;
  RecordingWaiter waiter_{&clock_};
  RetryOptions options_{.max_attempts = 8,
                        .contention_attempts = 3,
                        .initial_backoff_ms = 10,
                        .max_backoff_ms = 50,
                        .multiplier = 2};
};

TEST_F(RetryTest, CallersMistakesAreNeverRepeated) {
  const absl::Status never[] = {absl::InvalidArgumentError("x"),  absl::FailedPreconditionError("x"),
                                absl::NotFoundError("x"),         absl::DataLossError("x"),
                                absl::UnimplementedError("x"),    absl::UnauthenticatedError("x"),
                                absl::PermissionDeniedError("x"), absl::CancelledError("x"),
                                absl::InternalError("x"),         absl::DeadlineExceededError("x")};
  for (const absl::Status& status : never) {
    RetryState retry = Make(Repeat::kContention, 1'000'000'000);
    EXPECT_EQ(retry.Next(status), status);
  }
  EXPECT_TRUE(waiter_.waits.empty());
}

TEST_F(RetryTest, WhatMayBeRepeatedDependsOnTheCall) {
  EXPECT_FALSE(Make(Repeat::kNever, 1'000'000'000).Next(absl::UnavailableError("x")).ok());
  EXPECT_TRUE(Make(Repeat::kTransport, 1'000'000'000).Next(absl::UnavailableError("x")).ok());
  EXPECT_FALSE(Make(Repeat::kTransport, 1'000'000'000).Next(absl::AbortedError("x")).ok());
  EXPECT_FALSE(Make(Repeat::kTransport, 1'000'000'000).Next(absl::ResourceExhaustedError("x")).ok());
  EXPECT_TRUE(Make(Repeat::kContention, 1'000'000'000).Next(absl::AbortedError("x")).ok());
  EXPECT_TRUE(Make(Repeat::kContention, 1'000'000'000).Next(absl::ResourceExhaustedError("x")).ok());
}

TEST_F(RetryTest, AttemptsEnd) {
  RetryState retry = Make(Repeat::kTransport, 1'000'000'000);
  int attempts = 1;
  absl::Status status;
  while ((status = retry.Next(absl::UnavailableError("gone"))).ok()) ++attempts;
  EXPECT_EQ(attempts, 8);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message().substr(0, 4), "gone");
}

TEST_F(RetryTest, ContentionEndsSooner) {
  RetryState retry = Make(Repeat::kContention, 1'000'000'000);
  EXPECT_TRUE(retry.Next(absl::AbortedError("x")).ok());
  EXPECT_TRUE(retry.Next(absl::AbortedError("x")).ok());
  EXPECT_FALSE(retry.Next(absl::AbortedError("x")).ok());
}

TEST_F(RetryTest, WaitsAreFullJitterUnderAGrowingCap) {
  // The largest draw of each wait is its cap: 10, 20, 40, 50, 50 ms.
  const int64_t caps[] = {10'000, 20'000, 40'000, 50'000, 50'000};
  for (int i = 0; i < 5; ++i) {
    waiter_.waits.clear();
    uint64_t draw = 0;
    RetryState largest(
        options_, Repeat::kTransport, Deadline(&clock_, 1'000'000'000), [&draw] { return draw; }, &waiter_);
    for (int k = 0; k <= i; ++k) {
      draw = static_cast<uint64_t>(caps[k]);
      ASSERT_TRUE(largest.Next(absl::UnavailableError("x")).ok());
      EXPECT_EQ(waiter_.waits.back(), caps[k]);
    }
  }
  waiter_.waits.clear();
  RetryState wrapped = Make(Repeat::kTransport, 1'000'000'000, /*random=*/10'001);
  ASSERT_TRUE(wrapped.Next(absl::UnavailableError("x")).ok());
  EXPECT_EQ(waiter_.waits.back(), 0);  // uniform over [0, cap], so one past the cap is the smallest
}

TEST_F(RetryTest, NeverSleepsPastTheDeadline) {
  for (int64_t budget_us : {1, 5'000, 9'999, 10'000, 25'000, 75'000, 300'000}) {
    waiter_.waits.clear();
    uint64_t seed = 88172645463325252u;
    const auto random = [&seed] { return seed = seed * 6364136223846793005u + 1442695040888963407u; };
    const Deadline deadline(&clock_, budget_us);
    RetryState retry(options_, Repeat::kTransport, deadline, random, &waiter_);
    while (retry.Next(absl::UnavailableError("x")).ok()) {
      EXPECT_GT(deadline.RemainingUs(), 0);
    }
    int64_t slept = 0;
    for (int64_t us : waiter_.waits) slept += us;
    EXPECT_LT(slept, budget_us);
  }
}

TEST_F(RetryTest, ProgressStartsAnew) {
  RetryState retry = Make(Repeat::kTransport, 1'000'000'000, 10'000);
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(retry.Next(absl::UnavailableError("x")).ok());
  retry.Progress();
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(retry.Next(absl::UnavailableError("x")).ok());
  EXPECT_FALSE(retry.Next(absl::UnavailableError("x")).ok());
  EXPECT_EQ(waiter_.waits[7], waiter_.waits[0]);
}

TEST_F(RetryTest, AnInterruptedWaitEndsTheCall) {
  waiter_.interrupted = true;
  const absl::Status status = Make(Repeat::kTransport, 1'000'000'000).Next(absl::UnavailableError("x"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);  // what happened, and a note
  EXPECT_EQ(status.message(), "x (1 attempts; the client has gone)");
}

TEST_F(RetryTest, InterruptWakesTheSleeper) {
  InterruptibleWaiter waiter;
  bool waited = true;
  std::thread sleeper([&] { waited = waiter.WaitUs(600'000'000); });
  waiter.Interrupt();
  sleeper.join();
  EXPECT_FALSE(waited);
  EXPECT_FALSE(waiter.WaitUs(0));
}

TEST_F(RetryTest, OptionsAreChecked) {
  EXPECT_TRUE(RetryOptions().Validate().ok());
  EXPECT_FALSE(RetryOptions{.max_attempts = 0}.Validate().ok());
  EXPECT_FALSE((RetryOptions{.initial_backoff_ms = 100, .max_backoff_ms = 50}.Validate().ok()));
  EXPECT_FALSE(RetryOptions{.multiplier = 0.5}.Validate().ok());
}

TEST_F(RetryTest, ADeadlineThatNeverComes) {
  const Deadline never = Deadline::Never(&clock_);
  clock_.AdvanceUs(INT64_C(1) << 50);
  EXPECT_FALSE(never.expired());
  Deadline soon = Deadline::AfterMs(&clock_, 5);
  EXPECT_EQ(soon.RemainingUs(), 5000);
  clock_.AdvanceUs(5000);
  EXPECT_TRUE(soon.expired());
}

}  // namespace
}  // namespace kvcompd::client
