// The service's speed over loopback gRPC: Get and Put of whole blocks in three forms, against a plain TCP
// stream and memcpy measured in the same run.
//
// Called by `kvcompctl bench serve`. Blocks the calling thread; one benchmark at a time in a process.
//
//   ServeBenchOptions options{.address = daemon->address(), .daemon_pid = daemon->pid()};
//   auto report = RunServeBench(options, **TcpBaseline::Start());     // StatusOr
//   PrintServeTable(*report, std::cout);
//
// How it is measured: every repeat goes once through TCP, all runs and memcpy; figures are medians over the
// repeats. A throughput window moves kServeBatch blocks a call, one stream a client, all clients at once;
// GB/s are 1e9 bytes of uncompressed values a second. Latencies are of calls for a single block, made after
// each window by as many clients at once; percentiles are over all repeats together. A put's blocks are
// deleted after each call (outside the time that counts for GB/s and latency, inside the CPU time) and put
// again.
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

inline constexpr uint32_t kServeBatch = 16;    // blocks of one call while throughput is measured
inline constexpr uint32_t kServeBlocks = 128;  // stored, and read in turn
inline constexpr uint32_t kMinServeRepeats = 5;

enum class BenchOp { kGet, kPut };

struct ServeBenchOptions {
  std::string address;
  std::string tenant;
  std::optional<pid_t> daemon_pid;  // for CPU seconds; nothing: not on this machine, or not known
  std::vector<uint32_t> clients = {1, 4};
  std::vector<BenchForm> forms = {BenchForm::kRaw, BenchForm::kEncoded, BenchForm::kDecoded};
  std::vector<BenchOp> ops = {BenchOp::kGet, BenchOp::kPut};
  uint64_t block_bytes = 1 << 20;
  double seconds = 5;  // of throughput measured for each run, all repeats together
  uint32_t repeats = kMinServeRepeats;
  uint32_t latency_calls = 200;  // of each client in each repeat
  std::string data_folder;       // BenchBlocks::Make

  absl::Status Validate() const;  // INVALID_ARGUMENT names the field
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
  std::optional<double> cpu_s_per_gb;  // user and system, daemon and clients together, per logical GB
  double ratio_to_tcp = 0;  // logical, median over the repeats of this run by the same repeat's TCP
};

struct ServeReport {
  std::vector<ServeRun> runs;
  double tcp_gbps = 0;
  double tcp_cpu_s_per_gb = 0;
  double memcpy_gbps = 0;
  uint64_t block_bytes = 0;
  uint32_t repeats = 0;
  double seconds = 0;
  std::string data;  // BenchBlocks::data
};

// INVALID_ARGUMENT: options; else what the daemon or the client said. progress, if set, gets a line now and
// then.
absl::StatusOr<ServeReport> RunServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
                                          const std::function<void(const std::string&)>& progress = {});

std::string_view BenchOpName(BenchOp op);  // "get", "put"
absl::StatusOr<BenchOp> ParseBenchOp(std::string_view name);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_SERVE_H_
