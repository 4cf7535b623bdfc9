#include "client/ctl/bench_command.h"

#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/ctl/bench_kvdata.h"
#include "client/ctl/bench_kvdata_report.h"
#include "client/ctl/bench_serve.h"
#include "client/ctl/bench_serve_report.h"
#include "client/ctl/local_daemon.h"
#include "client/ctl/session.h"
#include "client/ctl/table.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kMaxBlockBytes = uint64_t{64} << 20;
// Room for the stored blocks, raw and encoded, and for what all clients put at once.
constexpr char kHostMemoryFlag[] = "--host-memory=4GiB";

std::string EnvironmentText(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::function<void(const std::string&)> ProgressTo(const CommandContext& context) {
  if (!context.args.Switch("progress") && isatty(STDERR_FILENO) == 0) return {};
  return [&err = context.err](const std::string& line) { err << line << std::endl; };
}

// As Has, but the environment stands in for what is not given.
std::string FlagOrEnvironment(const Arguments& args, const char* flag, const char* variable) {
  return args.Has(flag) ? args.Text(flag) : EnvironmentText(variable);
}

// Every entry of a list flag, parsed; a wrong one is a usage error.
template <typename T, typename Parse>
absl::Status ParseList(const Arguments& args, const char* flag, Parse parse, std::vector<T>* out) {
  out->clear();
  for (const std::string& text : args.List(flag)) {
    absl::StatusOr<T> value = parse(text);
    if (!value.ok()) return UsageError(absl::StrCat("--", flag, ": ", value.status().message()));
    out->push_back(*value);
  }
  return absl::OkStatus();
}

absl::StatusOr<double> ParseNumber(const std::string& text) {
  double value = 0;
  if (absl::SimpleAtod(text, &value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no number"));
}

absl::StatusOr<uint32_t> ParseCount(const std::string& text) {
  uint32_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no whole number"));
}

absl::StatusOr<ServeBenchOptions> ServeOptionsOf(const Arguments& args) {
  ServeBenchOptions options;
  options.address = FlagOrEnvironment(args, "address", "KVCOMPD_ADDRESS");
  options.tenant = args.Text("tenant");
  options.data_folder = FlagOrEnvironment(args, "data", "KVCOMPD_DATA");
  absl::Status status = ParseList(args, "clients", ParseCount, &options.clients);
  if (status.ok()) status = ParseList(args, "forms", ParseBenchForm, &options.forms);
  if (status.ok()) status = ParseList(args, "ops", ParseBenchOp, &options.ops);
  if (!status.ok()) return status;
  const auto block_bytes = args.Size("block-bytes", kBenchLayerBytes, kMaxBlockBytes);
  if (!block_bytes.ok()) return AsUsageError(block_bytes.status());
  options.block_bytes = *block_bytes;
  const auto blocks = args.Whole("blocks", 0, 1 << 20);
  if (!blocks.ok()) return AsUsageError(blocks.status());
  options.blocks = static_cast<uint32_t>(*blocks);
  const auto repeats = args.Whole("repeats", kMinServeRepeats, 1000);
  if (!repeats.ok()) return AsUsageError(repeats.status());
  options.repeats = static_cast<uint32_t>(*repeats);
  const auto seconds = ParseNumber(args.Text("seconds"));
  if (!seconds.ok()) return UsageError(absl::StrCat("--seconds: ", seconds.status().message()));
  options.seconds = *seconds;
  if (args.Has("daemon-pid")) {
    if (options.address.empty()) return UsageError("--daemon-pid goes with --address");
    const auto pid = args.Whole("daemon-pid", 1, std::numeric_limits<pid_t>::max());
    if (!pid.ok()) return AsUsageError(pid.status());
    options.daemon_pid = static_cast<pid_t>(*pid);
  }
  status = options.Validate();
  if (!status.ok()) return AsUsageError(status);
  return options;
}

absl::Status RunServe(const CommandContext& context) {
  auto options = ServeOptionsOf(context.args);
  if (!options.ok()) return options.status();
  // First of all: it forks, and this process has no threads yet.
  auto tcp = TcpBaseline::Start(options->max_clients());
  if (!tcp.ok()) return tcp.status();
  std::unique_ptr<LocalDaemon> daemon;
  if (options->address.empty()) {
    auto started = LocalDaemon::Start({.extra_args = {kHostMemoryFlag}});
    if (!started.ok()) return started.status();
    daemon = *std::move(started);
    SayOwnDaemon(*daemon, context.err);
    options->address = daemon->address();
    options->daemon_pid = daemon->pid();
  }
  const auto report = RunServeBench(*options, **tcp, ProgressTo(context));
  if (!report.ok()) return report.status();
  if (context.args.Switch("json")) {
    PrintJson(ServeJson(*report), context.out);
  } else {
    PrintServeTable(*report, context.out);
  }
  return daemon == nullptr ? absl::OkStatus() : daemon->Stop();
}

absl::Status RunKvdata(const CommandContext& context) {
  const std::string folder = FlagOrEnvironment(context.args, "data", "KVCOMPD_DATA");
  if (folder.empty()) return UsageError("--data names the folder of samples");
  KvdataOptions options;
  const absl::Status status = ParseList(context.args, "rel", ParseNumber, &options.rels);
  if (!status.ok()) return status;
  for (const double rel : options.rels) {
    const absl::Status valid = Profile{.codec = CodecId::kKvcomp, .rel_k = rel, .rel_v = rel}.Validate();
    if (!valid.ok()) return AsUsageError(valid);
  }
  const auto rows = MeasureKvdata(folder, options, ProgressTo(context));
  if (!rows.ok()) return rows.status();
  if (context.args.Switch("json")) {
    PrintJson(KvdataJson(*rows), context.out);
  } else if (context.args.Switch("csv")) {
    context.out << KvdataCsv(*rows);
  } else {
    PrintKvdataTable(*rows, context.out);
  }
  const KvdataTotals totals = TotalsOf(*rows);
  if (totals.violations == 0) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(totals.violations, " of ", totals.values_checked, " values are outside the error bound"));
}

}  // namespace

Command BenchServeCommand() {
  Command command;
  command.name = "bench serve";
  command.help = "measures Get and Put over gRPC against plain TCP streams and memcpy";
  command.flags = WithOutputFlags({
      {"address", "ADDRESS", "the daemon's; else KVCOMPD_ADDRESS; else a daemon is started for this command"},
      {"tenant", "TENANT", "tenant of the two namespaces that it makes"},
      {"clients", "N,...", "clients at once, each with a connection and one stream", "1,4"},
      {"ops", "OP,...", "get, put", "get,put"},
      {"forms", "FORM,...",
       "raw; ready: ready containers; codec: the client encodes and decodes; decoded: the daemon does",
       "raw,ready,codec,decoded"},
      {"block-bytes", "SIZE", "uncompressed bytes of a block, a multiple of 256KiB", "1MiB"},
      {"blocks", "N", "stored and read in turn; 0: as many as exceed the last-level cache, compressed too",
       "0"},
      {"seconds", "N", "throughput is measured so long for each run, all repeats together", "5"},
      {"repeats", "N", "5 at least; figures are medians", "5"},
      {"data", "FOLDER", "samples that the blocks are made of; else KVCOMPD_DATA; else synthetic values"},
      {"daemon-pid", "PID", "with --address: process whose CPU time counts"},
  });
  command.run = RunServe;
  return command;
}

Command BenchKvdataCommand() {
  Command command;
  command.name = "bench kvdata";
  command.help = "measures codec kvcomp on real KV samples and checks the error bound of every value";
  command.flags = WithOutputFlags({
      {"data", "FOLDER", "the samples, *.kv.bf16.npy and *.kv.f16.npy with their JSON; else KVCOMPD_DATA"},
      {"rel", "REL,...", "rel_k = rel_v", "0.01,0.05,0.1,0.2"},
      {"csv", "", "print CSV instead of a table"},
  });
  command.run = RunKvdata;
  return command;
}

}  // namespace kvcompd::client
