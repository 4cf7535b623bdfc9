// DaemonOptions: everything that a Daemon is started with. Made from flags, environment and file by config.h,
// or by hand in tests. Plain value.
#ifndef KVCOMPD_SERVER_OPS_DAEMON_OPTIONS_H_
#define KVCOMPD_SERVER_OPS_DAEMON_OPTIONS_H_

#include "absl/status/status.h"
#include "server/ops/listen_address.h"
#include "server/service/service_context.h"
#include "server/service/worker_pool.h"
#include "server/store/sequence_table.h"
#include "server/store/store.h"

namespace kvcompd::server {

enum class Backend { kAuto, kCpu };

struct DaemonOptions {
  ListenAddress address{.host = "127.0.0.1", .port = 50051};
  bool allow_insecure = false;  // addresses that other machines reach, without TLS
  Backend backend = Backend::kAuto;
  uint64_t buffer_memory_bytes = uint64_t{64} << 20;  // of message buffers kept for use again
  ServiceOptions service;
  Store::Options store;
  WorkerPool::Options pool;
  SequenceTable::Options sequences;
  bool manual_tick = false;  // tests: no timer thread, Daemon::Tick() instead

  // INVALID_ARGUMENT names the option, as it is called in config.h, and what is allowed.
  absl::Status Validate() const;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_DAEMON_OPTIONS_H_
