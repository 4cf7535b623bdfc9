#include "client/ctl/bench_codecs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codec/codec.h"

namespace kvcompd::client {
namespace {

constexpr const char* kAnchors[] = {"intq:bits=2,group=32", "intq:bits=4,group=32"};
constexpr const char* kTensorTexts[] = {"K", "V", "KV"};

bool InThisBuild(const Profile& profile) { return codec::FindCodec(profile.codec) != nullptr; }

void AddText(const std::string& text, std::vector<Profile>* profiles) {
  const auto profile = Profile::Parse(text);
  if (profile.ok() && InThisBuild(*profile)) profiles->push_back(*profile);
}

const TrialPart& PartOf(const Trial& trial, const std::string& tensor) {
  return tensor == "K" ? trial.k : tensor == "V" ? trial.v : trial.kv;
}

const SquaredError& AttentionOf(const Trial& trial, const std::string& tensor) {
  return tensor == "K" ? trial.attention.k_only : tensor == "V" ? trial.attention.v_only : trial.attention.kv;
}

std::vector<AnchorGain> GainsOf(const std::vector<Trial>& trials) {
  std::vector<std::string> curves;
  for (const Trial& trial : trials) {
    const std::string curve = CurveOf(trial.profile);
    if (!trial.profile.lossless() && std::find(curves.begin(), curves.end(), curve) == curves.end()) {
      curves.push_back(curve);
    }
  }
  std::vector<AnchorGain> gains;
  for (const char* anchor : kAnchors) {
    const auto found = std::find_if(trials.begin(), trials.end(),
                                    [&](const Trial& trial) { return trial.profile.Text() == anchor; });
    if (found == trials.end()) continue;
    for (const char* tensor : kTensorTexts) {
      for (const std::string& curve : curves) {
        AnchorGain gain{.anchor = anchor, .curve = curve, .tensor = tensor};
        gain.anchor_bits = PartOf(*found, tensor).bits_per_value();
        gain.anchor_error = AttentionOf(*found, tensor).RelativeL2();
        gain.bits = RateAt(Frontier(PointsOf(trials, curve, tensor)), gain.anchor_error);
        gains.push_back(std::move(gain));
      }
    }
  }
  return gains;
}

// All profiles of one data set, spread over threads.
absl::StatusOr<std::vector<Trial>> RunTrials(const TrialData& data, const std::vector<Profile>& profiles,
                                             uint32_t threads,
                                             const std::function<void(const std::string&)>& progress) {
  std::vector<std::optional<Trial>> trials(profiles.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  absl::Status failure;
  const auto work = [&] {
    for (size_t i = next++; i < profiles.size(); i = next++) {
      auto trial = RunTrial(data, profiles[i]);
      const std::lock_guard lock(mutex);
      if (!trial.ok()) {
        failure.Update(trial.status());
        return;
      }
      if (progress) {
        progress(absl::StrCat(data.dataset.name, " ", ToAbsl(DTypeName(data.dataset.dtype)), " ", i + 1, "/",
                              profiles.size(), " ", ToAbsl(profiles[i].Text())));
      }
      trials[i] = *std::move(trial);
    }
  };
  std::vector<std::thread> others;
  for (uint32_t t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  if (!failure.ok()) return failure;
  std::vector<Trial> out;
  out.reserve(trials.size());
  for (std::optional<Trial>& trial : trials) out.push_back(*std::move(trial));
  return out;
}

}  // namespace

std::vector<Profile> DefaultCodecProfiles() {
  std::vector<Profile> profiles;
  for (const char* text : {"raw", "lossless:mode=fast", "lossless:mode=dense"}) AddText(text, &profiles);
  for (const int bits : {8, 4, 2}) {
    for (const int group : {32, 64, 128})
      AddText(absl::StrCat("intq:bits=", bits, ",group=", group), &profiles);
  }
  AddText("intq:bits=8,group=32,bits_v=4", &profiles);
  AddText("intq:bits=4,group=32,bits_v=2", &profiles);
  // V bears a coarser step than K: 1 to 2 times, of the smaller range that a token has.
  for (const char* more : {"", ",k_unit=channel", ",v_unit=block", ",v_unit=block,coder=rans"}) {
    for (const double rel_k : {0.02, 0.03, 0.045, 0.065, 0.09, 0.13, 0.18, 0.25, 0.35, 0.5}) {
      const bool token = !absl::StrContains(more, "v_unit=block");
      for (const double factor : {0.7, 1.0, 1.4, 2.0}) {
        if (factor == (token ? 0.7 : 2.0)) continue;
        const double rel_v = rel_k * factor;
        if (rel_v <= 0.5) AddText(absl::StrCat("kvcomp:rel_k=", rel_k, ",rel_v=", rel_v, more), &profiles);
      }
    }
  }
  for (const char* repack : {"none", "median", "greedy"}) {
    for (const int pack : {4, 8, 16, 32}) {
      AddText(absl::StrCat("packkv:rel_k=0.1,rel_v=0.2,repack=", repack, ",pack=", pack), &profiles);
    }
  }
  AddText("packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=auto", &profiles);
  for (const double rel_k : {0.02, 0.03, 0.045, 0.065, 0.09, 0.13, 0.18, 0.25, 0.35, 0.5}) {
    for (const double factor : {1.0, 1.4, 2.0}) {
      for (const char* repack : {"none", "auto,pack=auto"}) {
        const double rel_v = rel_k * factor;
        if (rel_v <= 0.5) {
          AddText(absl::StrCat("packkv:rel_k=", rel_k, ",rel_v=", rel_v, ",repack=", repack), &profiles);
        }
      }
    }
  }
  return profiles;
}

std::vector<Profile> QuickCodecProfiles() {
  std::vector<Profile> profiles;
  for (const char* text :
       {"raw", "lossless:mode=fast", "lossless:mode=dense", "intq:bits=8,group=32", "intq:bits=4,group=32",
        "intq:bits=2,group=32", "kvcomp:rel_k=0.03,rel_v=0.06", "kvcomp:rel_k=0.1,rel_v=0.2",
        "kvcomp:rel_k=0.35,rel_v=0.5", "packkv:rel_k=0.1,rel_v=0.2"}) {
    AddText(text, &profiles);
  }
  return profiles;
}

std::vector<Profile> DefaultSpeedProfiles() {
  std::vector<Profile> profiles;
  for (const char* text :
       {"raw", "lossless:mode=fast", "lossless:mode=dense", "intq:bits=8,group=32", "intq:bits=4,group=32",
        "intq:bits=2,group=32", "kvcomp:rel_k=0.05,rel_v=0.1", "kvcomp:rel_k=0.1,rel_v=0.2",
        "kvcomp:rel_k=0.2,rel_v=0.4", "kvcomp:rel_k=0.1,rel_v=0.2,k_unit=channel",
        "kvcomp:rel_k=0.1,rel_v=0.2,v_unit=block,coder=rans", "packkv:rel_k=0.1,rel_v=0.2",
        "packkv:rel_k=0.1,rel_v=0.2,repack=median", "packkv:rel_k=0.1,rel_v=0.2,repack=greedy"}) {
    AddText(text, &profiles);
  }
  return profiles;
}

std::string CurveOf(const Profile& profile) {
  std::string curve(CodecName(profile.codec));
  if (profile.codec == CodecId::kKvcomp) {
    if (profile.k_unit == KUnit::kChannel) curve += " k_unit=channel";
    if (profile.strict) curve += " strict";
    if (profile.v_unit == VUnit::kBlock) curve += " v_unit=block";
    if (profile.coder == Coder::kRans) curve += " coder=rans";
  }
  return curve;
}

std::vector<RdPoint> PointsOf(const std::vector<Trial>& trials, const std::string& curve,
                              const std::string& tensor) {
  std::vector<RdPoint> points;
  for (const Trial& trial : trials) {
    if (CurveOf(trial.profile) != curve) continue;
    points.push_back({.bits = PartOf(trial, tensor).bits_per_value(),
                      .error = AttentionOf(trial, tensor).RelativeL2(),
                      .label = trial.profile.Text()});
  }
  return points;
}

absl::StatusOr<CodecBenchReport> RunCodecBench(const std::vector<BenchDataset>& datasets,
                                               const CodecBenchOptions& options,
                                               const std::function<void(const std::string&)>& progress) {
  if (datasets.empty()) return absl::InvalidArgumentError("no data sets");
  CodecBenchReport report;
  std::vector<Profile> profiles, speed_profiles;
  for (const Profile& profile : options.profiles) {
    if (InThisBuild(profile)) {
      profiles.push_back(profile);
    } else {
      report.left_out.push_back(profile.Text());
    }
  }
  for (const Profile& profile : options.speed_profiles) {
    if (!options.speed || !InThisBuild(profile)) continue;
    speed_profiles.push_back(profile);
    // So that every figure of speed stands beside one of rate.
    if (std::find(profiles.begin(), profiles.end(), profile) == profiles.end()) profiles.push_back(profile);
  }
  const uint32_t threads =
      options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  for (const BenchDataset& dataset : datasets) {
    const TrialData data(dataset);
    auto trials = RunTrials(data, profiles, threads, progress);
    if (!trials.ok()) return trials.status();
    DatasetResult result{.dataset = &dataset, .trials = *std::move(trials)};
    result.gains = GainsOf(result.trials);
    report.datasets.push_back(std::move(result));
  }
  if (options.speed) {
    const BenchDataset* largest = &datasets[0];
    for (const BenchDataset& dataset : datasets) {
      if (!dataset.synthetic && (largest->synthetic || dataset.raw_bytes() > largest->raw_bytes())) {
        largest = &dataset;
      }
    }
    auto speed = MeasureSpeed(*largest, speed_profiles, options.speed_options, progress);
    if (!speed.ok()) return speed.status();
    report.speed = *std::move(speed);
  }
  return report;
}

}  // namespace kvcompd::client
