#include "client/ctl/process_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <limits>
#include <vector>

#include "absl/status/status.h"

namespace kvcompd::client {
namespace {

// Field n (1-based, as in proc(5)) holds the number n * 10.
TEST(CpuTicksOfStat, AddsUserAndSystemTime) {
  const auto ticks = CpuTicksOfStat("10 (kvcompd) S 40 50 60 70 80 90 100 110 120 130 140 150 160 170");
  ASSERT_TRUE(ticks.ok()) << ticks.status();
  EXPECT_EQ(*ticks, 140u + 150u);
}

TEST(CpuTicksOfStat, TakesAnyProcessName) {
  const auto ticks = CpuTicksOfStat("10 (a) S 1 (b) c) S 40 50 60 70 80 90 100 110 120 130 7 5 160 170");
  ASSERT_TRUE(ticks.ok()) << ticks.status();
  EXPECT_EQ(*ticks, 12u);
}

TEST(CpuTicksOfStat, RefusesOtherText) {
  for (const char* text :
       {"", "10 kvcompd S 40", "10 (kvcompd) S 40 50", "10 (k) S 4 5 6 7 8 9 10 11 12 13 x 15"}) {
    EXPECT_EQ(CpuTicksOfStat(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(CpuSeconds, GrowsWithWork) {
  const auto before = CpuSeconds(0);
  ASSERT_TRUE(before.ok()) << before.status();
  // Work until the clock of this process says 50 ms; a tick is 10 ms.
  volatile uint64_t sink = 0;
  const auto own = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const double start = own();
  while (own() - start < 0.05) sink = sink + 1;
  const auto after = CpuSeconds(getpid());
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_GE(*after - *before, 0.03);
}

TEST(ProcessUsage, OfNoProcessIsNotFound) {
  const pid_t none = std::numeric_limits<pid_t>::max();
  EXPECT_EQ(CpuSeconds(none).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ResidentBytes(none).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenDescriptors(none).status().code(), absl::StatusCode::kNotFound);
}

TEST(ResidentBytes, CountsTouchedMemory) {
  constexpr uint64_t kBytes = uint64_t{64} << 20;
  const auto before = ResidentBytes(0);
  ASSERT_TRUE(before.ok()) << before.status();
  const std::vector<std::byte> touched(kBytes, std::byte{1});
  const auto after = ResidentBytes(0);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(touched.back(), std::byte{1});
  EXPECT_GE(*after, *before + kBytes * 9 / 10);
}

TEST(OpenDescriptors, CountsThem) {
  const auto before = OpenDescriptors(0);
  ASSERT_TRUE(before.ok()) << before.status();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  EXPECT_EQ(OpenDescriptors(0).value_or(0), *before + 2);
  EXPECT_EQ(OpenDescriptors(getpid()).value_or(0), *before + 2);
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(OpenDescriptors(0).value_or(0), *before);
}

}  // namespace
}  // namespace kvcompd::client
