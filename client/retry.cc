#include "client/retry.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace kvcompd::client {
namespace {

absl::Status GaveUp(const absl::Status& last, uint32_t attempts, absl::string_view why) {
  return absl::Status(last.code(), absl::StrCat(last.message(), " (", attempts, " attempts; ", why, ")"));
}

}  // namespace

absl::Status RetryOptions::Validate() const {
  if (max_attempts < 1) return absl::InvalidArgumentError("retry.max_attempts is 0; 1 means no retry");
  if (initial_backoff_ms > max_backoff_ms) {
    return absl::InvalidArgumentError("retry.initial_backoff_ms is larger than retry.max_backoff_ms");
  }
  if (max_backoff_ms > 600'000) {
    return absl::InvalidArgumentError("retry.max_backoff_ms is over 600000 (ten minutes)");
  }
  if (!(multiplier >= 1.0 && multiplier <= 10.0)) {
    return absl::InvalidArgumentError("retry.multiplier is outside 1 to 10");
  }
  return absl::OkStatus();
}

std::chrono::system_clock::time_point Deadline::SystemTime() const {
  if (never()) return std::chrono::system_clock::time_point::max();
  return std::chrono::system_clock::now() + std::chrono::microseconds(std::max<int64_t>(0, RemainingUs()));
}

bool InterruptibleWaiter::WaitUs(int64_t us) {
  SteadyClock clock;
  const int64_t end_us = clock.NowUs() + us;
  MutexLock lock(&mutex_);
  while (!interrupted_) {
    const int64_t left_us = end_us - clock.NowUs();
    if (left_us <= 0) return true;
    cond_.WaitFor(&mutex_, absl::Microseconds(left_us));
  }
  return false;
}

void InterruptibleWaiter::Interrupt() {
  MutexLock lock(&mutex_);
  interrupted_ = true;
  cond_.SignalAll();
}

RetryState::RetryState(const RetryOptions& options, Repeat repeat, const Deadline& deadline,
                       std::function<uint64_t()> random, Waiter* waiter)
    : options_(options),
      repeat_(repeat),
      deadline_(deadline),
      random_(std::move(random)),
      waiter_(waiter),
      backoff_us_(options.initial_backoff_ms * 1000.0) {}

bool RetryState::MayRepeat(absl::StatusCode code) const {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return repeat_ != Repeat::kNever;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kResourceExhausted:
      return repeat_ == Repeat::kContention && contention_ + 1 < options_.contention_attempts;
    default:
      return false;
  }
}

int64_t RetryState::DrawWaitUs() {
  const auto cap_us = static_cast<uint64_t>(backoff_us_);
  backoff_us_ = std::min(backoff_us_ * options_.multiplier, options_.max_backoff_ms * 1000.0);
  return static_cast<int64_t>(random_() % (cap_us + 1));
}

absl::Status RetryState::Next(const absl::Status& failed) {
  if (failed.ok() || !MayRepeat(failed.code())) return failed;
  if (attempts_ >= options_.max_attempts) return GaveUp(failed, attempts_, "no more are allowed");
  const int64_t wait_us = DrawWaitUs();
  if (wait_us >= deadline_.RemainingUs()) return GaveUp(failed, attempts_, "the deadline is too near");
  if (!waiter_->WaitUs(wait_us)) return GaveUp(failed, attempts_, "the client has gone");
  if (failed.code() != absl::StatusCode::kUnavailable) ++contention_;
  ++attempts_;
  return absl::OkStatus();
}

void RetryState::Progress() {
  attempts_ = 1;
  contention_ = 0;
  backoff_us_ = options_.initial_backoff_ms * 1000.0;
}

}  // namespace kvcompd::client
