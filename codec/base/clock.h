// Time as the daemon sees it, injected so that tests move it by hand.
#ifndef KVCOMPD_CODEC_BASE_CLOCK_H_
#define KVCOMPD_CODEC_BASE_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace kvcompd {

// Monotonic microseconds since an arbitrary start. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowUs() const = 0;
};

class SteadyClock final : public Clock {
 public:
  int64_t NowUs() const override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// For tests.
class ManualClock final : public Clock {
 public:
  int64_t NowUs() const override { return now_us_.load(); }
  void AdvanceUs(int64_t us) { now_us_ += us; }

 private:
  std::atomic<int64_t> now_us_{1'000'000};
};

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_CLOCK_H_
