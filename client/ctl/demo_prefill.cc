// `kvcompctl demo-prefill`: the demo's first process. Puts the samples of each case layer by layer, as a
// prefill computes them, and prints what happened as JSON.

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/ctl/demo_case.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/sample_stats.h"
#include "client/put_stream.h"

namespace kvcompd::client {
namespace {

constexpr char kTrainedSalt[] = "trained";

struct PutPass {
  std::set<BlockKey> stored;   // distinct blocks
  uint64_t reused_blocks = 0;  // matched before the put, and so not sent
  uint64_t sent_bytes = 0;
  double seconds = 0;
  std::vector<double> ms;  // of each put that sent something
};

// One sample: what is stored already is not computed again nor sent.
absl::Status PutSample(OpenedDemoCase& opened, const DemoSample& sample, const std::string& salt,
                       PutPass* pass, DemoFailures* failures) {
  MatchOptions match_options;
  match_options.cache_salt = salt;
  const auto match = opened.ns->Match(KeysOf(sample.blocks), match_options);
  if (!match.ok()) return match.status();
  pass->reused_blocks += match->matched_blocks;
  const auto source = SampleSource(sample.file);
  if (!source.ok()) return source.status();
  std::vector<PutBlock> blocks;
  std::vector<BlockPlace> places;
  for (const SampleBlock& block : sample.blocks) {
    blocks.push_back({.key = block.key, .parent = block.parent, .tokens = block.tokens});
    places.push_back(PlaceOf(*source, block));
  }
  PutOptions options;
  options.cache_salt = salt;
  const absl::Time start = absl::Now();
  auto put = opened.ns->OpenPut(std::move(blocks), std::move(options));
  if (!put.ok()) return put.status();
  uint64_t wanted_bytes = 0;
  for (uint32_t b = 0; b < sample.blocks.size(); ++b) {
    if ((*put)->wanted(b))
      wanted_bytes += 2 * sample.file.layers * sample.file.TensorBytes(sample.blocks[b].tokens);
    failures->Expect(b >= match->matched_blocks || !(*put)->wanted(b),
                     absl::StrCat(sample.name, " block ", b, " is stored, and yet the daemon wants it"));
  }
  for (uint32_t layer = 0; layer < (*put)->layers(); ++layer) {
    const absl::Status pushed = (*put)->PushLayer(layer, places);
    if (!pushed.ok()) return pushed;
  }
  const auto results = (*put)->Finish();
  if (!results.ok()) return results.status();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  pass->seconds += seconds;
  if (wanted_bytes > 0) pass->ms.push_back(seconds * 1e3);
  pass->sent_bytes += wanted_bytes;
  for (size_t b = 0; b < results->size(); ++b) {
    const PutResult& result = (*results)[b];
    failures->Expect(result.status.ok(), absl::StrCat(sample.name, " block ", b, " was not stored: ",
                                                      OutcomeText(result.status, result.reason)));
    if (result.status.ok()) pass->stored.insert(sample.blocks[b].key);
  }
  return absl::OkStatus();
}

absl::StatusOr<PutPass> PutAll(OpenedDemoCase& opened, const std::string& salt, DemoFailures* failures) {
  PutPass pass;
  for (const DemoSample& sample : opened.samples) {
    const absl::Status put = PutSample(opened, sample, salt, &pass, failures);
    if (!put.ok()) return put;
  }
  return pass;
}

// Stores the samples once to stay, and some times more under other salts to time it; those are deleted again.
absl::StatusOr<Json> RunPass(OpenedDemoCase& opened, DemoCase demo_case, const std::string& salt,
                             uint32_t repeats, DemoFailures* failures) {
  const auto pass = PutAll(opened, salt, failures);
  if (!pass.ok()) return pass.status();
  auto speed = [](const PutPass& p) { return static_cast<double>(p.sent_bytes) / p.seconds / 1e9; };
  std::vector<double> gb_per_s = {speed(*pass)};
  std::vector<double> ms = pass->ms;
  for (uint32_t i = 0; i < repeats; ++i) {
    KeyOptions timed;
    timed.cache_salt = absl::StrCat(salt, "timed-", i);
    const auto repeat = PutAll(opened, timed.cache_salt, failures);
    if (!repeat.ok()) return repeat.status();
    gb_per_s.push_back(speed(*repeat));
    ms.insert(ms.end(), repeat->ms.begin(), repeat->ms.end());
    for (const DemoSample& sample : opened.samples) {
      const auto deleted = opened.ns->Delete(KeysOf(sample.blocks), timed);
      if (!deleted.ok()) return deleted.status();
    }
  }
  demo_case.salt = salt;
  Json json = demo_case.ToJson();
  json["blocks"] = pass->stored.size();
  json["reused_blocks"] = pass->reused_blocks;
  json["sent_bytes"] = pass->sent_bytes;
  json["put_repeats"] = gb_per_s.size();
  json["put_gb_per_s"] = Median(gb_per_s);
  json["put_calls"] = ms.size();
  json["put_p50_ms"] = Percentile(ms, 0.5);
  json["put_p99_ms"] = Percentile(ms, 0.99);
  return json;
}

// The samples with the built-in codebooks; and, once the daemon has trained some from them, again with those.
absl::Status RunCase(const DemoCase& demo_case, const std::string& address, uint32_t repeats, Json* rows,
                     DemoFailures* failures) {
  auto opened = OpenDemoCase(demo_case, address);
  if (!opened.ok()) return opened.status();
  auto row = RunPass(**opened, demo_case, demo_case.salt, repeats, failures);
  if (!row.ok()) return row.status();
  rows->push_back(*std::move(row));
  const absl::Status refreshed = (*opened)->ns->Refresh();
  if (!refreshed.ok()) return refreshed;
  if ((*opened)->ns->state().codebook_set.empty()) return absl::OkStatus();
  row = RunPass(**opened, demo_case, demo_case.salt + kTrainedSalt, repeats, failures);
  if (!row.ok()) return row.status();
  rows->push_back(*std::move(row));
  return absl::OkStatus();
}

absl::Status RunPrefill(const CommandContext& context) {
  const auto cases = ParseDemoCases(context.args.Text("cases"));
  if (!cases.ok()) return AsUsageError(cases.status());
  const auto repeats = context.args.Whole("repeats", 0, 1000);
  if (!repeats.ok()) return AsUsageError(repeats.status());
  Json rows = Json::array();
  DemoFailures failures;
  Progress progress(context.args, context.err);
  for (size_t i = 0; i < cases->size(); ++i) {
    const DemoCase& demo_case = (*cases)[i];
    progress.Update("cases stored", i, cases->size());
    failures.ExpectOk(
        RunCase(demo_case, AddressOf(context.args), static_cast<uint32_t>(*repeats), &rows, &failures),
        absl::StrCat("prefill with ", demo_case.profile));
  }
  progress.Update("cases stored", cases->size(), cases->size());
  PrintJson({{"rows", rows}, {"failures", failures.list()}}, context.out);
  return absl::OkStatus();  // what failed is in the report
}

}  // namespace

Command DemoPrefillCommand() {
  return {.name = "demo-prefill",
          .help = "the demo's prefill process",
          .flags = {{"address", "ADDRESS", "the daemon's"},
                    {"cases", "JSON", "what to put"},
                    {"repeats", "N", "further puts, to time them", "4"},
                    ProgressFlag()},
          .hidden = true,
          .run = RunPrefill};
}

}  // namespace kvcompd::client
