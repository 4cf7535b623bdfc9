// `kvcompctl bench codecs`.
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/bench_codecs.h"
#include "client/ctl/bench_codecs_report.h"
#include "client/ctl/bench_command.h"
#include "client/ctl/sample.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kSyntheticSeed = 1;

// Profiles have commas: they are separated by blanks or semicolons.
absl::StatusOr<std::vector<Profile>> ParseProfiles(const std::string& text) {
  std::vector<Profile> profiles;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of("; ", at), text.size());
    if (end > at) {
      auto profile = Profile::Parse(std::string_view(text).substr(at, end - at));
      if (!profile.ok()) return AsUsageError(profile.status());
      profiles.push_back(*profile);
    }
    at = end + 1;
  }
  if (profiles.empty()) return UsageError("--profiles names none");
  return profiles;
}

absl::StatusOr<CodecBenchOptions> OptionsOf(const Arguments& args) {
  CodecBenchOptions options;
  const bool quick = args.Switch("quick");
  options.profiles = quick ? QuickCodecProfiles() : DefaultCodecProfiles();
  options.speed_profiles = quick ? QuickCodecProfiles() : DefaultSpeedProfiles();
  if (args.Has("profiles")) {
    auto profiles = ParseProfiles(args.Text("profiles"));
    if (!profiles.ok()) return profiles.status();
    options.profiles = options.speed_profiles = *profiles;
  }
  options.speed = !args.Switch("no-speed");
  const auto repeats = args.Whole("repeats", 1, 1000);
  if (!repeats.ok()) return AsUsageError(repeats.status());
  options.speed_options.repeats = quick ? 1 : static_cast<uint32_t>(*repeats);
  if (quick) {
    options.speed_options.seconds = 0.002;
    options.speed_options.memory = false;
  }
  return options;
}

absl::Status RunCodecs(const CommandContext& context) {
  auto options = OptionsOf(context.args);
  if (!options.ok()) return options.status();
  std::string folder = context.args.Text("data");
  if (const char* variable = std::getenv("KVCOMPD_DATA"); folder.empty() && variable != nullptr)
    folder = variable;
  const bool synthetic = context.args.Switch("synthetic");
  if (folder.empty() && !synthetic) return UsageError("--data names the folder of samples");
  std::vector<BenchDataset> datasets;
  if (!folder.empty()) {
    std::vector<DType> dtypes = {DType::kBf16};
    if (context.args.Switch("fp16")) dtypes.push_back(DType::kFp16);
    auto loaded = LoadDatasets(folder, dtypes);
    if (!loaded.ok()) return loaded.status();
    datasets = *std::move(loaded);
  }
  if (synthetic) datasets.push_back(SyntheticDataset(kSyntheticSeed));

  std::function<void(const std::string&)> progress;
  if (context.args.Switch("progress") || isatty(STDERR_FILENO) != 0) {
    progress = [&err = context.err](const std::string& line) { err << line << std::endl; };
  }
  const auto report = RunCodecBench(datasets, *options, progress);
  if (!report.ok()) return report.status();
  if (context.args.Has("plot")) {
    const std::string svg = CodecBenchSvg(*report);
    if (absl::Status s = WriteFileBytes(context.args.Text("plot"), AsBytes(svg)); !s.ok()) return s;
  }
  if (context.args.Has("anchors")) {
    const std::string csv = CodecBenchAnchorsCsv(*report);
    if (absl::Status s = WriteFileBytes(context.args.Text("anchors"), AsBytes(csv)); !s.ok()) return s;
  }
  if (context.args.Switch("json")) {
    PrintJson(CodecBenchJson(*report), context.out);
  } else if (context.args.Switch("csv")) {
    context.out << CodecBenchCsv(*report);
  } else {
    PrintCodecBenchTable(*report, context.out);
  }
  return absl::OkStatus();
}

}  // namespace

Command BenchCodecsCommand() {
  Command command;
  command.name = "bench codecs";
  command.help =
      "measures rate, distortion and speed of codecs on real KV samples, beside zstd, LZ4 and memcpy";
  command.flags = WithOutputFlags({
      {"data", "FOLDER", "the samples, with their queries; else KVCOMPD_DATA"},
      {"profiles", "PROFILE;...", "these instead of the default sweep over all codecs"},
      {"synthetic", "", "also synthetic KV with the outliers and means of larger models, labelled so"},
      {"fp16", "", "also the samples' float16 form"},
      {"quick", "", "few profiles, speed in the cache only, once"},
      {"no-speed", "", "rate and distortion only"},
      {"repeats", "N", "of every measurement of speed; figures are medians", "5"},
      {"csv", "", "print CSV instead of a table"},
      {"anchors", "FILE.csv", "also write the gains over the anchors"},
      {"plot", "FILE.svg", "also write plots: rate against attention error, ratio per layer, speed"},
  });
  command.run = RunCodecs;
  return command;
}

}  // namespace kvcompd::client
