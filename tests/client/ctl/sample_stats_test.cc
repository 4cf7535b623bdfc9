#include "client/ctl/sample_stats.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvcompd::client {
namespace {

TEST(SampleStats, MedianOfOddEvenAndNone) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({7}), 7);
  EXPECT_EQ(Median({}), 0);
}

TEST(SampleStats, PercentileIsTheNearestRank) {
  std::vector<double> samples;
  for (int i = 1000; i >= 1; --i) samples.push_back(i);  // 1 to 1000
  EXPECT_EQ(Percentile(samples, 0.5), 500);
  EXPECT_EQ(Percentile(samples, 0.99), 990);
  EXPECT_EQ(Percentile(samples, 0.999), 999);
  EXPECT_EQ(Percentile(samples, 1.0), 1000);
  EXPECT_EQ(Percentile(samples, 0.0), 1);
  EXPECT_EQ(Percentile({}, 0.5), 0);
  EXPECT_EQ(Percentile({5}, 0.999), 5);
}

}  // namespace
}  // namespace kvcompd::client
