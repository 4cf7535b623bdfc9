#include "client/ctl/bench_kvdata.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "client/ctl/bench_kvdata_report.h"

namespace kvcompd::client {
namespace {

class BenchKvdataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = LoadKvFile("tests/data/tiny1m.story1");
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  std::vector<KvdataRow> Measure(KUnit k_unit, double rel, bool trained) {
    auto rows = MeasureSample(file_, k_unit, rel, trained);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? *rows : std::vector<KvdataRow>(3);
  }
  KvFile file_;
};

TEST_F(BenchKvdataTest, ChecksEveryValue) {
  for (const KUnit k_unit : {KUnit::kBlock, KUnit::kChannel}) {
    for (const bool trained : {false, true}) {
      const std::vector<KvdataRow> rows = Measure(k_unit, 0.1, trained);
      ASSERT_EQ(rows.size(), 3u);
      const uint64_t values = file_.kv.size() / 2;
      EXPECT_EQ(rows[0].values, values / 2);
      EXPECT_EQ(rows[1].values, values / 2);
      EXPECT_EQ(rows[2].values, values);
      EXPECT_EQ(rows[2].raw_bytes, file_.kv.size());
      for (const KvdataRow& row : rows) {
        EXPECT_EQ(row.violations, 0u);
        EXPECT_GT(row.max_error_over_r, 0.5);  // lossy indeed
        EXPECT_LT(row.max_error_over_r, 1.2);
      }
    }
  }
}

TEST_F(BenchKvdataTest, BothIsTheSumOfKAndV) {
  const std::vector<KvdataRow> rows = Measure(KUnit::kBlock, 0.05, true);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].tensor, Tensor::kK);
  EXPECT_EQ(rows[1].tensor, Tensor::kV);
  EXPECT_FALSE(rows[2].tensor.has_value());
  EXPECT_EQ(rows[2].payload_bytes, rows[0].payload_bytes + rows[1].payload_bytes);
  EXPECT_DOUBLE_EQ(rows[2].stored_bytes, rows[0].stored_bytes + rows[1].stored_bytes);
  EXPECT_EQ(rows[2].tiles, rows[0].tiles + rows[1].tiles);
  // 4 layers, 2 heads, 4 blocks of one group.
  EXPECT_EQ(rows[0].tiles, 4u * 2 * 4);
}

TEST_F(BenchKvdataTest, RatesBehaveAsTheyMust) {
  const KvdataRow fine = Measure(KUnit::kBlock, 0.01, true)[2];
  const KvdataRow coarse = Measure(KUnit::kBlock, 0.2, true)[2];
  const KvdataRow built_in = Measure(KUnit::kBlock, 0.2, false)[2];
  EXPECT_GT(coarse.ratio_codec(), fine.ratio_codec());
  EXPECT_GE(coarse.ratio_codec(), built_in.ratio_codec());  // books of this very sample
  for (const KvdataRow& row : {fine, coarse, built_in}) {
    EXPECT_GT(row.ratio_codec(), row.ratio_effective());  // the container costs something
    EXPECT_NEAR(row.bits_per_value(), 16 / row.ratio_effective(), 1e-9);
  }
}

TEST_F(BenchKvdataTest, RefusesASettingOutOfRange) {
  EXPECT_EQ(MeasureSample(file_, KUnit::kBlock, 0.9, false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(BenchKvdataTest, FolderWithoutSamplesIsNotFound) {
  EXPECT_EQ(MeasureKvdata("tests/client", {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BenchKvdataTest, ReportsHaveTheSameRowsAndSums) {
  const std::vector<KvdataRow> rows = Measure(KUnit::kBlock, 0.1, false);
  const std::vector<std::string> lines = absl::StrSplit(KvdataCsv(rows), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4u);
  const auto columns = std::count(lines[0].begin(), lines[0].end(), ',');
  for (const std::string& line : lines) EXPECT_EQ(std::count(line.begin(), line.end(), ','), columns);
  EXPECT_EQ(lines[3].rfind("tiny1m,story1,bf16,block,0.1,built-in,KV,262144,", 0), 0u) << lines[3];

  const Json json = KvdataJson(rows);
  EXPECT_EQ(json["rows"].size(), 3u);
  EXPECT_EQ(json["values_checked"], file_.kv.size() / 2);  // K and V, not their sum as well
  EXPECT_EQ(json["violations"], 0);
}

}  // namespace
}  // namespace kvcompd::client
