// LeaseTable: who keeps which blocks for how long. A lease holds references to shards, which is what keeps
// their memory and, while the block is in the index, keeps eviction away from it. A read is a lease without a
// name: it ends with the reader's last reference. Both count against the tenant's quota, each shard once,
// however many leases and readers hold it.
//
// Called by the store. Thread-safe; references are dropped outside its lock.
//
//   auto grant = leases.Add(ns, snapshots, ttl_ms);   // grant.blocks of them, the first ones
//   absl::Status valid = leases.Check(ns, grant.id);  // FAILED_PRECONDITION from the moment it ends
//   auto read = leases.BeginRead(ns, snapshot);       // RESOURCE_EXHAUSTED: over the tenant's quota
#ifndef KVCOMPD_SERVER_STORE_LEASE_TABLE_H_
#define KVCOMPD_SERVER_STORE_LEASE_TABLE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "codec/base/clock.h"
#include "codec/base/mutex.h"
#include "server/ops/metrics.h"
#include "server/store/block.h"
#include "server/store/namespace.h"

namespace kvcompd::server {

class LeaseTable {
 public:
  struct Options {
    uint32_t default_ms = 10'000;
    uint32_t max_ms = 600'000;
    uint32_t max_leases = 65'536;
    uint64_t tenant_quota_bytes = 0;  // charged bytes that one tenant's leases and reads may hold
  };
  LeaseTable(const Options& options, const Clock* clock, Metrics* metrics);

  struct Grant {
    std::string id;  // empty where nothing was leased
    uint32_t ttl_ms = 0;
    size_t blocks = 0;  // the first so many of those asked for
  };
  Grant Add(const Namespace& ns, std::span<const BlockSnapshot> blocks, uint32_t ttl_ms);
  // The same block, whose shards count as held until the last copy of each is gone. The table must outlive
  // them.
  absl::StatusOr<BlockSnapshot> BeginRead(const Namespace& ns, BlockSnapshot block);
  // The new TTL. FAILED_PRECONDITION: expired, unknown or of another namespace.
  absl::StatusOr<uint32_t> Renew(const Namespace& ns, const std::string& id, uint32_t ttl_ms);
  absl::Status Check(const Namespace& ns, const std::string& id) const;
  bool Release(const Namespace& ns, const std::string& id);  // false: it had ended
  void DropExpired();
  size_t size() const;
  size_t reads() const;  // blocks of which a reader still has a part

 private:
  using Shards = std::vector<std::shared_ptr<const StoredShard>>;
  struct Record {
    const Namespace* ns = nullptr;
    int64_t expires_us = 0;
    Shards shards;
  };
  class Read;
  using Records = absl::flat_hash_map<std::string, Record>;
  uint32_t TtlMs(uint32_t asked_ms) const;
  // False, and nothing held: the tenant's bytes would exceed the quota. first_is_free: but not where it holds
  // nothing else.
  bool Hold(const std::string& tenant, std::span<const std::shared_ptr<const StoredShard>> shards,
            bool first_is_free) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LetGo(const std::string& tenant, const Shards& shards) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes a record out and its bytes off the tenant.
  Record Extract(Records::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const Clock* const clock_;
  prometheus::Counter* const refused_quota_;
  prometheus::Counter* const refused_limit_;
  prometheus::Counter* const expired_;
  mutable Mutex mutex_;
  Records records_ ABSL_GUARDED_BY(mutex_);
  size_t reads_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<const StoredShard*, uint32_t> holders_ ABSL_GUARDED_BY(mutex_);  // leases and reads
  absl::flat_hash_map<std::string, uint64_t> tenant_bytes_ ABSL_GUARDED_BY(mutex_);    // none is 0
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_LEASE_TABLE_H_
