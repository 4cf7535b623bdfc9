#include "server/service/daemon.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/time/clock.h"
#include "server/service/listen_failure.h"
#include "server/service/server_args.h"

namespace kvcompd::server {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
constexpr absl::Duration kQuietPollInterval = absl::Milliseconds(5);
constexpr absl::Duration kLastAnswers = absl::Milliseconds(250);

constexpr absl::Duration kLastSlices = absl::Seconds(2);

prometheus::Counter* CancelledStreams(Metrics* metrics, const char* reason) {
  return &metrics->Counter("kvcompd_streams_cancelled_total", "Streams ended by the daemon, by reason",
                           {{"reason", reason}});
}

// Process-wide in gRPC: reflection and health of every server built from here on.
void InitGrpcPlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::EnableDefaultHealthCheckService(true);
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options, const Clock* clock,
                                                      ExitCallback on_exit) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  std::unique_ptr<Daemon> daemon(new Daemon(options, clock, std::move(on_exit)));
  if (absl::Status status = daemon->Listen(); !status.ok()) return status;
  if (!options.manual_tick) daemon->StartTimer();
  return daemon;
}

Daemon::Daemon(const DaemonOptions& options, const Clock* clock, ExitCallback on_exit)
    : options_(options),
      store_(options.store, clock != nullptr ? clock : &steady_clock_, &metrics_),
      sequences_(options.sequences, &store_, clock != nullptr ? clock : &steady_clock_, &metrics_),
      buffers_(options.buffer_memory_bytes),
      messages_(options.service.message_memory_bytes),
      streams_(options.service.max_streams),
      pool_(options.pool),
      context_{.options = options.service,
               .clock = clock != nullptr ? clock : &steady_clock_,
               .store = &store_,
               .sequences = &sequences_,
               .pool = &pool_,
               .encode_threads = &encode_threads_,
               .metrics = &metrics_,
               .buffers = &buffers_,
               .messages = &messages_,
               .streams = &streams_},
      kvcache_(&context_),
      admin_(&context_, {.begin_drain = [this] { BeginDrain(); }, .exit = std::move(on_exit)}),
      idle_streams_(CancelledStreams(&metrics_, "idle")),
      overdue_streams_(CancelledStreams(&metrics_, "deadline")) {}

absl::Status Daemon::Listen() {
  InitGrpcPlugins();
  if (absl::Status status = CheckSocketFree(options_.address); !status.ok()) return status;
  grpc::ServerBuilder builder;
  ApplyServerArgs(options_.service, &builder);
  int bound_port = 0;
  builder.AddListeningPort(options_.address.Text(), grpc::InsecureServerCredentials(), &bound_port);
  builder.RegisterService(&kvcache_);
  builder.RegisterService(&admin_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return ListenFailure(options_.address);

  ListenAddress actual = options_.address;
  if (!actual.is_unix()) {
    port_ = bound_port;
    actual.port = static_cast<uint16_t>(bound_port);
  }
  address_ = actual.Text();
  MutexLock lock(&health_mutex_);
  health_ = server_->GetHealthCheckService();
  health_->SetServingStatus(v1::KvCache::service_full_name(), true);
  health_->SetServingStatus(v1::Admin::service_full_name(), true);
  if (context_.draining) health_->SetServingStatus(false);
  return absl::OkStatus();
}

Daemon::~Daemon() {
  Stop();
  WaitForReaders();
}

void Daemon::BeginDrain() {
  if (context_.draining.exchange(true)) return;
  {
    MutexLock lock(&health_mutex_);
    if (health_ != nullptr) health_->SetServingStatus(false);
  }
  spdlog::info("draining streams={}", streams_.open());
}

// gRPC may keep the last slices of a stream that was cut for a moment longer; they are the store's memory.
void Daemon::WaitForReaders() {
  const absl::Time deadline = absl::Now() + kLastSlices;
  while (store_.stats().reads > 0 && absl::Now() < deadline) absl::SleepFor(kQuietPollInterval);
}

// Nobody tells of the last stream's end, so this looks every few milliseconds. The server's own Shutdown does
// not serve here: it waits for connections, too, and so for clients that are idle or watch our health.
void Daemon::WaitForCalls(absl::Time deadline) {
  const auto quiet = [this] {
    const WorkerPool::Stats work = pool_.stats();
    return streams_.busy() == 0 && work.queued_reads + work.queued_writes + work.running == 0;
  };
  while (!quiet() && absl::Now() < deadline) absl::SleepFor(kQuietPollInterval);
}

void Daemon::Drain(absl::Duration grace) {
  MutexLock lock(&drain_mutex_);
  if (drained_) return;
  drained_ = true;
  if (server_ != nullptr) {
    const absl::Time deadline = absl::Now() + grace;
    BeginDrain();
    context_.stopping = true;
    // Ended now, because their nature is to stay; those that open from here on see `draining`.
    streams_.CancelAll(/*only_idle=*/true);
    WaitForCalls(deadline);
    // GOAWAY; what is left are answers on their way. Returns after the last OnDone.
    server_->Shutdown(absl::ToChronoTime(std::min(deadline, absl::Now() + kLastAnswers)));
  }
  StopTimer();
  pool_.Shutdown();
}

void Daemon::Tick() {
  store_.Tick();
  sequences_.Tick();
  const ActiveStreams::Cancelled cancelled =
      streams_.CancelIdle(context_.clock->NowUs(), int64_t{options_.service.stream_idle_ms} * 1000,
                          int64_t{options_.service.max_stream_ms} * 1000);
  if (cancelled.idle + cancelled.overdue == 0) return;
  idle_streams_->Increment(cancelled.idle);
  overdue_streams_->Increment(cancelled.overdue);
  spdlog::warn("streams cancelled idle={} overdue={}", cancelled.idle, cancelled.overdue);
}

bool Daemon::WaitForTick() {
  MutexLock lock(&timer_mutex_);
  if (!timer_stop_) timer_wake_.WaitFor(&timer_mutex_, kTickInterval);
  return !timer_stop_;
}

void Daemon::StartTimer() {
  timer_ = std::thread([this] {
    while (WaitForTick()) Tick();
  });
}

void Daemon::StopTimer() {
  if (!timer_.joinable()) return;
  {
    MutexLock lock(&timer_mutex_);
    timer_stop_ = true;
    timer_wake_.SignalAll();
  }
  timer_.join();
}

}  // namespace kvcompd::server
