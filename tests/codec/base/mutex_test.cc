#include "codec/base/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "codec/base/clock.h"

namespace kvcompd {
namespace {

class Counter {
 public:
  void Add() {
    MutexLock lock(&mutex_);
    ++n_;
    changed_.SignalAll();
  }
  void WaitUntil(int n) {
    MutexLock lock(&mutex_);
    while (n_ < n) changed_.Wait(&mutex_);
  }
  bool WaitForMore(absl::Duration timeout) {  // true: the time ran out
    MutexLock lock(&mutex_);
    return changed_.WaitFor(&mutex_, timeout);
  }
  int n() {
    MutexLock lock(&mutex_);
    return n_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int n_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(MutexTest, ExcludesAndWakes) {
  Counter counter;
  constexpr int kThreads = 4, kEach = 1000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&counter] {
      for (int i = 0; i < kEach; ++i) counter.Add();
    });
  }
  counter.WaitUntil(kThreads * kEach);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter.n(), kThreads * kEach);
}

TEST(MutexTest, WaitForRunsOut) {
  Counter counter;
  EXPECT_TRUE(counter.WaitForMore(absl::Milliseconds(1)));
}

TEST(ClockTest, ManualClockMovesByHandAndSteadyClockNeverBack) {
  ManualClock manual;
  const int64_t start = manual.NowUs();
  EXPECT_EQ(manual.NowUs(), start);
  manual.AdvanceUs(5);
  EXPECT_EQ(manual.NowUs(), start + 5);
  const SteadyClock steady;
  const int64_t a = steady.NowUs();
  EXPECT_GE(steady.NowUs(), a);
}

}  // namespace
}  // namespace kvcompd
