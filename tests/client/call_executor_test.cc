#include "client/call_executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <numeric>

namespace kvcompd::client {
namespace {

TEST(CallExecutorTest, AFullQueueIsRefusedAndShutdownCallsBackWhatWaits) {
  CallExecutor executor(1, 2);
  std::promise<void> started, go_on;
  ASSERT_TRUE(executor
                  .Submit([&](bool run) {
                    EXPECT_TRUE(run);
                    started.set_value();
                    go_on.get_future().wait();
                  })
                  .ok());
  started.get_future().wait();
  std::atomic<int> dropped{0};
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(executor.Submit([&](bool run) { dropped += !run; }).ok());
  EXPECT_EQ(executor.Submit([](bool) { FAIL(); }).code(), absl::StatusCode::kResourceExhausted);
  std::thread shutdown([&] { executor.Shutdown(); });
  while (dropped != 2) std::this_thread::yield();  // Shutdown calls them back while the first still runs
  go_on.set_value();
  shutdown.join();
  EXPECT_EQ(executor.Submit([](bool) { FAIL(); }).code(), absl::StatusCode::kCancelled);
}

TEST(CallExecutorTest, ParallelForDoesEachOnce) {
  for (uint32_t threads : {0u, 1u, 4u}) {
    CallExecutor executor(threads, 1000);
    for (size_t n : {0u, 1u, 3u, 1000u}) {
      std::vector<std::atomic<int>> seen(n);
      ParallelFor(&executor, n, [&](size_t i) { ++seen[i]; });
      for (auto& count : seen) EXPECT_EQ(count, 1);
    }
  }
}

TEST(CallExecutorTest, ParallelForWorksAloneWhereTheExecutorIsGone) {
  CallExecutor executor(2, 10);
  executor.Shutdown();
  std::atomic<int> sum{0};
  ParallelFor(&executor, 10, [&](size_t i) { sum += static_cast<int>(i); });
  EXPECT_EQ(sum, 45);
}

TEST(CallExecutorTest, ParallelForWithoutThreadsLeavesNothingInTheQueue) {
  CallExecutor executor(0, 1000);
  std::atomic<int> sum{0};
  for (int i = 0; i < 5; ++i) ParallelFor(&executor, 100, [&](size_t) { ++sum; });
  EXPECT_EQ(sum, 500);
  EXPECT_EQ(executor.waiting(), 0u);
}

TEST(CallExecutorTest, ManyParallelForsShareOneExecutor) {
  CallExecutor executor(2, 8);
  std::vector<std::thread> callers;
  std::atomic<int> total{0};
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) ParallelFor(&executor, 7, [&](size_t) { ++total; });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 50 * 7);
}

}  // namespace
}  // namespace kvcompd::client
