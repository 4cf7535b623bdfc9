#include "client/ctl/demo_command.h"

#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/ctl/child_process.h"
#include "client/ctl/demo_case.h"
#include "client/ctl/local_daemon.h"
#include "client/ctl/sample.h"
#include "client/ctl/session.h"
#include "client/ctl/table.h"
#include "client/kv_file.h"
#include "client/npy.h"
#include "codec/base/profile.h"

namespace kvcompd::client {
namespace {

constexpr char kDefaultProfile[] = "kvcomp:rel_k=0.05,rel_v=0.1";
constexpr uint64_t kMaxReportBytes = 64 << 20;
constexpr absl::Duration kProcessTimeout = absl::Minutes(10);

// One case for each model and profile; raw is the baseline.
absl::StatusOr<std::vector<DemoCase>> MakeCases(const std::string& folder, const std::string& profile,
                                                std::ostream& err) {
  const auto samples = FindKvFiles(folder);
  if (!samples.ok()) return samples.status();
  std::map<std::string, std::vector<std::string>> by_model;
  for (const KvFileName& sample : *samples) {
    const auto file = LoadKvFile(sample.stem, sample.dtype);
    if (!file.ok()) return file.status();
    if (file->tokens < kDemoBlockTokens) {
      err << "kvcompctl demo: " << sample.stem << " is left out: " << file->tokens
          << " tokens are no block of " << kDemoBlockTokens << "\n";
      continue;
    }
    std::vector<std::string>& stems = by_model[file->model];
    if (stems.empty() || stems.back() != sample.stem) stems.push_back(sample.stem);
  }
  if (by_model.empty()) return absl::NotFoundError(absl::StrCat(folder, ": no sample holds a whole block"));
  const auto parsed = Profile::Parse(profile);
  if (!parsed.ok()) return AsUsageError(parsed.status());
  std::vector<std::string> profiles = {Profile{}.Text()};
  if (!(*parsed == Profile{})) profiles.push_back(parsed->Text());
  std::vector<DemoCase> cases;
  for (const auto& [model, model_stems] : by_model) {
    for (size_t i = 0; i < profiles.size(); ++i) {
      // A tenant of its own for each run and profile: two policies, and nothing stored before.
      cases.push_back(
          {.stems = model_stems, .tenant = absl::StrCat("demo-", getpid(), "-", i), .profile = profiles[i]});
    }
  }
  return cases;
}

Json CasesJson(const std::vector<DemoCase>& cases) {
  Json json = Json::array();
  for (const DemoCase& demo_case : cases) json.push_back(demo_case.ToJson());
  return json;
}

// Runs this program again as one of the demo's processes and returns its report.
absl::StatusOr<Json> RunProcess(const CommandContext& context, const std::string& command,
                                const std::string& address, const Json& cases, const std::string& repeats) {
  const auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  ChildProcess::Options options;
  options.argv = {OwnBinaryPath(), command, absl::StrCat("--address=", address),
                  absl::StrCat("--cases=", cases.dump()), absl::StrCat("--repeats=", repeats)};
  // It writes to this process's stderr, which may be a terminal or not as the caller sees it.
  if (context.args.Switch("progress")) options.argv.push_back("--progress");
  options.stdout_path = (*folder)->path() + "/report";
  const auto child = ChildProcess::Start(options);
  if (!child.ok()) return child.status();
  const absl::StatusOr<int> code = (*child)->Wait(kProcessTimeout);
  if (!code.ok()) return code.status();
  if (*code != kExitOk) return absl::InternalError(absl::StrCat(command, " ended with code ", *code));
  const auto bytes = ReadFileBytes(options.stdout_path, kMaxReportBytes);
  if (!bytes.ok()) return bytes.status();
  const std::string_view text = AsChars(*bytes);
  Json report = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!report.is_object() || !report.contains("rows") || !report.contains("failures")) {
    return absl::InternalError(absl::StrCat(command, " wrote no report"));
  }
  return report;
}

// The cases as prefill stored them, for the decode process.
Json CasesOfRows(const Json& rows) {
  Json cases = Json::array();
  for (const Json& row : rows) {
    cases.push_back({{"stems", row["stems"]},
                     {"tenant", row["tenant"]},
                     {"profile", row["profile"]},
                     {"salt", row["salt"]}});
  }
  return cases;
}

std::string ModelOf(const Json& row) {
  const std::string stem = row["stems"][0];
  const std::string name = stem.substr(stem.find_last_of('/') + 1);
  return name.substr(0, name.find('.'));
}

std::string BooksOf(const Json& row) {
  const uint64_t blocks = row["blocks"], trained = row["trained_blocks"];
  if (row["profile"] == Profile{}.Text()) return "-";
  if (trained == 0) return "built-in";
  return trained == blocks ? "trained" : absl::StrFormat("trained %u of %u", trained, blocks);
}

// A decode row and what prefill said of the same case.
Json JoinRows(const Json& prefill_rows, const Json& decode_rows, std::vector<std::string>* failures) {
  Json rows = Json::array();
  for (const Json& prefill : prefill_rows) {
    bool found = false;
    for (Json row : decode_rows) {
      if (row["stems"] != prefill["stems"] || row["tenant"] != prefill["tenant"] ||
          row["salt"] != prefill["salt"])
        continue;
      found = true;
      row["model"] = ModelOf(row);
      row["codebooks"] = BooksOf(row);
      row["reused_blocks"] = prefill["reused_blocks"];
      row["put_repeats"] = prefill["put_repeats"];
      row["put_gb_per_s"] = prefill["put_gb_per_s"];
      row["put_p50_ms"] = prefill["put_p50_ms"];
      row["put_p99_ms"] = prefill["put_p99_ms"];
      rows.push_back(std::move(row));
    }
    if (!found)
      failures->push_back(
          absl::StrCat("no report on ", ModelOf(prefill), " with ", prefill["profile"].dump()));
  }
  return rows;
}

std::string LatencyText(const Json& p50_ms, const Json& p99_ms) {
  return absl::StrFormat("%.2f / %.2f", p50_ms.get<double>(), p99_ms.get<double>());
}

void PrintTable(const Json& rows, std::ostream& out) {
  TextTable table({"model", "profile", "codebooks", ">blocks", ">reused", ">ratio", ">effective", ">|x-y|/r",
                   ">/bound", ">attention", ">put GB/s", ">put ms p50 / p99", ">get GB/s", ">encoded get",
                   ">get ms p50 / p99", ">encoded get"});
  for (const Json& row : rows) {
    const bool attention = row.contains("attention_relative_l2");
    const auto number = [&row](const char* format, const char* field) {
      return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), row[field].get<double>());
    };
    const auto gb_per_s = [&row](const char* form) {
      return absl::StrFormat("%.3f", row[form]["gb_per_s"].get<double>());
    };
    table.AddRow(
        {row["model"], row["profile"], row["codebooks"], row["blocks"].dump(), row["reused_blocks"].dump(),
         number("%.2f", "ratio_codec"), number("%.2f", "ratio_effective"), number("%.4f", "max_error_over_r"),
         number("%.4f", "max_error_over_bound"), attention ? number("%.4f", "attention_relative_l2") : "-",
         number("%.3f", "put_gb_per_s"), LatencyText(row["put_p50_ms"], row["put_p99_ms"]),
         gb_per_s("get_decoded"), gb_per_s("get_encoded"),
         LatencyText(row["get_decoded"]["p50_ms"], row["get_decoded"]["p99_ms"]),
         LatencyText(row["get_encoded"]["p50_ms"], row["get_encoded"]["p99_ms"])});
  }
  table.Print(out);
}

void PrintNotes(const Json& rows, std::ostream& out) {
  uint64_t values = 0, bytes = 0, calls = 0;
  for (const Json& row : rows) {
    values += row["values_checked"].get<uint64_t>();
    bytes += row["bytes_compared"].get<uint64_t>();
    calls += row["get_decoded"]["calls"].get<uint64_t>() + row["get_encoded"]["calls"].get<uint64_t>();
  }
  out << absl::StrFormat(
      "\n%u values compared with the original, %u bytes decoded by the daemon compared with a local decode, "
      "%u gets.\n"
      "reused     blocks of a prefix that was stored already, and so not sent\n"
      "ratio      of uncompressed bytes: codec only (payloads); effective: whole containers and trained "
      "codebooks\n"
      "|x-y|/r    largest error over half the quantisation step; /bound: over the bound, r(1+2^-8) + ulp/2\n"
      "attention  relative L2 error of the outputs of real queries, of the worst sample; - where none has "
      "them\n"
      "GB/s       10^9 uncompressed bytes a second over loopback gRPC. A put or get is of one sample;\n      "
      "     "
      "the daemon\n"
      "           decodes it, or (encoded) the reader does\n"
      "codebooks  those that the daemon encoded with: built in, or trained from the blocks that came "
      "before\n",
      values, bytes, calls);
}

struct DemoOutcome {
  Json rows = Json::array();
  std::vector<std::string> failures;
};

absl::StatusOr<DemoOutcome> RunProcesses(const CommandContext& context, const std::string& address,
                                         const std::vector<DemoCase>& cases) {
  DemoOutcome out;
  const auto prefill =
      RunProcess(context, "demo-prefill", address, CasesJson(cases), context.args.Text("put-repeats"));
  if (!prefill.ok()) return prefill.status();
  const auto decode = RunProcess(context, "demo-decode", address, CasesOfRows((*prefill)["rows"]),
                                 context.args.Text("repeats"));
  if (!decode.ok()) return decode.status();
  for (const Json* report : {&*prefill, &*decode}) {
    for (const Json& failure : (*report)["failures"]) out.failures.push_back(failure);
  }
  out.rows = JoinRows((*prefill)["rows"], (*decode)["rows"], &out.failures);
  if (out.rows.size() < cases.size()) out.failures.push_back("not every model and profile was read back");
  return out;
}

absl::Status Demo(const CommandContext& context) {
  const auto repeats = context.args.Whole("repeats", 1, 100000);
  if (!repeats.ok()) return AsUsageError(repeats.status());
  const auto put_repeats = context.args.Whole("put-repeats", 0, 1000);
  if (!put_repeats.ok()) return AsUsageError(put_repeats.status());
  const auto cases = MakeCases(context.args.Text("data"), context.args.Text("profile"), context.err);
  if (!cases.ok()) return cases.status();
  std::unique_ptr<LocalDaemon> daemon;
  std::string address = AddressOf(context.args);
  if (address.empty()) {
    auto started = LocalDaemon::Start({.extra_args = {"--host-memory=256MiB"}});
    if (!started.ok()) return started.status();
    daemon = *std::move(started);
    SayOwnDaemon(*daemon, context.err);
    address = daemon->address();
  }
  auto outcome = RunProcesses(context, address, *cases);
  if (!outcome.ok()) return outcome.status();
  if (daemon != nullptr) {
    const absl::Status stopped = daemon->Stop();
    if (!stopped.ok()) outcome->failures.push_back(stopped.ToString());
  }
  if (context.args.Switch("json")) {
    PrintJson({{"ok", outcome->failures.empty()}, {"rows", outcome->rows}, {"failures", outcome->failures}},
              context.out);
  } else {
    PrintTable(outcome->rows, context.out);
    PrintNotes(outcome->rows, context.out);
    for (const std::string& failure : outcome->failures) context.out << "FAILED: " << failure << "\n";
    if (outcome->failures.empty()) context.out << "all checks passed\n";
  }
  if (outcome->failures.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(outcome->failures.size(), " checks failed; the first: ", outcome->failures.front()));
}

}  // namespace

Command DemoCommand() {
  return {
      .name = "demo",
      .help = "stores real KV from one process, reads it from another, checks every value, prints one table",
      .flags = WithOutputFlags(
          {{"data", "FOLDER", "the samples", "tests/data"},
           {"profile", "PROFILE", "beside raw", kDefaultProfile},
           {"repeats", "N", "gets of each sample in each form; p99 wants 50 or more", "100"},
           {"put-repeats", "N", "further puts of each sample, to time them", "4"},
           {"address", "ADDRESS",
            "the daemon's; else KVCOMPD_ADDRESS; else a daemon is started for this command"}}),
      .run = Demo};
}

}  // namespace kvcompd::client
