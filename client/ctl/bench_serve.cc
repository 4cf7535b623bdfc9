#include "client/ctl/bench_serve.h"

#include <algorithm>
#include <chrono>
#include <latch>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/process_usage.h"
#include "client/ctl/sample_stats.h"

namespace kvcompd::client {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

constexpr double kBaselineSeconds = 0.5;
constexpr uint32_t kMaxClients = 64;

double Seconds(TimePoint from, TimePoint to) { return std::chrono::duration<double>(to - from).count(); }

// What one client did in one window.
struct Share {
  absl::Status status;
  uint64_t logical_bytes = 0;
  uint64_t wire_bytes = 0;
  double busy_seconds = 0;  // within the calls that count
  std::vector<double> latencies_us;
};

// One (op, form, clients) and all that was measured of it.
struct Series {
  ServeRun run;
  std::vector<double> logical_gbps;
  std::vector<double> wire_gbps;
  std::vector<double> cpu_s_per_gb;
  std::vector<double> ratio_to_tcp;
  std::vector<double> latencies_us;
};

class ServeBench {
 public:
  ServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
             const std::function<void(const std::string&)>& progress)
      : options_(options), tcp_(tcp), progress_(progress), memcpy_(options.block_bytes) {}

  absl::Status Prepare();
  absl::Status Repeat();
  ServeReport Report() const;

 private:
  // Calls `body(client, share)` on one thread a client, all at once.
  template <typename Body>
  std::vector<Share> OnAllClients(uint32_t clients, Body body);
  absl::Status MeasureThroughput(Series* series, double seconds, double tcp_gbps);
  absl::Status MeasureLatency(Series* series);
  // One call; what counts of it goes to share.
  static absl::Status Call(BenchClient& client, BenchOp op, BenchForm form, uint64_t first, uint32_t count,
                           Share* share);
  std::optional<double> Cpu() const;
  void Progress(const std::string& line) const {
    if (progress_) progress_(line);
  }

  const ServeBenchOptions& options_;
  TcpBaseline& tcp_;
  const std::function<void(const std::string&)>& progress_;
  MemcpyBaseline memcpy_;
  std::unique_ptr<BenchBlocks> blocks_;
  std::vector<std::unique_ptr<BenchClient>> clients_;
  std::vector<Series> series_;
  std::vector<double> tcp_gbps_;
  std::vector<double> tcp_cpu_;
  std::vector<double> memcpy_gbps_;
};

absl::Status ServeBench::Prepare() {
  auto blocks = BenchBlocks::Make(options_.block_bytes, kServeBlocks, options_.data_folder);
  if (!blocks.ok()) return blocks.status();
  blocks_ = *std::move(blocks);
  ClientOptions client_options{.address = options_.address, .tenant = options_.tenant};
  client_options.software = "kvcompctl-bench";
  const uint32_t most = *std::max_element(options_.clients.begin(), options_.clients.end());
  for (uint32_t number = 0; number < most; ++number) {
    auto client = BenchClient::Connect(client_options, *blocks_, number);
    if (!client.ok()) return client.status();
    clients_.push_back(*std::move(client));
  }
  Progress("storing the blocks");
  absl::Status status = clients_[0]->StoreShared(options_.forms);
  const auto contains = [](const auto& list, auto value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  if (contains(options_.ops, BenchOp::kPut) && contains(options_.forms, BenchForm::kEncoded)) {
    for (const auto& client : clients_) {
      if (status.ok()) status = client->PrepareEncodedPut();
    }
  }
  if (!status.ok()) return status;
  for (const uint32_t clients : options_.clients) {
    for (const BenchOp op : options_.ops) {
      for (const BenchForm form : options_.forms) {
        Series series;
        series.run = {.op = op, .form = form, .clients = clients};
        series_.push_back(std::move(series));
        status = MeasureThroughput(&series_.back(), /*seconds=*/0.2, /*tcp_gbps=*/0);  // warm up, not kept
        if (!status.ok()) return status;
      }
    }
  }
  return absl::OkStatus();
}

template <typename Body>
std::vector<Share> ServeBench::OnAllClients(uint32_t clients, Body body) {
  std::vector<Share> shares(clients);
  std::latch start(clients);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      shares[i].status = body(*clients_[i], i, &shares[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return shares;
}

absl::Status ServeBench::Call(BenchClient& client, BenchOp op, BenchForm form, uint64_t first, uint32_t count,
                              Share* share) {
  const TimePoint start = std::chrono::steady_clock::now();
  const auto wire_bytes =
      op == BenchOp::kGet ? client.Get(form, first, count) : client.Put(form, first, count);
  const double seconds = Seconds(start, std::chrono::steady_clock::now());
  if (!wire_bytes.ok()) return wire_bytes.status();
  share->wire_bytes += *wire_bytes;
  share->busy_seconds += seconds;
  share->latencies_us.push_back(seconds * 1e6);
  return op == BenchOp::kPut ? client.Forget(form, first, count) : absl::OkStatus();
}

std::optional<double> ServeBench::Cpu() const {
  if (!options_.daemon_pid.has_value()) return std::nullopt;
  const auto daemon = CpuSeconds(*options_.daemon_pid);
  const auto self = CpuSeconds(0);
  if (!daemon.ok() || !self.ok()) return std::nullopt;
  return *daemon + *self;
}

absl::Status ServeBench::MeasureThroughput(Series* series, double seconds, double tcp_gbps) {
  const ServeRun& run = series->run;
  const std::optional<double> cpu_before = Cpu();
  const auto shares = OnAllClients(run.clients, [&](BenchClient& client, uint32_t number, Share* share) {
    const TimePoint start = std::chrono::steady_clock::now();
    // Each client starts elsewhere, so that they do not read the same block at the same time.
    uint64_t first = uint64_t{number} * kServeBlocks / run.clients / kServeBatch * kServeBatch;
    do {
      const absl::Status status = Call(client, run.op, run.form, first, kServeBatch, share);
      if (!status.ok()) return status;
      share->logical_bytes += kServeBatch * blocks_->block_bytes();
      first += kServeBatch;
    } while (Seconds(start, std::chrono::steady_clock::now()) < seconds);
    return absl::OkStatus();
  });
  const std::optional<double> cpu_after = Cpu();
  double logical_gbps = 0;
  double wire_gbps = 0;
  double logical_gb = 0;
  for (const Share& share : shares) {
    if (!share.status.ok()) return share.status;
    logical_gb += static_cast<double>(share.logical_bytes) / 1e9;
    logical_gbps += static_cast<double>(share.logical_bytes) / 1e9 / share.busy_seconds;
    wire_gbps += static_cast<double>(share.wire_bytes) / 1e9 / share.busy_seconds;
  }
  if (tcp_gbps == 0) return absl::OkStatus();
  series->logical_gbps.push_back(logical_gbps);
  series->wire_gbps.push_back(wire_gbps);
  series->ratio_to_tcp.push_back(logical_gbps / tcp_gbps);
  if (cpu_before.has_value() && cpu_after.has_value()) {
    series->cpu_s_per_gb.push_back((*cpu_after - *cpu_before) / logical_gb);
  }
  return absl::OkStatus();
}

absl::Status ServeBench::MeasureLatency(Series* series) {
  const ServeRun& run = series->run;
  const auto shares = OnAllClients(run.clients, [&](BenchClient& client, uint32_t number, Share* share) {
    for (uint32_t i = 0; i < options_.latency_calls; ++i) {
      const absl::Status status = Call(client, run.op, run.form, uint64_t{number} * 7 + i, 1, share);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
  for (const Share& share : shares) {
    if (!share.status.ok()) return share.status;
    series->latencies_us.insert(series->latencies_us.end(), share.latencies_us.begin(),
                                share.latencies_us.end());
  }
  return absl::OkStatus();
}

absl::Status ServeBench::Repeat() {
  Progress(absl::StrCat("repeat ", tcp_gbps_.size() + 1, " of ", options_.repeats));
  const auto tcp_gbps = tcp_.Measure(kBaselineSeconds);
  if (!tcp_gbps.ok()) return tcp_gbps.status();
  tcp_gbps_.push_back(*tcp_gbps);
  tcp_cpu_.push_back(tcp_.cpu_s_per_gb());
  for (Series& series : series_) {
    absl::Status status = MeasureThroughput(&series, options_.seconds / options_.repeats, *tcp_gbps);
    if (status.ok()) status = MeasureLatency(&series);
    if (!status.ok()) return status;
  }
  memcpy_gbps_.push_back(memcpy_.Measure(kBaselineSeconds));
  return absl::OkStatus();
}

ServeReport ServeBench::Report() const {
  ServeReport report;
  report.tcp_gbps = Median(tcp_gbps_);
  report.tcp_cpu_s_per_gb = Median(tcp_cpu_);
  report.memcpy_gbps = Median(memcpy_gbps_);
  report.block_bytes = options_.block_bytes;
  report.repeats = options_.repeats;
  report.seconds = options_.seconds;
  report.data = blocks_->data();
  for (const Series& series : series_) {
    ServeRun run = series.run;
    run.logical_gbps = Median(series.logical_gbps);
    run.wire_gbps = Median(series.wire_gbps);
    run.ratio_to_tcp = Median(series.ratio_to_tcp);
    if (!series.cpu_s_per_gb.empty()) run.cpu_s_per_gb = Median(series.cpu_s_per_gb);
    run.p50_us = Percentile(series.latencies_us, 0.5);
    run.p99_us = Percentile(series.latencies_us, 0.99);
    run.p999_us = Percentile(series.latencies_us, 0.999);
    report.runs.push_back(run);
  }
  return report;
}

}  // namespace

std::string_view BenchOpName(BenchOp op) { return op == BenchOp::kGet ? "get" : "put"; }

absl::StatusOr<BenchOp> ParseBenchOp(std::string_view name) {
  if (name == "get") return BenchOp::kGet;
  if (name == "put") return BenchOp::kPut;
  return absl::InvalidArgumentError(absl::StrCat("op \"", ToAbsl(name), "\": expected get or put"));
}

absl::Status ServeBenchOptions::Validate() const {
  if (clients.empty() || forms.empty() || ops.empty()) {
    return absl::InvalidArgumentError("clients, forms and ops must each name one at least");
  }
  for (const uint32_t n : clients) {
    if (n == 0 || n > kMaxClients) {
      return absl::InvalidArgumentError(absl::StrCat("clients: ", n, ", allowed: 1 to ", kMaxClients));
    }
  }
  if (repeats < kMinServeRepeats || repeats > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("repeats: ", repeats, ", allowed: ", kMinServeRepeats, " to 1000"));
  }
  if (!(seconds > 0 && seconds <= 3600))
    return absl::InvalidArgumentError("seconds: allowed: over 0 to 3600");
  return absl::OkStatus();
}

absl::StatusOr<ServeReport> RunServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
                                          const std::function<void(const std::string&)>& progress) {
  absl::Status status = options.Validate();
  if (!status.ok()) return status;
  ServeBench bench(options, tcp, progress);
  status = bench.Prepare();
  for (uint32_t i = 0; i < options.repeats && status.ok(); ++i) status = bench.Repeat();
  if (!status.ok()) return status;
  return bench.Report();
}

}  // namespace kvcompd::client
