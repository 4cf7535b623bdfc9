// Daemon: the whole service in one object: store, worker threads, gRPC server, timer. main.cc runs one; tests
// and benchmarks start as many as they like.
//
//   auto daemon = Daemon::Start(options);          // INVALID_ARGUMENT: options; UNAVAILABLE: cannot listen
//   connect to (*daemon)->address();
//   (*daemon)->Drain(absl::Seconds(30));           // or let it go: ~Daemon stops at once
//
// Thread-safe but for the destructor. Lock order: drain_mutex_ before all others.
#ifndef KVCOMPD_SERVER_SERVICE_DAEMON_H_
#define KVCOMPD_SERVER_SERVICE_DAEMON_H_

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "codec/base/clock.h"
#include "codec/base/mutex.h"
#include "server/ops/daemon_options.h"
#include "server/ops/metrics.h"
#include "server/service/active_streams.h"
#include "server/service/admin_service.h"
#include "server/service/buffer_pool.h"
#include "server/service/kvcache_service.h"
#include "server/service/message_budget.h"
#include "server/service/pool_group_executor.h"
#include "server/service/service_context.h"
#include "server/service/worker_pool.h"
#include "server/store/sequence_table.h"
#include "server/store/store.h"

namespace kvcompd::server {

class Daemon {
 public:
  // Called by Admin.Drain with exit, from a gRPC thread; must return at once. Null: exit is UNIMPLEMENTED.
  using ExitCallback = std::function<void(uint32_t grace_ms)>;

  // clock: must outlive the daemon; null is the steady clock.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const DaemonOptions& options,
                                                       const Clock* clock = nullptr,
                                                       ExitCallback on_exit = nullptr);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // For clients, with the port that was chosen: "127.0.0.1:41233", "unix:/run/kvcompd.sock".
  const std::string& address() const { return address_; }
  int port() const { return port_; }  // 0 for a Unix socket

  // From here on new puts, watchers and data sessions are refused and health says NOT_SERVING; reads are
  // still served. Idempotent.
  void BeginDrain();
  // BeginDrain; then answers UNAVAILABLE to new calls, ends watchers and data sessions, waits up to grace for
  // running puts and reads, cancels the rest and closes the port. Returns when all is quiet. Idempotent.
  void Drain(absl::Duration grace);
  void Stop() { Drain(absl::ZeroDuration()); }

  // What the timer does every 100 ms: expiry of leases, orphans and sequences, streams that stand still.
  void Tick();

  ServiceContext& context() { return context_; }

 private:
  Daemon(const DaemonOptions& options, const Clock* clock, ExitCallback on_exit);
  absl::Status Listen();
  void WaitForCalls(absl::Time deadline);
  void WaitForReaders();
  void StartTimer();
  bool WaitForTick();  // false: the timer is to end
  void StopTimer();

  const DaemonOptions options_;
  // In the order of construction: what comes later uses what stands before it.
  SteadyClock steady_clock_;
  Metrics metrics_;
  Store store_;
  SequenceTable sequences_;
  BufferPool buffers_;
  MessageBudget messages_;
  ActiveStreams streams_;
  WorkerPool pool_;
  PoolGroupExecutor encode_threads_{&pool_};
  ServiceContext context_;
  KvCacheService kvcache_;
  AdminService admin_;
  prometheus::Counter* const idle_streams_;
  prometheus::Counter* const overdue_streams_;
  std::unique_ptr<grpc::Server> server_;
  // Calls come while server_ is still being made; Admin.Drain may be among them.
  Mutex health_mutex_;
  grpc::HealthCheckServiceInterface* health_ ABSL_GUARDED_BY(health_mutex_) = nullptr;
  std::string address_;
  int port_ = 0;

  Mutex drain_mutex_;
  bool drained_ ABSL_GUARDED_BY(drain_mutex_) = false;

  std::thread timer_;
  Mutex timer_mutex_;
  CondVar timer_wake_;
  bool timer_stop_ ABSL_GUARDED_BY(timer_mutex_) = false;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_DAEMON_H_
