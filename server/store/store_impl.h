// Store's parts, for the files store*.cc only.
//
// Lock order: SlotAllocator's watermark lock, then one index shard, then WatchHub and its queues. The locks
// of LeaseTable, NamespaceTable, SlabArena and of profile texts are leaves: under them no other is taken.
#ifndef KVCOMPD_SERVER_STORE_STORE_IMPL_H_
#define KVCOMPD_SERVER_STORE_STORE_IMPL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "codec/base/mutex.h"
#include "server/store/evictor.h"
#include "server/store/index.h"
#include "server/store/lease_table.h"
#include "server/store/namespace_table.h"
#include "server/store/slot_allocator.h"
#include "server/store/store.h"

namespace kvcompd::server {

// Shares the few texts that many shards name.
class TextPool {
 public:
  std::shared_ptr<const std::string> Intern(const std::string& text);

 private:
  static constexpr size_t kSweepAt = 256;
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::weak_ptr<const std::string>> texts_ ABSL_GUARDED_BY(mutex_);
};

// Members in the order of dependence: slots are free before the arena goes, blocks before their namespaces.
struct Store::Impl {
  Impl(const Options& options, const Clock* clock, Metrics* metrics);

  const Options options;
  const Clock* const clock;
  const uint64_t epoch;
  SlabArena arena;
  NamespaceTable namespaces;
  WatchHub watch;
  Index index;
  Evictor evictor;
  SlotAllocator slots;
  LeaseTable leases;
  TextPool profiles;
  std::atomic<uint64_t> next_generation{1};
  std::atomic<uint64_t> next_claim{1};

  // Puts (store_put.cc).
  prometheus::Counter* refused_quota;
  prometheus::Counter* refused_memory;
  prometheus::Counter* refused_malformed;
  prometheus::Counter* dropped_timeout;
  prometheus::Counter* dropped_taken_over;
  prometheus::Counter* dropped_flushed;
  prometheus::Counter* dropped_uncommitted;
  prometheus::Counter* committed_shards;
  prometheus::Counter* duplicate_shards;
  prometheus::Counter* refused_tails_quota;
  prometheus::Counter* refused_tails_memory;
  // Pins (store_lease.cc).
  prometheus::Counter* refused_pins;
  prometheus::Counter* expired_pins;
  // What Tick sets (store.cc).
  prometheus::Gauge* used_bytes;
  prometheus::Gauge* staged_bytes;
  prometheus::Gauge* tail_bytes;
  prometheus::Gauge* encoded_bytes;
  prometheus::Gauge* raw_bytes;
  prometheus::Gauge* blocks;
  prometheus::Gauge* leases_held;

  PutReply Refuse(absl::Status status, Reason reason);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_STORE_IMPL_H_
