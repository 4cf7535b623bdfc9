// `kvcompctl bench codecs`: which codec is best at what. Rate and distortion of many profiles on data sets of
// real KV (and synthetic, if asked), their gain over the anchors, and their speed beside zstd, LZ4 and
// memcpy.
//
// Called by the command. One call at a time; it uses all cores.
//
//   CodecBenchOptions options{.profiles = DefaultCodecProfiles()};
//   auto report = RunCodecBench(datasets, options);         // StatusOr
//   out << CodecBenchCsv(*report);
//
// Anchors: intq of 2 and of 4 bits, group 32, is what KIVI does (arXiv 2402.02750). For each codec, the rate
// at which its frontier reaches the anchor's error; the gain is the anchor's rate over it, so how many times
// smaller the codec is at equal error. Also with K alone decoded, and V alone.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_CODECS_H_
#define KVCOMPD_CLIENT_CTL_BENCH_CODECS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/bench_dataset.h"
#include "client/ctl/codec_speed.h"
#include "client/ctl/codec_trial.h"
#include "client/ctl/frontier.h"
#include "codec/base/profile.h"

namespace kvcompd::client {

struct CodecBenchOptions {
  std::vector<Profile> profiles;
  bool speed = true;
  std::vector<Profile>
      speed_profiles;  // a few of each codec; measured on the first real data set, or the first
  SpeedOptions speed_options;
  uint32_t threads = 0;  // for the trials; 0: all cores
};

// Codecs that are not in this build are left out.
std::vector<Profile> DefaultCodecProfiles();
std::vector<Profile> QuickCodecProfiles();
std::vector<Profile> DefaultSpeedProfiles();

// A codec, with what makes it another curve: "kvcomp k_unit=channel", "packkv".
std::string CurveOf(const Profile& profile);

struct AnchorGain {
  std::string anchor;  // the profile's text
  std::string curve;
  std::string tensor;  // K, V: that alone is decoded; KV: both
  double anchor_bits = 0, anchor_error = 0;
  std::optional<double> bits;  // of the curve at that error; nothing where it does not reach it
  double gain() const { return bits.has_value() ? anchor_bits / *bits : 0; }
};

struct DatasetResult {
  const BenchDataset* dataset = nullptr;
  std::vector<Trial> trials;
  std::vector<AnchorGain> gains;
};

struct CodecBenchReport {
  std::vector<DatasetResult> datasets;
  SpeedReport speed;
  std::vector<std::string> left_out;  // profiles whose codec is not in this build
};

// datasets outlive the report.
absl::StatusOr<CodecBenchReport> RunCodecBench(const std::vector<BenchDataset>& datasets,
                                               const CodecBenchOptions& options,
                                               const std::function<void(const std::string&)>& progress = {});

// The points of a curve: effective bits a value against the error of the attention output.
std::vector<RdPoint> PointsOf(const std::vector<Trial>& trials, const std::string& curve,
                              const std::string& tensor);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_CODECS_H_
