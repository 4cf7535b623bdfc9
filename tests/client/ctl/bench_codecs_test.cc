// The codec bench on the sample of tests/data and on synthetic values.
#include "client/ctl/bench_codecs.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string>

#include "client/ctl/attention_check.h"
#include "client/ctl/bench_codecs_report.h"
#include "codec/float_format.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

const BenchDataset& Sample() {
  static const auto* const sets =
      new std::vector<BenchDataset>(LoadDatasets("tests/data", {DType::kBf16}).value());
  return sets->front();
}

Trial TrialOf(const char* profile) {
  static const auto* const data = new TrialData(Sample());
  return RunTrial(*data, Profile::Parse(profile).value()).value();
}

TEST(AttentionErrorTest, IsTheDemosFigure) {
  const KvFile& file = Sample().samples[0];
  const AttentionReference reference(file);
  std::vector<float> changed = reference.original();
  for (size_t i = 0; i < changed.size(); i += 3) changed[i] *= 1.01f;
  codec::RoundFloats(file.dtype, changed.data(), changed.size(), changed.data());
  const AttentionErrors errors = reference.Compare(changed);

  auto memory = SampleMemory::Create(file).value();
  std::string bytes(changed.size() * 2, '\0');
  codec::ValuesOfFloats(file.dtype, changed.data(), changed.size(),
                        reinterpret_cast<std::byte*>(bytes.data()));
  std::memcpy(const_cast<std::byte*>(memory->bytes().data()), bytes.data(), bytes.size());
  const auto report = CompareAttention(file, *memory, file.tokens);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NEAR(errors.kv.RelativeL2(), report->relative_l2, 1e-4 * report->relative_l2);
  EXPECT_GT(errors.k_only.RelativeL2(), 0);
  EXPECT_GT(errors.v_only.RelativeL2(), 0);
  EXPECT_EQ(reference.Compare(reference.original()).kv.RelativeL2(), 0);
}

TEST(CodecTrialTest, RawIsExactAndLongerThanItsValues) {
  const Trial raw = TrialOf("raw");
  EXPECT_EQ(raw.kv.max_error, 0);
  EXPECT_EQ(raw.attention.kv.RelativeL2(), 0);
  EXPECT_EQ(raw.kv.ratio_codec(), 1);
  EXPECT_LT(raw.kv.ratio_effective(), 1);
  EXPECT_GT(raw.kv.bits_per_value(), 16);
  EXPECT_EQ(raw.kv.raw_bytes, Sample().raw_bytes());
  EXPECT_EQ(raw.kv.values * 2, raw.kv.raw_bytes);
  EXPECT_EQ(raw.layer_ratios.size(), Sample().samples[0].layers);
}

TEST(CodecTrialTest, ACoarserStepIsSmallerAndWorse) {
  const Trial fine = TrialOf("kvcomp:rel_k=0.05,rel_v=0.1"), coarse = TrialOf("kvcomp:rel_k=0.2,rel_v=0.2");
  EXPECT_GT(coarse.kv.ratio_effective(), fine.kv.ratio_effective());
  EXPECT_GT(coarse.attention.kv.RelativeL2(), fine.attention.kv.RelativeL2());
  EXPECT_GT(coarse.k.squared.RelativeL2(), fine.k.squared.RelativeL2());
  EXPECT_GT(fine.kv.ratio_codec(), fine.kv.ratio_effective());
  EXPECT_GT(fine.codebook_bytes, 0u);
  EXPECT_DOUBLE_EQ(fine.kv.stored_bytes, fine.k.stored_bytes + fine.v.stored_bytes);
  EXPECT_GT(fine.attention.kv.RelativeL2(), fine.attention.v_only.RelativeL2());
}

TEST(CodecTrialTest, APackingThatIsOpenIsChosenOnTheSamples) {
  const Trial open = TrialOf("packkv:repack=auto,pack=auto"), fixed = TrialOf("packkv:repack=none,pack=16");
  EXPECT_LT(open.kv.payload_bytes, fixed.kv.payload_bytes);
  EXPECT_EQ(open.kv.squared.difference, fixed.kv.squared.difference);
  // Within a near tie of the least of all, for K and V each.
  uint64_t least_k = ~uint64_t{0}, least_v = ~uint64_t{0};
  for (const char* repack : {"none", "median", "greedy"}) {
    for (const char* pack : {"4", "8", "16", "32"}) {
      const Trial trial = TrialOf((std::string("packkv:repack=") + repack + ",pack=" + pack).c_str());
      least_k = std::min(least_k, trial.k.payload_bytes);
      least_v = std::min(least_v, trial.v.payload_bytes);
    }
  }
  EXPECT_LT(open.k.payload_bytes, least_k + least_k / 50);
  EXPECT_LT(open.v.payload_bytes, least_v + least_v / 50);
}

// The statistics that research reports of larger models.
TEST(SyntheticDatasetTest, HasOutliersAndMeans) {
  const BenchDataset set = SyntheticDataset(1);
  EXPECT_TRUE(set.synthetic);
  EXPECT_EQ(set.name, "synthetic");
  const KvFile& file = set.samples[0];
  const std::vector<float> values = FloatsOf(file);
  double mean_energy = 0, energy = 0, largest = 0, sum_deviation = 0;
  const size_t head_elems = size_t{file.tokens} * file.head_dim;
  for (uint32_t head = 0; head < file.kv_heads; ++head) {
    for (uint32_t c = 0; c < file.head_dim; ++c) {
      double sum = 0, squares = 0;
      for (uint32_t t = 0; t < file.tokens; ++t) {
        const double x = values[head * head_elems + size_t{t} * file.head_dim + c];
        sum += x;
        squares += x * x;
      }
      mean_energy += sum * sum / file.tokens;
      energy += squares;
      largest = std::max(largest, std::sqrt(squares / file.tokens));
      sum_deviation += std::sqrt(squares / file.tokens) / file.kv_heads / file.head_dim;
    }
  }
  EXPECT_GT(mean_energy / energy, 0.35);  // what rotation leaves of the mean
  EXPECT_LT(mean_energy / energy, 0.7);
  EXPECT_GT(largest / sum_deviation, 5);  // some channels stand out
  EXPECT_EQ(SyntheticDataset(1).samples[1].kv, set.samples[1].kv);
  EXPECT_NE(SyntheticDataset(2).samples[0].kv, set.samples[0].kv);
  EXPECT_NE(set.samples[0].kv, set.samples[1].kv);
}

TEST(BenchCodecsTest, CurvesAndDefaultsCoverWhatIsAsked) {
  std::set<std::pair<double, double>> kvcomp;
  for (const Profile& profile : DefaultCodecProfiles()) {
    if (CurveOf(profile) == "kvcomp") kvcomp.insert({profile.rel_k, profile.rel_v});
  }
  EXPECT_GE(kvcomp.size(), 16u);
  EXPECT_EQ(CurveOf(Profile::Parse("kvcomp:k_unit=channel").value()), "kvcomp k_unit=channel");
  EXPECT_EQ(CurveOf(Profile::Parse("packkv:pack=4").value()), "packkv");
}

TEST(BenchCodecsTest, TheJsonHasWhatTheContractNames) {
  const std::vector<BenchDataset> sets = {Sample()};
  CodecBenchOptions options{.profiles = QuickCodecProfiles()};
  options.speed_profiles = {Profile::Parse("kvcomp:rel_k=0.1,rel_v=0.2").value()};
  options.speed_options = {.repeats = 1, .seconds = 0.001, .threads = {1}, .cache = true, .memory = false};
  const auto report = RunCodecBench(sets, options);
  ASSERT_TRUE(report.ok()) << report.status();
  const Json json = CodecBenchJson(*report);
  EXPECT_EQ(json["data"][0]["model"], "tiny1m");
  std::set<std::string> with_attention;
  bool speed = false;
  for (const Json& row : json["results"]) {
    for (const char* field :
         {"profile", "codec", "dtype", "tensor", "ratio_codec", "ratio_effective", "bits_per_value", "rel_l2",
          "max_error", "attn_rel_l2", "encode_gbps", "decode_gbps", "threads", "resident"}) {
      EXPECT_TRUE(row.contains(field)) << field;
    }
    if (row["tensor"] == "KV") with_attention.insert(row["profile"].get<std::string>());
    if (row["encode_gbps"].is_number()) {
      speed = true;
      EXPECT_GT(row["decode_gbps"].get<double>(), 0);
      EXPECT_EQ(row["resident"], "cache");
    }
  }
  EXPECT_TRUE(speed);
  for (const Profile& profile : options.profiles) EXPECT_EQ(with_attention.count(profile.Text()), 1u);
  std::set<std::string> baselines;
  for (const Json& row : json["baselines"]) baselines.insert(row["name"].get<std::string>());
  EXPECT_EQ(baselines, (std::set<std::string>{"memcpy", "memcpy+crc32c", "zstd -3", "lz4"}));

  const std::string csv = CodecBenchCsv(*report);
  const auto columns = [](const std::string& line) {
    size_t n = 1;
    bool quoted = false;
    for (const char c : line) {
      quoted ^= c == '"';
      n += c == ',' && !quoted;
    }
    return n;
  };
  std::istringstream lines(csv);
  std::string line;
  std::getline(lines, line);
  const size_t want = columns(line);
  while (std::getline(lines, line)) EXPECT_EQ(columns(line), want) << line;
  EXPECT_NE(CodecBenchSvg(*report).find("</svg>"), std::string::npos);
  std::ostringstream table;
  PrintCodecBenchTable(*report, table);
  EXPECT_NE(table.str().find("zstd -3"), std::string::npos);
}

}  // namespace
}  // namespace kvcompd::client
