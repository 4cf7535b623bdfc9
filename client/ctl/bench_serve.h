// The service's speed over loopback gRPC: Get and Put of whole blocks in four forms, against plain TCP
// streams (as many as there are clients) and memcpy measured in the same run.
//
// Called by `kvcompctl bench serve`. Blocks the calling thread; one benchmark at a time in a process.
//
//   ServeBenchOptions options{.address = daemon->address(), .daemon_pid = daemon->pid()};
//   auto report = RunServeBench(options, **TcpBaseline::Start(4));     // StatusOr
//   PrintServeTable(*report, std::cout);
//
// How it is measured: every repeat goes once through TCP, all runs and memcpy; figures are medians over the
// repeats. A throughput window moves kServeBatch blocks a call, one stream a client, all clients at once, and
// ends when the first of them is done: what all moved by then (of a call that goes on, its part) over the
// wall time. GB/s are 1e9 bytes of uncompressed values a second. Latencies are of calls for a single block,
// made after each window by as many clients at once; percentiles are over all repeats together, and a p99.9
// of fewer than kMinP999Samples calls says next to nothing. A put's blocks are deleted after each call
// (within the window and the CPU time, outside the latency) and put again. Blocks are as many as it takes to
// exceed the last-level cache twice over, compressed as well, where memory allows; a run whose bytes are
// fewer says that it is cache-resident. Stored blocks are deleted at the end.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_SERVE_H_
#define KVCOMPD_CLIENT_CTL_BENCH_SERVE_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/bench_baseline.h"
#include "client/ctl/bench_load.h"

namespace kvcompd::client {

inline constexpr uint32_t kServeBatch = 16;  // blocks of one call while throughput is measured
inline constexpr uint64_t kMaxServeBytes = uint64_t{1} << 30;  // of stored blocks, uncompressed
inline constexpr uint64_t kMinP999Samples = 1000;
inline constexpr uint32_t kMinServeRepeats = 5;

enum class BenchOp { kGet, kPut };

struct ServeBenchOptions {
  std::string address;
  std::string tenant;
  std::optional<pid_t> daemon_pid;  // for CPU seconds; nothing: not on this machine, or not known
  std::vector<uint32_t> clients = {1, 4};
  std::vector<BenchForm> forms = {BenchForm::kRaw, BenchForm::kReady, BenchForm::kCodec, BenchForm::kDecoded};
  std::vector<BenchOp> ops = {BenchOp::kGet, BenchOp::kPut};
  uint64_t block_bytes = 1 << 20;
  uint32_t blocks = 0;  // stored, and read in turn; 0: see above
  double seconds = 5;   // of throughput measured for each run, all repeats together
  uint32_t repeats = kMinServeRepeats;
  uint32_t latency_calls = 200;  // of each client in each repeat
  std::string data_folder;       // BenchBlocks::Make

  absl::Status Validate() const;  // INVALID_ARGUMENT names the field
  uint32_t max_clients() const;
  // Whether the daemon is on this machine, as its address says; else plain TCP over loopback is no measure
  // for it.
  bool loopback() const;
};

struct ServeRun {
  BenchOp op = BenchOp::kGet;
  BenchForm form = BenchForm::kRaw;
  uint32_t clients = 0;
  double logical_gbps = 0;  // of uncompressed values
  double wire_gbps = 0;     // of values or containers as they were sent, without framing
  double p50_us = 0;
  double p99_us = 0;
  double p999_us = 0;
  uint64_t latency_samples = 0;  // calls that the percentiles are of
  // Distinct bytes that the run goes through on both ends: of values or containers, stored, put and read
  // into.
  uint64_t working_set_bytes = 0;
  bool cache_resident = false;         // those are fewer than twice the last-level cache
  std::optional<double> cpu_s_per_gb;  // user and system, daemon and clients together, per logical GB
  // Of as many TCP streams as there are clients, and logical_gbps by it: medians over the repeats. Nothing
  // where the daemon is elsewhere.
  std::optional<double> tcp_gbps;
  std::optional<double> ratio_to_tcp;
};

struct ServeReport {
  std::vector<ServeRun> runs;
  double tcp_gbps = 0;  // one stream
  double tcp_cpu_s_per_gb = 0;
  double memcpy_gbps = 0;
  uint64_t block_bytes = 0;
  uint32_t blocks = 0;
  uint32_t repeats = 0;
  double seconds = 0;
  std::string data;  // BenchBlocks::data
};

// tcp: of options.max_clients() streams at least. INVALID_ARGUMENT: options; else what the daemon or the
// client said. progress, if set, gets a line now and then.
absl::StatusOr<ServeReport> RunServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
                                          const std::function<void(const std::string&)>& progress = {});

std::string_view BenchOpName(BenchOp op);  // "get", "put"
absl::StatusOr<BenchOp> ParseBenchOp(std::string_view name);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_SERVE_H_
