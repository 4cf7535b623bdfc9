// What every handler of the services works with. Made by Daemon, which outlives them all.
#ifndef KVCOMPD_SERVER_SERVICE_SERVICE_CONTEXT_H_
#define KVCOMPD_SERVER_SERVICE_SERVICE_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "codec/base/clock.h"
#include "codec/base/profile.h"
#include "codec/tile_group_executor.h"
#include "proto/convert.h"
#include "server/ops/metrics.h"
#include "server/service/active_streams.h"
#include "server/service/buffer_pool.h"
#include "server/service/message_budget.h"
#include "server/service/worker_pool.h"
#include "server/store/sequence_table.h"
#include "server/store/store.h"

namespace kvcompd::server {

struct ServiceOptions {
  Profile default_profile;                            // of namespaces that name none
  uint64_t max_chunk_bytes = uint64_t{4} << 20;       // one message's bulk, at most; 64 KiB to 32 MiB
  uint64_t target_message_bytes = uint64_t{1} << 20;  // Get gathers to about this
  uint64_t put_credit_bytes = uint64_t{16} << 20;     // sent but not yet taken in, per Put
  uint64_t get_window_bytes = uint64_t{4} << 20;      // made but not yet sent, per Get
  uint32_t max_blocks = 4096;                         // per Put, Get and batch call
  uint32_t max_keys = 65'536;                         // per Match and Exists
  uint32_t max_streams = 1024;                        // Put, Get, Watch and data sessions together
  uint32_t stream_idle_ms = 30'000;    // a Put or Get without progress for this long is cancelled
  uint32_t max_stream_ms = 3'600'000;  // and one that is open for this long
  uint64_t message_memory_bytes = uint64_t{1} << 30;  // of all calls: credits, windows, appended values
  uint32_t drain_grace_ms = 30'000;
  absl::Status Validate() const;
};

inline constexpr uint64_t kServedFeatures = FeatureBit(v1::FEATURE_ENCODED_FORM) |
                                            FeatureBit(v1::FEATURE_SEQUENCES) |
                                            FeatureBit(v1::FEATURE_WATCH) | FeatureBit(v1::FEATURE_LEASES);

struct ServiceContext {
  ServiceOptions options;
  const Clock* clock = nullptr;
  Store* store = nullptr;
  SequenceTable* sequences = nullptr;
  WorkerPool* pool = nullptr;
  codec::TileGroupExecutor* encode_threads = nullptr;  // of the pool
  Metrics* metrics = nullptr;
  BufferPool* buffers = nullptr;
  MessageBudget* messages = nullptr;
  ActiveStreams* streams = nullptr;
  std::atomic<bool> draining{false};  // nothing new is taken in
  std::atomic<bool> stopping{false};  // nor is anything else begun: the process is about to end
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_SERVICE_CONTEXT_H_
