#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/sample_commands.h"
#include "client/ctl/table.h"
#include "client/put_stream.h"

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
  if (failed == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(failed, " of ", sample.blocks.size(), " blocks were not stored"));
}

absl::Status Put(const CommandContext& context) {
  const absl::StatusOr<Form> form = ParseForm(context.args.Text("form"));
  if (!form.ok()) return form.status();
  auto sample = OpenSample(context);
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

absl::StatusOr<Form> ParseForm(const std::string& text) {
  if (text == "decoded") return Form::kDecoded;
  if (text == "encoded") return Form::kEncoded;
  return UsageError(absl::StrCat("--form: expected decoded or encoded, not ", text));
}

Command PutCommand() {
  return {.name = "put",
          .operands = "SAMPLE",
          .help = "stores a KV sample (STEM.kv.bf16.npy with STEM.json), layer by layer",
          .flags = WithSampleFlags(
              {{"form", "FORM", "decoded: the daemon encodes; encoded: this side does", "decoded"}}),
          .min_operands = 1,
          .max_operands = 1,
          .run = Put};
}

}  // namespace kvcompd::client
