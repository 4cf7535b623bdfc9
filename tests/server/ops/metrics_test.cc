#include "server/ops/metrics.h"

#include <gtest/gtest.h>

namespace kvcompd::server {
namespace {

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameCounter) {
  Metrics metrics;
  auto& a = metrics.Counter("kvcompd_test_total", "A test", {{"reason", "quota"}});
  auto& b = metrics.Counter("kvcompd_test_total", "A test", {{"reason", "quota"}});
  auto& other = metrics.Counter("kvcompd_test_total", "A test", {{"reason", "memory"}});
  EXPECT_EQ(&a, &b);
  EXPECT_NE(&a, &other);
  a.Increment();
  b.Increment(2);
  EXPECT_EQ(metrics.Value("kvcompd_test_total", {{"reason", "quota"}}), 3);
  EXPECT_EQ(metrics.Value("kvcompd_test_total", {{"reason", "memory"}}), 0);
  EXPECT_EQ(metrics.Value("kvcompd_absent_total"), 0);
}

TEST(MetricsTest, CollectNamesEverySample) {
  Metrics metrics;
  metrics.Gauge("kvcompd_test_bytes", "A gauge").Set(12);
  metrics.Counter("kvcompd_test_total", "A test", {{"a", "1"}, {"b", "2"}}).Increment();
  const auto samples = metrics.Collect();
  ASSERT_EQ(samples.size(), 2u);
  for (const auto& sample : samples) {
    if (sample.name == "kvcompd_test_bytes") {
      EXPECT_EQ(sample.labels, "");
      EXPECT_EQ(sample.value, 12);
    } else {
      EXPECT_EQ(sample.name, "kvcompd_test_total");
      EXPECT_EQ(sample.labels, "a=\"1\",b=\"2\"");
      EXPECT_EQ(sample.value, 1);
    }
  }
}

}  // namespace
}  // namespace kvcompd::server
