// `kvcompctl bench perplexity`.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/bench_command.h"
#include "client/ctl/perplexity.h"
#include "client/ctl/table.h"
#include "codec/codec.h"

namespace kvcompd::client {
namespace {

constexpr const char* kDefaultProfiles[] = {
    "raw",
    "lossless:mode=fast",
    "lossless:mode=dense",
    "intq:bits=8,group=32",
    "intq:bits=4,group=32",
    "intq:bits=4,group=32,bits_v=2",
    "intq:bits=2,group=32",
    "kvcomp:rel_k=0.01,rel_v=0.02",
    "kvcomp:rel_k=0.03,rel_v=0.06",
    "kvcomp:rel_k=0.05,rel_v=0.1",
    "kvcomp:rel_k=0.1,rel_v=0.2",
    "kvcomp:rel_k=0.2,rel_v=0.3",
    "kvcomp:rel_k=0.1,rel_v=0.1,k_unit=channel",
    "kvcomp:rel_k=0.2,rel_v=0.2,k_unit=channel",
    "kvcomp:rel_k=0.1,rel_v=0.15,v_unit=block,coder=rans",
    "packkv:rel_k=0.03,rel_v=0.06",
    "packkv:rel_k=0.1,rel_v=0.2",
    "packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=auto",
};

struct ModelRows {
  std::string model;
  std::string mode;
  std::vector<PerplexityRow> rows;
};

absl::StatusOr<std::vector<Profile>> ProfilesOf(const Arguments& args, std::ostream& err) {
  std::vector<std::string> texts(std::begin(kDefaultProfiles), std::end(kDefaultProfiles));
  if (args.Has("profiles")) {
    texts.clear();
    const std::string all = args.Text("profiles");
    for (size_t at = 0; at < all.size();) {
      const size_t end = std::min(all.find_first_of("; ", at), all.size());
      if (end > at) texts.push_back(all.substr(at, end - at));
      at = end + 1;
    }
  }
  std::vector<Profile> profiles;
  for (const std::string& text : texts) {
    auto profile = Profile::Parse(text);
    if (!profile.ok()) return AsUsageError(profile.status());
    if (codec::FindCodec(profile->codec) == nullptr) {
      err << "left out, its codec is not in this build: " << text << std::endl;
      continue;
    }
    profiles.push_back(*profile);
  }
  if (profiles.empty()) return UsageError("no profiles");
  return profiles;
}

// The folder itself, or the models in it.
std::vector<std::string> ModelFolders(const std::string& folder) {
  std::vector<std::string> folders;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.is_directory(error)) folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  if (folders.empty()) folders.push_back(folder);
  return folders;
}

Json RowJson(const ModelRows& model, const PerplexityRow& row) {
  return {{"model", model.model},
          {"mode", model.mode},
          {"profile", row.profile},
          {"predictions", row.predictions},
          {"ratio_effective", row.ratio_effective},
          {"bits_per_value", row.bits_per_value},
          {"perplexity", row.perplexity},
          {"perplexity_change", row.perplexity_change},
          {"kl_mean", row.kl_mean},
          {"kl_p99", row.kl_p99},
          {"same_top", row.same_top}};
}

void PrintRows(const std::vector<ModelRows>& models, const Arguments& args, std::ostream& out) {
  if (args.Switch("json")) {
    Json json;
    json["results"] = Json::array();
    for (const ModelRows& model : models) {
      for (const PerplexityRow& row : model.rows) json["results"].push_back(RowJson(model, row));
    }
    PrintJson(json, out);
    return;
  }
  if (args.Switch("csv")) {
    out << "model,mode,profile,predictions,ratio_effective,bits_per_value,perplexity,perplexity_change,kl_"
           "mean,"
           "kl_p99,same_top\n";
    for (const ModelRows& model : models) {
      for (const PerplexityRow& row : model.rows) {
        out << absl::StrFormat("%s,%s,\"%s\",%d,%.4f,%.4f,%.5f,%.6f,%.6g,%.6g,%.5f\n", model.model,
                               model.mode, row.profile, row.predictions, row.ratio_effective,
                               row.bits_per_value, row.perplexity, row.perplexity_change, row.kl_mean,
                               row.kl_p99, row.same_top);
      }
    }
    return;
  }
  TextTable table({"model", "cache", ">effective", ">bits/value", ">perplexity", ">change", ">KL mean",
                   ">KL 99%", ">same top"});
  for (const ModelRows& model : models) {
    for (const PerplexityRow& row : model.rows) {
      table.AddRow({model.model, row.profile,
                    row.ratio_effective > 0 ? absl::StrFormat("%.3f", row.ratio_effective) : "-",
                    row.bits_per_value > 0 ? absl::StrFormat("%.3f", row.bits_per_value) : "-",
                    absl::StrFormat("%.4f", row.perplexity),
                    absl::StrFormat("%+.3f%%", 100 * row.perplexity_change),
                    absl::StrFormat("%.3g", row.kl_mean), absl::StrFormat("%.3g", row.kl_p99),
                    absl::StrFormat("%.2f%%", 100 * row.same_top)});
    }
  }
  table.Print(out);
}

absl::Status RunPerplexity(const CommandContext& context) {
  std::string folder = context.args.Text("model");
  if (const char* variable = std::getenv("KVCOMPD_MODEL"); folder.empty() && variable != nullptr)
    folder = variable;
  if (folder.empty()) return UsageError("--model names the folder of the model, or of several");
  const std::string mode = context.args.Text("mode");
  if (mode != "prefix" && mode != "decode") return UsageError("--mode is prefix or decode");
  const auto max_texts = context.args.Whole("texts", 0, 1 << 20);
  if (!max_texts.ok()) return AsUsageError(max_texts.status());
  const auto profiles = ProfilesOf(context.args, context.err);
  if (!profiles.ok()) return profiles.status();
  const bool progress = context.args.Switch("progress") || isatty(STDERR_FILENO) != 0;

  std::vector<ModelRows> models;
  for (const std::string& model_folder : ModelFolders(folder)) {
    const auto loaded = LoadLlama(model_folder);
    if (!loaded.ok()) return loaded.status();
    const auto lab = PerplexityLab::Make(
        *loaded, {.mode = mode == "prefix" ? PerplexityMode::kPrefix : PerplexityMode::kDecode,
                  .max_texts = static_cast<uint32_t>(*max_texts)});
    if (!lab.ok()) return lab.status();
    ModelRows rows{.model = loaded->model.config.name, .mode = mode};
    auto row = (*lab)->MeasureFloat32();
    if (!row.ok()) return row.status();
    rows.rows.push_back(*std::move(row));
    for (const Profile& profile : *profiles) {
      if (progress) context.err << rows.model << " " << profile.Text() << std::endl;
      row = (*lab)->Measure(profile);
      if (!row.ok()) return row.status();
      rows.rows.push_back(*std::move(row));
    }
    models.push_back(std::move(rows));
  }
  PrintRows(models, context.args, context.out);
  return absl::OkStatus();
}

}  // namespace

Command BenchPerplexityCommand() {
  Command command;
  command.name = "bench perplexity";
  command.help =
      "runs small models with their KV cache passed through profiles: perplexity and KL divergence";
  command.flags = WithOutputFlags({
      {"model", "FOLDER", "a model with its eval_tokens_u16.npy, or a folder of such; else KVCOMPD_MODEL"},
      {"profiles", "PROFILE;...", "these instead of a few of each codec"},
      {"mode", "MODE",
       "prefix: the first half is loaded through the profile; decode: every block as it fills", "prefix"},
      {"texts", "N", "of each model at most, 2 at least; 0: all", "0"},
      {"csv", "", "print CSV instead of a table"},
  });
  command.run = RunPerplexity;
  return command;
}

}  // namespace kvcompd::client
