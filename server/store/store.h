// Store: the cache itself. Index, slots, eviction, leases, pins, quotas, watchers. It keeps encoded
// containers and never looks inside them; encoding and verifying are the service's.
//
// Called by the service and by SequenceTable. Thread-safe; no call blocks on I/O or codec work. Time comes
// from the injected clock; Tick() does what is due (orphans, leases, pins, watermark) and is called by a
// timer thread, or by tests. Stagings, snapshots and tails must be gone before the store is.
//
//   auto put = store.BeginPut(ns, {.key = key, .shard = range, .tokens = 64, .bound_bytes = n});
//   Encode(put.staging->memory());                                // where put.verdict is kWanted
//   auto done = store.Commit(std::move(put.staging), {...});
//   if (auto snap = store.Lookup(ns, key)) Serve(snap->shards);
//
// Statuses: RESOURCE_EXHAUSTED quota or memory, NOT_FOUND, FAILED_PRECONDITION expired lease or namespace
// mismatch, ABORTED stale generation. Each refusal also bumps a counter with its reason.
#ifndef KVCOMPD_SERVER_STORE_STORE_H_
#define KVCOMPD_SERVER_STORE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/clock.h"
#include "codec/base/types.h"
#include "server/ops/metrics.h"
#include "server/store/block.h"
#include "server/store/charged_slot.h"
#include "server/store/namespace.h"
#include "server/store/reason.h"
#include "server/store/slab_arena.h"
#include "server/store/watch_hub.h"

namespace kvcompd::server {

class Store;

enum class PutVerdict { kWanted, kAlreadyStored, kInProgress, kRefused };

// A put's right to commit a shard, for whoever keeps it alive. Thread-safe, copyable; must not outlive the
// store.
class PutClaim {
 public:
  PutClaim() = default;
  // The orphan timeout counts from the last Touch. False: it has ended by its commit, or was reaped, taken
  // over or flushed.
  bool Touch() const;

 private:
  friend class Store;
  friend class ShardStaging;
  Store* store_ = nullptr;
  std::shared_ptr<Namespace> ns_;
  BlockKey key_;
  uint64_t number_ = 0;
};

// One shard on its way in. Its slot is counted as staged. Owned by one put; the memory may be written by any
// one thread at a time. Dropping it without Commit frees the slot and the claim.
class ShardStaging {
 public:
  ~ShardStaging();
  ShardStaging(const ShardStaging&) = delete;
  ShardStaging& operator=(const ShardStaging&) = delete;
  MutableByteSpan memory() const { return slot_.bytes(); }  // bound_bytes long
  // Without it the memory stays valid until the destructor, but Commit will fail.
  const PutClaim& claim() const { return claim_; }

 private:
  friend class Store;
  ShardStaging() = default;
  PutClaim claim_;
  BlockKey parent_;
  ShardRange shard_;
  uint32_t tokens_ = 0;
  bool ended_ = false;  // by Commit
  ChargedSlot slot_;
};

struct PutRequestInfo {
  BlockKey key;      // as stored, the salt mixed in
  BlockKey parent;   // may be empty
  ShardRange shard;  // resolved
  uint32_t tokens = 0;
  uint64_t bound_bytes = 0;  // the container will not be longer
  std::string put_id;        // the same id takes over its own unfinished claim
  // Only look whether it is stored or in progress; a block that is neither is kRefused, and nothing is
  // claimed.
  bool probe = false;
};

struct PutReply {
  PutVerdict verdict = PutVerdict::kRefused;
  absl::Status status;  // kRefused
  Reason reason = Reason::kNone;
  Generation generation;  // kAlreadyStored; so are the sizes, of all of the block's shards
  uint64_t encoded_bytes = 0;
  uint64_t raw_bytes = 0;
  bool no_room = false;                   // kRefused, for want of quota or memory
  std::unique_ptr<ShardStaging> staging;  // kWanted
};

struct CommitInfo {
  uint64_t bytes = 0;  // of the container
  uint64_t raw_bytes = 0;
  float error_bound = 0;
  std::string profile;
  std::shared_ptr<const codec::CodebookSet> codebooks;
};

struct CommitReply {
  Generation generation;
  bool already_stored = false;  // another commit of this shard was first; this one's bytes are dropped
};

struct MatchOptions {
  bool lease = false;
  uint32_t lease_ms = 0;            // 0: default
  std::optional<double> max_error;  // a block with a larger bound ends the prefix
};
struct MatchReply {
  std::vector<BlockSnapshot> blocks;
  std::string lease_id;
  uint32_t lease_ms = 0;
};

class Store {
 public:
  struct Options {
    SlabArena::Options host;
    uint32_t index_shards = 64;    // power of two
    double high_watermark = 0.95;  // of capacity; eviction runs above it
    double low_watermark = 0.90;   // down to this
    uint32_t default_lease_ms = 10'000;
    uint32_t max_lease_ms = 600'000;
    uint32_t max_pin_ms = 86'400'000;     // also of a pin without a TTL
    double unstored_fraction = 0.5;       // of capacity, staged and open tails of one namespace
    double all_unstored_fraction = 0.75;  // the same of all namespaces together
    double pin_quota_fraction = 0.25;     // of capacity, per namespace; its policy may ask for less
    double lease_quota_fraction = 0.5;    // of capacity, leased and being read, per tenant
    uint32_t orphan_timeout_ms = 30'000;
    uint32_t max_namespaces = 4096;
    uint32_t max_leases = 65'536;
    uint32_t watch_queue_events = 4096;  // per watcher; the oldest are dropped and counted
    std::optional<uint64_t> epoch;       // tests; else random, not 0
    absl::Status Validate() const;
  };
  Store(const Options& options, const Clock* clock, Metrics* metrics);
  ~Store();

  uint64_t epoch() const;
  const Options& options() const;

  // ---- namespaces
  struct OpenReply {
    std::shared_ptr<Namespace> ns;
    bool created = false;
  };
  // Attaches or registers. FAILED_PRECONDITION: the name stands for another descriptor (differing fields in
  // the text); RESOURCE_EXHAUSTED: max_namespaces; NOT_FOUND: no descriptor and no such name.
  absl::StatusOr<OpenReply> OpenNamespace(const std::string& tenant, const std::string& name,
                                          const std::optional<ModelDescriptor>& descriptor,
                                          const NamespacePolicy& policy);
  std::shared_ptr<Namespace> FindNamespace(std::string_view id) const;  // null where unknown
  std::vector<std::shared_ptr<Namespace>> ListNamespaces() const;

  // ---- put
  // Who touches a claim so often never loses it to the orphan timeout.
  int64_t claim_touch_us() const { return int64_t{options().orphan_timeout_ms} * 1000 / 8; }
  PutReply BeginPut(const std::shared_ptr<Namespace>& ns, const PutRequestInfo& info);
  // ABORTED: the staging was reaped, taken over, or the namespace flushed meanwhile. INVALID_ARGUMENT: more
  // bytes than asked for. FAILED_PRECONDITION: another number of tokens than the block has by now. The
  // staging is gone in any case.
  absl::StatusOr<CommitReply> Commit(std::unique_ptr<ShardStaging> staging, const CommitInfo& info);

  // ---- read
  // A visible block, complete or not; counts as use. Null where there is none. While the snapshot lives the
  // block is not evicted.
  std::optional<BlockSnapshot> Lookup(const std::shared_ptr<Namespace>& ns, const BlockKey& key);
  // The same for a reader of unknown speed: what it holds counts against the tenant's lease quota until the
  // last copy of each shard is gone. NOT_FOUND; RESOURCE_EXHAUSTED: over that quota.
  absl::StatusOr<BlockSnapshot> Read(const std::shared_ptr<Namespace>& ns, const BlockKey& key);
  // The longest prefix of complete blocks within max_error; with `lease` only so many as the tenant's lease
  // quota allows, and what is answered cannot be evicted before the lease stands.
  MatchReply Match(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys,
                   const MatchOptions& options);
  // Whether heads x layers of `shard` are there; an empty shard (head_count 0) asks for the complete block.
  bool Exists(const std::shared_ptr<Namespace>& ns, const BlockKey& key, const ShardRange& shard);

  // ---- remove
  bool Delete(const std::shared_ptr<Namespace>& ns, const BlockKey& key);
  // Takes a block that did not verify out of sight. No-op where the generation is another by now.
  void Quarantine(const std::shared_ptr<Namespace>& ns, const BlockKey& key, Generation generation,
                  Reason reason);
  struct Removed {
    uint64_t blocks = 0;
    uint64_t encoded_bytes = 0;
  };
  Removed Flush(const std::shared_ptr<Namespace>& ns);
  // Unleased and unpinned blocks: those used longest ago, until no more than target_bytes of the arena are in
  // use, and all that were not used for an age.
  Removed Trim(std::optional<uint64_t> target_bytes, std::optional<uint64_t> older_than_ms);

  // ---- leases and pins
  struct LeaseReply {
    std::string lease_id;  // empty where nothing was leased
    uint32_t ttl_ms = 0;
    std::vector<absl::Status> blocks;
  };
  LeaseReply Lease(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys, uint32_t ttl_ms);
  absl::StatusOr<uint32_t> RenewLease(const std::shared_ptr<Namespace>& ns, const std::string& lease_id,
                                      uint32_t ttl_ms);  // FAILED_PRECONDITION: expired or unknown
  // FAILED_PRECONDITION: expired or unknown.
  absl::Status CheckLease(const std::shared_ptr<Namespace>& ns, const std::string& lease_id);
  bool Release(const std::shared_ptr<Namespace>& ns, const std::string& lease_id);
  // Per key: NOT_FOUND, or RESOURCE_EXHAUSTED over the pin quota: the store's, or what the namespace's policy
  // names, if that is less. ttl_ms 0: max_pin_ms.
  std::vector<absl::Status> Pin(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys,
                                uint32_t ttl_ms);
  std::vector<bool> Unpin(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys);

  // ---- memory that is neither staged nor stored: open tails of sequences
  // RESOURCE_EXHAUSTED: *reason says quota or memory.
  absl::StatusOr<ChargedSlot> AllocateTail(const std::shared_ptr<Namespace>& ns, uint64_t bytes,
                                           Reason* reason);

  // ---- watch
  WatchHub& watch();
  // Events of what is complete now, as if just stored: part 0 to snapshot_parts() - 1 of it, none twice.
  std::vector<Event> SnapshotEvents(const std::shared_ptr<Namespace>& ns, uint32_t part);
  uint32_t snapshot_parts() const;

  // ---- upkeep
  void Tick();
  // Where no call is under way: host.used_bytes == stored_bytes + staged_bytes + tail_bytes.
  struct Stats {
    SlabArena::Stats host;
    uint64_t stored_bytes = 0;  // those of removed blocks that are still read included
    uint64_t staged_bytes = 0;
    uint64_t tail_bytes = 0;
    // Of what the index holds:
    uint64_t blocks = 0;
    uint64_t encoded_bytes = 0;
    uint64_t raw_bytes = 0;
    uint64_t leases = 0;
    uint64_t reads = 0;  // blocks that a reader still holds a part of
    uint64_t pins = 0;
  };
  Stats stats() const;

 private:
  friend class PutClaim;
  friend class ShardStaging;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_STORE_H_
