#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/sample_commands.h"
#include "client/ctl/table.h"
#include "client/npy.h"
#include "client/put_stream.h"
#include "codec/codebook.h"
#include "codec/container.h"

namespace kvcompd::client {
namespace {

struct PutOutcome {
  std::vector<PutResult> results;
  std::vector<bool> wanted;
  double seconds = 0;
};

absl::StatusOr<PutOutcome> PutLayers(OpenedSample& sample, Form form, Progress* progress) {
  const auto source = SampleSource(sample.file);
  if (!source.ok()) return source.status();
  std::vector<PutBlock> blocks;
  std::vector<BlockPlace> places;
  for (const SampleBlock& block : sample.blocks) {
    blocks.push_back({.key = block.key, .parent = block.parent, .tokens = block.tokens});
    places.push_back(PlaceOf(*source, block));
  }
  PutOptions options;
  options.form = form;
  options.cache_salt = sample.salt;
  PutOutcome out;
  const absl::Time start = absl::Now();
  auto put = sample.ns->OpenPut(std::move(blocks), std::move(options));
  if (!put.ok()) return put.status();
  for (uint32_t b = 0; b < places.size(); ++b) out.wanted.push_back((*put)->wanted(b));
  for (uint32_t layer = 0; layer < (*put)->layers(); ++layer) {
    const absl::Status pushed = (*put)->PushLayer(layer, places);
    if (!pushed.ok()) return pushed;
    progress->Update("layers sent", layer + 1, (*put)->layers());
  }
  auto results = (*put)->Finish();
  if (!results.ok()) return results.status();
  out.results = *std::move(results);
  out.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return out;
}

Json BlockJson(const SampleBlock& block, bool wanted, const PutResult& result) {
  Json json = {{"key", block.key.Hex()},
               {"tokens", block.tokens},
               {"wanted", wanted},
               {"ok", result.status.ok()},
               {"already_stored", result.already_stored},
               {"raw_bytes", result.raw_bytes},
               {"encoded_bytes", result.encoded_bytes}};
  if (!result.status.ok()) json["error"] = OutcomeText(result.status, result.reason);
  return json;
}

absl::Status PrintPut(const CommandContext& context, const OpenedSample& sample, const PutOutcome& outcome) {
  TextTable table(
      {">block", "key", ">tokens", "wanted", "stored", ">raw bytes", ">encoded bytes", ">ratio", "result"});
  Json json = {{"blocks", Json::array()}};
  uint64_t wanted = 0, already = 0, failed = 0, raw = 0, encoded = 0;
  for (size_t b = 0; b < sample.blocks.size(); ++b) {
    const PutResult& result = outcome.results[b];
    wanted += outcome.wanted[b];
    already += result.already_stored;
    failed += !result.status.ok();
    if (outcome.wanted[b] && result.status.ok()) {
      raw += result.raw_bytes;
      encoded += result.encoded_bytes;
    }
    table.AddRow({absl::StrCat(b), ShortKey(sample.blocks[b].key), absl::StrCat(sample.blocks[b].tokens),
                  outcome.wanted[b] ? "yes" : "no",
                  result.already_stored ? "before"
                  : result.status.ok()  ? "now"
                                        : "no",
                  absl::StrCat(result.raw_bytes), absl::StrCat(result.encoded_bytes),
                  RatioText(static_cast<double>(result.raw_bytes), static_cast<double>(result.encoded_bytes)),
                  OutcomeText(result.status, result.reason)});
    json["blocks"].push_back(BlockJson(sample.blocks[b], outcome.wanted[b], result));
  }
  if (context.args.Switch("json")) {
    json["wanted"] = wanted;
    json["already_stored"] = already;
    json["failed"] = failed;
    json["raw_bytes"] = raw;
    json["encoded_bytes"] = encoded;
    json["seconds"] = outcome.seconds;
    json["gb_per_s"] = static_cast<double>(raw) / outcome.seconds / 1e9;
    PrintJson(json, context.out);
  } else {
    table.Print(context.out);
    context.out << absl::StrFormat(
        "%u wanted, %u already stored, %u failed; %u bytes became %u, ratio %s; %s GB/s\n", wanted, already,
        failed, raw, encoded, RatioText(static_cast<double>(raw), static_cast<double>(encoded)),
        GigabytesPerSecondText(static_cast<double>(raw), outcome.seconds));
  }
  for (const PutResult& result : outcome.results) {
    if (!result.status.ok())
      return FailedBlocks(failed, sample.blocks.size(), "stored", result.status, result.reason);
  }
  return absl::OkStatus();
}

// Containers as `get --container` writes them, into the namespace of --name, whose model they must be of.
// They bear their keys.
absl::StatusOr<PutOutcome> PutFiles(const CommandContext& context, OpenedSample& target) {
  std::vector<std::vector<std::byte>> files;
  std::vector<PutContainer> puts;
  for (const std::string& path : context.args.positionals()) {
    auto bytes = ReadFileBytes(path, codec::kMaxContainerBytes);
    if (!bytes.ok()) return bytes.status();
    files.push_back(*std::move(bytes));
    const auto header = codec::ParseBlockHeader(files.back());
    if (!header.ok())
      return absl::Status(header.status().code(), absl::StrCat(path, ": ", header.status().message()));
    if (header->fingerprint != target.ns->fingerprint()) {
      return absl::FailedPreconditionError(absl::StrCat(path, ": of another model than the namespace's"));
    }
    puts.push_back({.key = header->key, .container = files.back()});
    target.blocks.push_back({.key = header->key, .tokens = header->tokens});
  }
  if (context.args.Has("codebooks")) {
    const auto bytes = ReadFileBytes(context.args.Text("codebooks"), codec::CodebookSet::kMaxBytes);
    if (!bytes.ok()) return bytes.status();
    const auto set = codec::CodebookSet::Parse(AsChars(*bytes));
    if (!set.ok()) return set.status();
    const auto id = target.ns->PutCodebooks(**set);
    if (!id.ok()) return id.status();
  }
  PutOutcome out;
  const absl::Time start = absl::Now();
  auto results = target.ns->PutContainers(puts, PutOptions{});
  if (!results.ok()) return results.status();
  out.results = *std::move(results);
  for (const PutResult& result : out.results) {
    out.wanted.push_back(result.status.ok() && !result.already_stored);
  }
  out.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return out;
}

bool IsContainerFile(const std::string& path) { return path.ends_with(".kvcb"); }

absl::Status PutContainerFiles(const CommandContext& context) {
  const Arguments& args = context.args;
  for (const std::string& path : args.positionals()) {
    if (!IsContainerFile(path)) return UsageError(absl::StrCat(path, ": a SAMPLE stands alone"));
  }
  for (const char* flag : {"form", "salt", "tail"}) {
    if (args.Has(flag)) {
      return UsageError(absl::StrCat("--", flag, " is about a SAMPLE; a container has its form and its key"));
    }
  }
  if (args.Text("name").empty()) return UsageError("--name says which namespace the containers are for");
  auto target = AttachNamed(context);
  if (!target.ok()) return target.status();
  const auto outcome = PutFiles(context, **target);
  if (!outcome.ok()) return outcome.status();
  return PrintPut(context, **target, *outcome);
}

absl::Status Put(const CommandContext& context) {
  const std::vector<std::string>& operands = context.args.positionals();
  if (IsContainerFile(operands[0])) return PutContainerFiles(context);
  if (operands.size() > 1) return UsageError(absl::StrCat("unexpected operand ", operands[1]));
  if (context.args.Has("codebooks")) return UsageError("--codebooks goes with container files");
  const absl::StatusOr<Form> form = ParseForm(context.args.Text("form"));
  if (!form.ok()) return form.status();
  auto sample = OpenSample(context, OwnDaemon::kStart);
  if (!sample.ok()) return sample.status();
  absl::StatusOr<PutOutcome> outcome;
  {
    Progress progress(context.args, context.err);
    outcome = PutLayers(**sample, *form, &progress);
  }
  if (!outcome.ok()) return outcome.status();
  return PrintPut(context, **sample, *outcome);
}

}  // namespace

absl::Status FailedBlocks(uint64_t failed, uint64_t all, const char* did, const absl::Status& first,
                          v1::Reason reason) {
  return absl::Status(first.code(), absl::StrCat(failed, " of ", all, " blocks were not ", did,
                                                 "; the first: ", OutcomeText(first, reason)));
}

absl::StatusOr<Form> ParseForm(const std::string& text) {
  if (text == "decoded") return Form::kDecoded;
  if (text == "encoded") return Form::kEncoded;
  return UsageError(absl::StrCat("--form: expected decoded or encoded, not ", text));
}

Command PutCommand() {
  return {
      .name = "put",
      .operands = "SAMPLE | FILE.kvcb...",
      .help = "stores a KV sample (STEM.kv.bf16.npy with STEM.json), layer by layer; or containers in --name",
      .flags = WithSampleFlags(
          {{"form", "FORM", "decoded: the daemon encodes; encoded: this side does", "decoded"},
           {"codebooks", "FILE.kvcs", "the codebook set that the containers name"},
           ProgressFlag()}),
      .min_operands = 1,
      .max_operands = 4096,
      .run = Put};
}

}  // namespace kvcompd::client
