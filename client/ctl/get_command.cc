#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/sample_commands.h"
#include "client/ctl/table.h"
#include "codec/container.h"

namespace kvcompd::client {
namespace {

struct GetOutcome {
  std::vector<GetResult> results;
  std::unique_ptr<SampleMemory> memory;
  double seconds = 0;
};

absl::StatusOr<GetOutcome> GetValues(OpenedSample& sample, const GetOptions& options, Progress* progress) {
  GetOutcome out;
  auto memory = SampleMemory::Create(sample.file);
  if (!memory.ok()) return memory.status();
  out.memory = *std::move(memory);
  std::vector<GetBlock> blocks;
  for (const SampleBlock& block : sample.blocks) {
    blocks.push_back({.key = block.key, .target = PlaceOf(out.memory->buffer(), block)});
  }
  uint64_t layers_done = 0;
  const absl::Time start = absl::Now();
  auto results = sample.ns->GetBlocks(blocks, options, [&](const LayerDone&) {
    progress->Update("layers received", ++layers_done, blocks.size() * sample.file.layers);
  });
  if (!results.ok()) return results.status();
  out.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  out.results = *std::move(results);
  return out;
}

// Every block against the file, each within the bound of the profile it is stored with.
absl::StatusOr<BoundReport> Verify(OpenedSample& sample, const GetOutcome& outcome) {
  MatchOptions options;
  options.cache_salt = sample.salt;
  const auto match = sample.ns->Match(KeysOf(sample.blocks), options);
  if (!match.ok()) return match.status();
  BoundReport report;
  for (size_t b = 0; b < match->blocks.size(); ++b) {
    if (!outcome.results[b].status.ok()) continue;
    const absl::StatusOr<Profile> profile = Profile::Parse(match->blocks[b].profile);
    if (!profile.ok()) return profile.status();
    auto part = CheckBlocks(sample.file, *outcome.memory, std::span(&sample.blocks[b], 1), *profile);
    if (!part.ok()) return part.status();
    report.Add(*part);
  }
  return report;
}

absl::Status PrintGet(const CommandContext& context, const OpenedSample& sample, const GetOutcome& outcome,
                      const BoundReport* check) {
  TextTable table({">block", "key", ">tokens", ">layers", "result"});
  Json json = {{"blocks", Json::array()}};
  uint64_t failed = 0, bytes = 0;
  for (size_t b = 0; b < sample.blocks.size(); ++b) {
    const GetResult& result = outcome.results[b];
    failed += !result.status.ok();
    if (result.status.ok()) bytes += 2 * sample.file.layers * sample.file.TensorBytes(result.tokens);
    const std::string text = OutcomeText(result.status, result.reason);
    table.AddRow({absl::StrCat(b), ShortKey(sample.blocks[b].key), absl::StrCat(result.tokens),
                  absl::StrCat(result.layers), text});
    json["blocks"].push_back({{"key", sample.blocks[b].key.Hex()},
                              {"tokens", result.tokens},
                              {"layers", result.layers},
                              {"ok", result.status.ok()},
                              {"result", text}});
  }
  json["failed"] = failed;
  json["bytes"] = bytes;
  json["seconds"] = outcome.seconds;
  json["gb_per_s"] = static_cast<double>(bytes) / outcome.seconds / 1e9;
  if (check != nullptr) {
    json["values"] = check->values;
    json["violations"] = check->violations;
    json["max_error_over_r"] = check->max_error_over_r;
  }
  if (context.args.Switch("json")) {
    PrintJson(json, context.out);
  } else {
    table.Print(context.out);
    context.out << absl::StrFormat("%u bytes, %s GB/s, %u blocks failed\n", bytes,
                                   GigabytesPerSecondText(static_cast<double>(bytes), outcome.seconds),
                                   failed);
    if (check != nullptr) {
      context.out << absl::StrFormat(
          "%u values compared, %u changed, %u over the bound, largest |x-y|/r %.6f\n", check->values,
          check->changed, check->violations, check->max_error_over_r);
    }
  }
  if (check != nullptr && check->violations > 0) {
    return absl::DataLossError(
        absl::StrCat(check->violations, " values miss the error bound: ", check->first_violation));
  }
  for (const GetResult& result : outcome.results) {
    if (result.status.ok()) continue;
    return FailedBlocks(failed, sample.blocks.size(), "read", result.status, result.reason);
  }
  return absl::OkStatus();
}

// Blocks of one call while containers are read; progress is told after each.
constexpr size_t kContainerBatch = 16;

absl::StatusOr<std::vector<ContainersOfBlock>> GetAllContainers(const CommandContext& context,
                                                                OpenedSample& sample) {
  GetOptions options;
  options.cache_salt = sample.salt;
  Progress progress(context.args, context.err);
  const std::vector<BlockKey> keys = KeysOf(sample.blocks);
  std::vector<ContainersOfBlock> out;
  while (out.size() < keys.size()) {
    const size_t count = std::min(kContainerBatch, keys.size() - out.size());
    auto some = sample.ns->GetContainers(std::span(keys).subspan(out.size(), count), options);
    if (!some.ok()) return some.status();
    for (ContainersOfBlock& block : *some) out.push_back(std::move(block));
    progress.Update("blocks received", out.size(), keys.size());
  }
  return out;
}

// Containers as KEY.kvcb (KEY.N.kvcb where a block has several), and the codebook sets they name as ID.kvcs.
absl::Status WriteContainers(const CommandContext& context, OpenedSample& sample, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::InternalError(absl::StrCat(folder, ": ", error.message()));
  const auto blocks = GetAllContainers(context, sample);
  if (!blocks.ok()) return blocks.status();
  Json files = Json::array(), results = Json::array();
  std::set<Digest> sets;
  uint64_t failed = 0;
  const ContainersOfBlock* first = nullptr;  // that failed
  for (size_t b = 0; b < blocks->size(); ++b) {
    const ContainersOfBlock& block = (*blocks)[b];
    const std::string result = OutcomeText(block.status, block.reason);
    results.push_back({{"key", sample.blocks[b].key.Hex()}, {"ok", block.status.ok()}, {"result", result}});
    if (!block.status.ok()) {
      if (failed++ == 0) first = &block;
      context.err << "block " << b << " " << ShortKey(sample.blocks[b].key) << ": " << result << "\n";
    }
    for (size_t i = 0; i < block.containers.size(); ++i) {
      const std::string path = absl::StrCat(folder, "/", sample.blocks[b].key.Hex(),
                                            block.containers.size() > 1 ? absl::StrCat(".", i) : "", ".kvcb");
      const absl::Status written = WriteFileBytes(path, AsBytes(block.containers[i]));
      if (!written.ok()) return written;
      files.push_back(path);
      const auto header = codec::ParseBlockHeader(AsBytes(block.containers[i]));
      if (header.ok() && !header->codebook_set.IsZero()) sets.insert(header->codebook_set);
    }
  }
  for (const Digest& id : sets) {
    const auto set = sample.ns->GetCodebooks(id);
    if (!set.ok()) return set.status();
    files.push_back(absl::StrCat(folder, "/", id.Hex(), ".kvcs"));
    const absl::Status written =
        WriteFileBytes(files.back().get<std::string>(), AsBytes((*set)->canonical_bytes()));
    if (!written.ok()) return written;
  }
  if (context.args.Switch("json")) {
    PrintJson({{"files", files}, {"failed", failed}, {"blocks", results}}, context.out);
  } else {
    for (const Json& file : files) context.out << file.get<std::string>() << "\n";
  }
  if (first == nullptr) return absl::OkStatus();
  return FailedBlocks(failed, blocks->size(), "read", first->status, first->reason);
}

absl::Status Get(const CommandContext& context) {
  const absl::StatusOr<Form> form = ParseForm(context.args.Text("form"));
  if (!form.ok()) return form.status();
  for (const char* flag : {"form", "verify", "out"}) {
    if (context.args.Has("container") && context.args.Has(flag)) {
      return UsageError(absl::StrCat("--", flag, " is about values, and --container writes none"));
    }
  }
  auto sample = OpenSample(context, OwnDaemon::kStart);
  if (!sample.ok()) return sample.status();
  if (context.args.Has("container"))
    return WriteContainers(context, **sample, context.args.Text("container"));
  GetOptions options;
  options.form = *form;
  options.cache_salt = (*sample)->salt;
  absl::StatusOr<GetOutcome> outcome;
  {
    Progress progress(context.args, context.err);
    outcome = GetValues(**sample, options, &progress);
  }
  if (!outcome.ok()) return outcome.status();
  BoundReport check;
  const bool verify = context.args.Switch("verify");
  if (verify) {
    auto checked = Verify(**sample, *outcome);
    if (!checked.ok()) return checked.status();
    check = *std::move(checked);
  }
  const absl::Status status = PrintGet(context, **sample, *outcome, verify ? &check : nullptr);
  if (!status.ok() || !context.args.Has("out")) return status;
  const SampleBlock& last = (*sample)->blocks.back();
  return WriteSampleNpy(context.args.Text("out"), (*sample)->file, *outcome->memory,
                        last.first_token + last.tokens);
}

}  // namespace

Command GetCommand() {
  return {.name = "get",
          .operands = "SAMPLE",
          .help = "reads a sample's blocks; compares them, or writes values or containers",
          .flags = WithSampleFlags(
              {{"form", "FORM", "decoded: the daemon decodes; encoded: this side does", "decoded"},
               {"verify", "", "compare every value with the sample's, within the error bound of its profile"},
               {"out", "OUT.npy", "write the values, where every block was found"},
               {"container", "FOLDER",
                "write the blocks as they are stored, *.kvcb, and their codebook sets, *.kvcs"},
               ProgressFlag()}),
          .min_operands = 1,
          .max_operands = 1,
          .run = Get};
}

}  // namespace kvcompd::client
