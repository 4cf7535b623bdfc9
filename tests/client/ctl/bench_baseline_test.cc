#include "client/ctl/bench_baseline.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

namespace kvcompd::client {
namespace {

TEST(TcpBaseline, MeasuresAgainAndAgain) {
  auto tcp = TcpBaseline::Start();
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  for (int i = 0; i < 3; ++i) {
    const auto gbps = (*tcp)->Measure(0.05);
    ASSERT_TRUE(gbps.ok()) << gbps.status();
    EXPECT_GT(*gbps, 0.01);
    EXPECT_LT(*gbps, 1000);
  }
}

TEST(TcpBaseline, SeveralStreamsAtOnce) {
  auto tcp = TcpBaseline::Start(3);
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  for (const uint32_t streams : {3u, 1u, 2u}) {
    const auto gbps = (*tcp)->Measure(0.05, streams);
    ASSERT_TRUE(gbps.ok()) << gbps.status();
    EXPECT_GT(*gbps, 0.01);
  }
  EXPECT_EQ((*tcp)->Measure(0.05, 4).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TcpBaseline, LeavesNoProcessBehind) {
  { ASSERT_TRUE(TcpBaseline::Start(2).ok()); }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // ECHILD: every child was waited for
}

TEST(MemcpyBaseline, CopiesFasterThanADisk) {
  MemcpyBaseline copy(1 << 20);
  const double gbps = copy.Measure(0.05);
  EXPECT_GT(gbps, 0.1);
  EXPECT_LT(gbps, 10000);
}

TEST(LastLevelCacheBytes, IsWithinItsLimits) {
  EXPECT_GE(LastLevelCacheBytes(), uint64_t{8} << 20);
  EXPECT_LE(LastLevelCacheBytes(), uint64_t{512} << 20);
}

}  // namespace
}  // namespace kvcompd::client
