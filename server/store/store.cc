#include "server/store/store.h"

#include <bit>
#include <utility>

#include "server/store/random_id.h"
#include "server/store/store_impl.h"

namespace kvcompd::server {
namespace {

constexpr uint32_t kMaxIndexShards = 65'536;

uint64_t Part(double fraction, uint64_t bytes) {
  return static_cast<uint64_t>(fraction * static_cast<double>(bytes));
}

bool IsFraction(double v) { return v >= 0 && v <= 1; }

LeaseTable::Options LeaseOptions(const Store::Options& options) {
  return {.default_ms = options.default_lease_ms,
          .max_ms = options.max_lease_ms,
          .max_leases = options.max_leases,
          .tenant_quota_bytes = Part(options.lease_quota_fraction, options.host.capacity_bytes)};
}

prometheus::Counter* Refused(Metrics* metrics, const char* reason) {
  return &metrics->Counter("kvcompd_put_refused_total", "Shards refused at the start of a put",
                           {{"reason", reason}});
}

prometheus::Counter* RefusedTail(Metrics* metrics, const char* reason) {
  return &metrics->Counter("kvcompd_tail_refused_total", "Open tails that got no memory",
                           {{"reason", reason}});
}

prometheus::Counter* Dropped(Metrics* metrics, const char* reason) {
  return &metrics->Counter("kvcompd_put_dropped_total", "Shards wanted that can no longer be committed",
                           {{"reason", reason}});
}

}  // namespace

absl::Status Store::Options::Validate() const {
  absl::Status arena = host.Validate();
  if (!arena.ok()) return arena;
  if (!std::has_single_bit(index_shards) || index_shards > kMaxIndexShards) {
    return absl::InvalidArgumentError("index_shards is not a power of two up to 65536");
  }
  if (!IsFraction(unstored_fraction) || !IsFraction(all_unstored_fraction)) {
    return absl::InvalidArgumentError("unstored_fraction and all_unstored_fraction must be 0 to 1");
  }
  if (!IsFraction(low_watermark) || !IsFraction(high_watermark) || low_watermark > high_watermark) {
    return absl::InvalidArgumentError("watermarks must be 0 <= low <= high <= 1");
  }
  if (!IsFraction(pin_quota_fraction) || !IsFraction(lease_quota_fraction)) {
    return absl::InvalidArgumentError("pin_quota_fraction and lease_quota_fraction must be in 0 to 1");
  }
  if (lease_quota_fraction == 0) {
    return absl::InvalidArgumentError("lease_quota_fraction is 0, and reads need some of it");
  }
  if (default_lease_ms == 0 || default_lease_ms > max_lease_ms) {
    return absl::InvalidArgumentError("default_lease_ms must be in 1 to max_lease_ms");
  }
  if (max_pin_ms == 0 || orphan_timeout_ms == 0 || max_namespaces == 0 || watch_queue_events == 0) {
    return absl::InvalidArgumentError(
        "max_pin_ms, orphan_timeout_ms, max_namespaces and watch_queue_events must not be 0");
  }
  return absl::OkStatus();
}

std::shared_ptr<const std::string> TextPool::Intern(const std::string& text) {
  MutexLock lock(&mutex_);
  std::weak_ptr<const std::string>& known = texts_[text];
  std::shared_ptr<const std::string> shared = known.lock();
  if (shared == nullptr) {
    shared = std::make_shared<const std::string>(text);
    known = shared;
  }
  if (texts_.size() >= kSweepAt) {
    for (auto it = texts_.begin(); it != texts_.end();) {
      auto text_it = it++;
      if (text_it->second.expired()) texts_.erase(text_it);
    }
  }
  return shared;
}

Store::Impl::Impl(const Options& o, const Clock* c, Metrics* metrics)
    : options(o),
      clock(c),
      epoch(o.epoch.value_or(RandomNonZero64())),
      arena(o.host),
      namespaces(o.max_namespaces, metrics),
      watch(o.watch_queue_events),
      index(o.index_shards, epoch, c, &watch, metrics),
      evictor(&index, metrics),
      slots(&arena, &evictor, &namespaces.unstored_bytes(),
            {.high_bytes = Part(o.high_watermark, arena.capacity_bytes()),
             .low_bytes = Part(o.low_watermark, arena.capacity_bytes()),
             .namespace_unstored_bytes = Part(o.unstored_fraction, arena.capacity_bytes()),
             .all_unstored_bytes = Part(o.all_unstored_fraction, arena.capacity_bytes())}),
      leases(LeaseOptions(o), c, metrics),
      refused_quota(Refused(metrics, "quota")),
      refused_memory(Refused(metrics, "memory")),
      refused_malformed(Refused(metrics, "malformed")),
      dropped_timeout(Dropped(metrics, "timeout")),
      dropped_taken_over(Dropped(metrics, "taken_over")),
      dropped_flushed(Dropped(metrics, "deleted")),
      dropped_uncommitted(Dropped(metrics, "uncommitted")),
      committed_shards(&metrics->Counter("kvcompd_shards_committed_total", "Shards that became visible")),
      duplicate_shards(&metrics->Counter("kvcompd_shards_duplicate_total",
                                         "Shards committed after another commit of them, and dropped")),
      refused_tails_quota(RefusedTail(metrics, "quota")),
      refused_tails_memory(RefusedTail(metrics, "memory")),
      refused_pins(&metrics->Counter("kvcompd_pin_refused_total", "Blocks asked for and not pinned",
                                     {{"reason", "quota"}})),
      expired_pins(&metrics->Counter("kvcompd_pins_expired_total", "Pins that ended by their TTL")),
      used_bytes(&metrics->Gauge("kvcompd_host_used_bytes", "Host memory in slots")),
      staged_bytes(&metrics->Gauge("kvcompd_host_staged_bytes", "Host memory of puts under way")),
      tail_bytes(&metrics->Gauge("kvcompd_host_tail_bytes", "Host memory of open sequence tails")),
      encoded_bytes(&metrics->Gauge("kvcompd_stored_encoded_bytes", "Containers of visible blocks")),
      raw_bytes(&metrics->Gauge("kvcompd_stored_raw_bytes", "What visible blocks decode to")),
      blocks(&metrics->Gauge("kvcompd_stored_blocks", "Visible blocks")),
      leases_held(&metrics->Gauge("kvcompd_leases", "Leases held")) {}

PutReply Store::Impl::Refuse(absl::Status status, Reason reason) {
  if (reason == Reason::kQuota) {
    refused_quota->Increment();
  } else if (reason == Reason::kMemory) {
    refused_memory->Increment();
  } else {
    refused_malformed->Increment();
  }
  PutReply reply;
  reply.verdict = PutVerdict::kRefused;
  reply.status = std::move(status);
  reply.reason = reason;
  return reply;
}

Store::Store(const Options& options, const Clock* clock, Metrics* metrics)
    : impl_(std::make_unique<Impl>(options, clock, metrics)) {}
Store::~Store() = default;

uint64_t Store::epoch() const { return impl_->epoch; }
const Store::Options& Store::options() const { return impl_->options; }
WatchHub& Store::watch() { return impl_->watch; }

absl::StatusOr<Store::OpenReply> Store::OpenNamespace(const std::string& tenant, const std::string& name,
                                                      const std::optional<ModelDescriptor>& descriptor,
                                                      const NamespacePolicy& policy) {
  absl::StatusOr<NamespaceTable::Opened> opened = impl_->namespaces.Open(tenant, name, descriptor, policy);
  if (!opened.ok()) return opened.status();
  return OpenReply{std::move(opened->ns), opened->created};
}

std::shared_ptr<Namespace> Store::FindNamespace(std::string_view id) const {
  return impl_->namespaces.Find(id);
}

std::vector<std::shared_ptr<Namespace>> Store::ListNamespaces() const { return impl_->namespaces.List(); }

std::optional<BlockSnapshot> Store::Lookup(const std::shared_ptr<Namespace>& ns, const BlockKey& key) {
  IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
  MutexLock lock(&shard.mutex);
  BlockEntry* entry = shard.blocks.Find(ns.get(), key);
  if (entry == nullptr) return std::nullopt;
  impl_->index.Touch(&shard, entry);
  return entry->Snapshot(impl_->epoch);
}

MatchReply Store::Match(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys,
                        const MatchOptions& options) {
  MatchReply reply;
  for (const BlockKey& key : keys) {
    IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
    MutexLock lock(&shard.mutex);
    BlockEntry* entry = shard.blocks.Find(ns.get(), key);
    if (entry == nullptr || !entry->complete) break;
    BlockSnapshot snapshot = entry->Snapshot(impl_->epoch);
    // A block keeps its bound as a float, so the limit is rounded the same way: 0.05 admits 0.05f.
    if (options.max_error && snapshot.error_bound() > static_cast<float>(*options.max_error)) break;
    impl_->index.Touch(&shard, entry);
    reply.blocks.push_back(std::move(snapshot));  // from here on the evictor passes the block by
  }
  if (!options.lease) return reply;
  LeaseTable::Grant grant = impl_->leases.Add(*ns, reply.blocks, options.lease_ms);
  reply.blocks.resize(grant.blocks);
  reply.lease_id = std::move(grant.id);
  reply.lease_ms = grant.ttl_ms;
  return reply;
}

bool Store::Exists(const std::shared_ptr<Namespace>& ns, const BlockKey& key, const ShardRange& wanted) {
  IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
  MutexLock lock(&shard.mutex);
  const BlockEntry* entry = shard.blocks.Find(ns.get(), key);
  if (entry == nullptr) return false;
  return wanted.head_count == 0 ? entry->complete : entry->CoversRange(wanted);
}

absl::StatusOr<BlockSnapshot> Store::Read(const std::shared_ptr<Namespace>& ns, const BlockKey& key) {
  std::optional<BlockSnapshot> snapshot = Lookup(ns, key);
  if (!snapshot.has_value()) return absl::NotFoundError("the block is not stored");
  return impl_->leases.BeginRead(*ns, *std::move(snapshot));
}

std::vector<Event> Store::SnapshotEvents(const std::shared_ptr<Namespace>& ns, uint32_t part) {
  std::vector<Event> events;
  if (part >= snapshot_parts()) return events;
  IndexShard& shard = *impl_->index.shards()[part];
  MutexLock lock(&shard.mutex);
  shard.blocks.ForEachOf(ns.get(), [&](const BlockEntry* entry) {
    if (!entry->complete) return;
    events.push_back({.kind = Event::Kind::kStored,
                      .key = entry->key_copy(),
                      .parent = entry->parent_copy(),
                      .generation = {impl_->epoch, entry->generation},
                      .tokens = entry->tokens});
  });
  return events;
}

uint32_t Store::snapshot_parts() const { return static_cast<uint32_t>(impl_->index.shards().size()); }

void Store::Tick() {
  const int64_t now = impl_->clock->NowUs();
  const int64_t cutoff = now - int64_t{impl_->options.orphan_timeout_ms} * 1000 - claim_touch_us();
  size_t orphans = 0;
  size_t pins = 0;
  for (const auto& shard : impl_->index.shards()) {
    MutexLock lock(&shard->mutex);
    orphans += shard->claims.DropUntouchedSince(cutoff);
    pins += shard->pins.Expire(now);
  }
  impl_->dropped_timeout->Increment(static_cast<double>(orphans));
  impl_->expired_pins->Increment(static_cast<double>(pins));
  impl_->leases.DropExpired();
  impl_->slots.KeepWatermark(0);

  const Stats now_held = stats();
  impl_->used_bytes->Set(static_cast<double>(now_held.host.used_bytes));
  impl_->staged_bytes->Set(static_cast<double>(now_held.staged_bytes));
  impl_->tail_bytes->Set(static_cast<double>(now_held.tail_bytes));
  impl_->encoded_bytes->Set(static_cast<double>(now_held.encoded_bytes));
  impl_->raw_bytes->Set(static_cast<double>(now_held.raw_bytes));
  impl_->blocks->Set(static_cast<double>(now_held.blocks));
  impl_->leases_held->Set(static_cast<double>(now_held.leases));
}

Store::Stats Store::stats() const {
  Stats stats;
  stats.host = impl_->arena.stats();
  for (const auto& ns : impl_->namespaces.List()) {
    const Namespace::Account& account = ns->account();
    stats.stored_bytes += account.stored_bytes;
    stats.staged_bytes += account.staged_bytes;
    stats.tail_bytes += account.tail_bytes;
    stats.blocks += account.blocks;
    stats.encoded_bytes += account.encoded_bytes;
    stats.raw_bytes += account.raw_bytes;
  }
  stats.leases = impl_->leases.size();
  stats.reads = impl_->leases.reads();
  for (const auto& shard : impl_->index.shards()) {
    MutexLock lock(&shard->mutex);
    stats.pins += shard->pins.size();
  }
  return stats;
}

}  // namespace kvcompd::server
