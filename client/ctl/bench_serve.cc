#include "client/ctl/bench_serve.h"

#include <algorithm>
#include <chrono>
#include <latch>
#include <map>
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

// A call as it was made.
struct TimedCall {
  TimePoint begin;
  TimePoint end;
  uint64_t logical_bytes = 0;
  uint64_t wire_bytes = 0;

  // The part of it before `limit`.
  double ShareBefore(TimePoint limit) const {
    if (end <= limit) return 1;
    return begin >= limit ? 0 : Seconds(begin, limit) / Seconds(begin, end);
  }
};

// What one client did in one window.
struct Share {
  absl::Status status;
  std::vector<TimedCall> calls;
  TimePoint done;  // with what belongs to the last call, too
};

// One (op, form, clients) and all that was measured of it.
struct Series {
  ServeRun run;
  std::vector<double> logical_gbps;
  std::vector<double> wire_gbps;
  std::vector<double> cpu_s_per_gb;
  std::vector<double> ratio_to_tcp;
  std::vector<double> tcp_gbps;
  std::vector<double> latencies_us;
};

class ServeBench {
 public:
  ServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
             const std::function<void(const std::string&)>& progress)
      : options_(options), tcp_(tcp), progress_(progress), memcpy_(options.block_bytes) {}

  absl::Status Prepare();
  absl::Status Repeat();
  // Deletes what Prepare stored.
  absl::Status End();
  ServeReport Report() const;

 private:
  // Calls `body(client, share)` on one thread a client, all at once.
  template <typename Body>
  std::vector<Share> OnAllClients(uint32_t clients, Body body);
  absl::Status MeasureThroughput(Series* series, double seconds, bool keep);
  uint32_t BlockCount() const;
  uint64_t WorkingSet(const ServeRun& run) const;
  absl::Status MeasureLatency(Series* series);
  // One call, which goes to share.
  absl::Status Call(BenchClient& client, BenchOp op, BenchForm form, uint64_t first, uint32_t count,
                    Share* share) const;
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
  std::map<uint32_t, double> tcp_of_repeat_;  // by streams
  std::vector<double> tcp_gbps_;              // of one stream
  std::vector<double> tcp_cpu_;
  std::vector<double> memcpy_gbps_;
};

// The compressed ones are to exceed the cache, too; kBenchLossyProfile makes them about a fourth.
uint32_t ServeBench::BlockCount() const {
  if (options_.blocks > 0) return options_.blocks;
  constexpr uint64_t kCompression = 5;
  const uint64_t bytes = std::min(2 * kCompression * LastLevelCacheBytes(), kMaxServeBytes);
  const uint64_t batches = std::max<uint64_t>(1, bytes / options_.block_bytes / kServeBatch);
  return static_cast<uint32_t>(batches * kServeBatch);
}

uint64_t ServeBench::WorkingSet(const ServeRun& run) const {
  const uint64_t encoded = clients_[0]->encoded_block_bytes();
  const uint64_t raw = options_.block_bytes;
  const uint64_t stored = run.form == BenchForm::kRaw ? raw : encoded;
  if (run.op == BenchOp::kPut) {
    const uint64_t source = run.form == BenchForm::kReady ? encoded : raw;
    return uint64_t{run.clients} * BenchClient::kPutBlocks * (source + stored);
  }
  const uint64_t targets =
      run.form == BenchForm::kReady ? 0 : run.clients * clients_[0]->target_blocks() * raw;
  return blocks_->count() * stored + targets;
}

absl::Status ServeBench::Prepare() {
  auto blocks = BenchBlocks::Make(options_.block_bytes, BlockCount(), options_.data_folder);
  if (!blocks.ok()) return blocks.status();
  blocks_ = *std::move(blocks);
  ClientOptions client_options{.address = options_.address, .tenant = options_.tenant};
  client_options.software = "kvcompctl-bench";
  for (uint32_t number = 0; number < options_.max_clients(); ++number) {
    auto client = BenchClient::Connect(client_options, *blocks_, number);
    if (!client.ok()) return client.status();
    clients_.push_back(*std::move(client));
  }
  Progress("storing the blocks");
  absl::Status status = clients_[0]->StoreShared(options_.forms);
  const auto contains = [](const auto& list, auto value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  if (contains(options_.ops, BenchOp::kPut) && contains(options_.forms, BenchForm::kReady)) {
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
        status = MeasureThroughput(&series_.back(), /*seconds=*/0.2, /*keep=*/false);  // warm up
        if (!status.ok()) return status;
        ServeRun& run = series_.back().run;
        run.working_set_bytes = WorkingSet(run);
        run.cache_resident = run.working_set_bytes < 2 * LastLevelCacheBytes();
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
      shares[i].done = std::chrono::steady_clock::now();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return shares;
}

absl::Status ServeBench::Call(BenchClient& client, BenchOp op, BenchForm form, uint64_t first, uint32_t count,
                              Share* share) const {
  TimedCall call{.begin = std::chrono::steady_clock::now()};
  const auto wire_bytes =
      op == BenchOp::kGet ? client.Get(form, first, count) : client.Put(form, first, count);
  call.end = std::chrono::steady_clock::now();
  if (!wire_bytes.ok()) return wire_bytes.status();
  call.wire_bytes = *wire_bytes;
  call.logical_bytes = count * blocks_->block_bytes();
  share->calls.push_back(call);
  return op == BenchOp::kPut ? client.Forget(form, first, count) : absl::OkStatus();
}

std::optional<double> ServeBench::Cpu() const {
  if (!options_.daemon_pid.has_value()) return std::nullopt;
  const auto daemon = CpuSeconds(*options_.daemon_pid);
  const auto self = CpuSeconds(0);
  if (!daemon.ok() || !self.ok()) return std::nullopt;
  return *daemon + *self;
}

absl::Status ServeBench::MeasureThroughput(Series* series, double seconds, bool keep) {
  const ServeRun& run = series->run;
  const std::optional<double> cpu_before = Cpu();
  const TimePoint begin = std::chrono::steady_clock::now();
  const auto shares = OnAllClients(run.clients, [&](BenchClient& client, uint32_t number, Share* share) {
    const TimePoint start = std::chrono::steady_clock::now();
    // Each client starts elsewhere, so that they do not read the same block at the same time.
    uint64_t first = uint64_t{number} * blocks_->count() / run.clients / kServeBatch * kServeBatch;
    do {
      const absl::Status status = Call(client, run.op, run.form, first, kServeBatch, share);
      if (!status.ok()) return status;
      first += kServeBatch;
    } while (Seconds(start, std::chrono::steady_clock::now()) < seconds);
    return absl::OkStatus();
  });
  const std::optional<double> cpu_after = Cpu();
  TimePoint end = TimePoint::max();
  for (const Share& share : shares) {
    if (!share.status.ok()) return share.status;
    end = std::min(end, share.done);
  }
  if (!keep) return absl::OkStatus();
  double logical_gb = 0, wire_gb = 0, whole_gb = 0;
  for (const Share& share : shares) {
    for (const TimedCall& call : share.calls) {
      const double part = call.ShareBefore(end) / 1e9;
      logical_gb += part * static_cast<double>(call.logical_bytes);
      wire_gb += part * static_cast<double>(call.wire_bytes);
      whole_gb += static_cast<double>(call.logical_bytes) / 1e9;
    }
  }
  const double window = Seconds(begin, end);
  series->logical_gbps.push_back(logical_gb / window);
  series->wire_gbps.push_back(wire_gb / window);
  if (options_.loopback()) {
    const double tcp_gbps = tcp_of_repeat_[run.clients];
    series->tcp_gbps.push_back(tcp_gbps);
    series->ratio_to_tcp.push_back(logical_gb / window / tcp_gbps);
  }
  if (cpu_before.has_value() && cpu_after.has_value()) {
    series->cpu_s_per_gb.push_back((*cpu_after - *cpu_before) / whole_gb);
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
    for (const TimedCall& call : share.calls) {
      series->latencies_us.push_back(Seconds(call.begin, call.end) * 1e6);
    }
  }
  return absl::OkStatus();
}

absl::Status ServeBench::Repeat() {
  Progress(absl::StrCat("repeat ", tcp_gbps_.size() + 1, " of ", options_.repeats));
  const auto one = tcp_.Measure(kBaselineSeconds);
  if (!one.ok()) return one.status();
  tcp_gbps_.push_back(*one);
  tcp_cpu_.push_back(tcp_.cpu_s_per_gb());
  tcp_of_repeat_ = {{1, *one}};
  for (const uint32_t streams : options_.clients) {
    if (tcp_of_repeat_.contains(streams)) continue;
    const auto several = tcp_.Measure(kBaselineSeconds, streams);
    if (!several.ok()) return several.status();
    tcp_of_repeat_[streams] = *several;
  }
  for (Series& series : series_) {
    absl::Status status = MeasureThroughput(&series, options_.seconds / options_.repeats, /*keep=*/true);
    if (status.ok()) status = MeasureLatency(&series);
    if (!status.ok()) return status;
  }
  memcpy_gbps_.push_back(memcpy_.Measure(kBaselineSeconds));
  return absl::OkStatus();
}

absl::Status ServeBench::End() { return clients_.empty() ? absl::OkStatus() : clients_[0]->ForgetShared(); }

ServeReport ServeBench::Report() const {
  ServeReport report;
  report.tcp_gbps = Median(tcp_gbps_);
  report.tcp_cpu_s_per_gb = Median(tcp_cpu_);
  report.memcpy_gbps = Median(memcpy_gbps_);
  report.block_bytes = options_.block_bytes;
  report.blocks = blocks_->count();
  report.repeats = options_.repeats;
  report.seconds = options_.seconds;
  report.data = blocks_->data();
  for (const Series& series : series_) {
    ServeRun run = series.run;
    run.logical_gbps = Median(series.logical_gbps);
    run.wire_gbps = Median(series.wire_gbps);
    if (!series.tcp_gbps.empty()) {
      run.tcp_gbps = Median(series.tcp_gbps);
      run.ratio_to_tcp = Median(series.ratio_to_tcp);
    }
    run.latency_samples = series.latencies_us.size();
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
  if (blocks > kMaxServeBytes / std::max<uint64_t>(1, block_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("blocks: ", blocks, " of ", block_bytes, " bytes are more than ", kMaxServeBytes));
  }
  if (!(seconds > 0 && seconds <= 3600))
    return absl::InvalidArgumentError("seconds: allowed: over 0 to 3600");
  return absl::OkStatus();
}

uint32_t ServeBenchOptions::max_clients() const { return *std::max_element(clients.begin(), clients.end()); }

bool ServeBenchOptions::loopback() const {
  for (const char* local : {"127.", "localhost:", "[::1]:", "unix:", "ipv4:127."}) {
    if (address.starts_with(local)) return true;
  }
  return false;
}

absl::StatusOr<ServeReport> RunServeBench(const ServeBenchOptions& options, TcpBaseline& tcp,
                                          const std::function<void(const std::string&)>& progress) {
  absl::Status status = options.Validate();
  if (!status.ok()) return status;
  ServeBench bench(options, tcp, progress);
  status = bench.Prepare();
  for (uint32_t i = 0; i < options.repeats && status.ok(); ++i) status = bench.Repeat();
  const absl::Status ended = bench.End();
  if (!status.ok()) return status;
  if (!ended.ok()) return ended;
  return bench.Report();
}

}  // namespace kvcompd::client
