#include "server/store/lease_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/random_id.h"

namespace kvcompd::server {
namespace {

constexpr char kRefused[] = "kvcompd_lease_refused_blocks_total";
constexpr char kRefusedHelp[] = "Blocks that were asked for and not leased";

absl::Status Ended() {
  return absl::FailedPreconditionError("the lease has expired or is not known; match and lease again");
}

}  // namespace

LeaseTable::LeaseTable(const Options& options, const Clock* clock, Metrics* metrics)
    : options_(options),
      clock_(clock),
      refused_quota_(&metrics->Counter(kRefused, kRefusedHelp, {{"reason", "quota"}})),
      refused_limit_(&metrics->Counter(kRefused, kRefusedHelp, {{"reason", "limit"}})),
      expired_(&metrics->Counter("kvcompd_leases_expired_total", "Leases that ended by their TTL")) {}

uint32_t LeaseTable::TtlMs(uint32_t asked_ms) const {
  return std::min(asked_ms == 0 ? options_.default_ms : asked_ms, options_.max_ms);
}

LeaseTable::Grant LeaseTable::Add(const Namespace& ns, std::span<const BlockSnapshot> blocks,
                                  uint32_t ttl_ms) {
  Grant grant;
  if (blocks.empty()) return grant;
  Record record;
  record.ns = &ns;
  grant.ttl_ms = TtlMs(ttl_ms);
  record.expires_us = clock_->NowUs() + int64_t{grant.ttl_ms} * 1000;
  std::string id = RandomId();

  MutexLock lock(&mutex_);
  if (records_.size() >= options_.max_leases) {
    refused_limit_->Increment(static_cast<double>(blocks.size()));
    return Grant();
  }
  for (const BlockSnapshot& block : blocks) {
    if (!Hold(ns.tenant(), block.shards, /*first_is_free=*/false)) break;
    record.shards.insert(record.shards.end(), block.shards.begin(), block.shards.end());
    ++grant.blocks;
  }
  if (grant.blocks < blocks.size()) {
    refused_quota_->Increment(static_cast<double>(blocks.size() - grant.blocks));
  }
  if (grant.blocks == 0) return Grant();
  grant.id = id;
  records_.emplace(std::move(id), std::move(record));
  return grant;
}

bool LeaseTable::Hold(const std::string& tenant, std::span<const std::shared_ptr<const StoredShard>> shards,
                      bool first_is_free) {
  uint64_t bytes = 0;
  for (const auto& shard : shards) {
    if (!holders_.contains(shard.get())) bytes += shard->slot.charged_bytes();
  }
  if (bytes > 0) {
    uint64_t& held = tenant_bytes_[tenant];
    // A single block can always be read, however large.
    const bool first = first_is_free && held == 0;
    if (!first && held + bytes > options_.tenant_quota_bytes) {
      if (held == 0) tenant_bytes_.erase(tenant);
      return false;
    }
    held += bytes;
  }
  for (const auto& shard : shards) ++holders_[shard.get()];
  return true;
}

void LeaseTable::LetGo(const std::string& tenant, const Shards& shards) {
  for (const auto& shard : shards) {
    auto holder = holders_.find(shard.get());
    if (--holder->second > 0) continue;
    holders_.erase(holder);
    auto held = tenant_bytes_.find(tenant);
    held->second -= shard->slot.charged_bytes();
    if (held->second == 0) tenant_bytes_.erase(held);
  }
}

// What the shards of a block that is being read share ownership of.
class LeaseTable::Read {
 public:
  Read(LeaseTable* table, const Namespace* ns, Shards shards)
      : table_(table), ns_(ns), shards_(std::move(shards)) {}
  ~Read() {
    MutexLock lock(&table_->mutex_);
    table_->LetGo(ns_->tenant(), shards_);
    --table_->reads_;
  }  // the shards go after the lock
  const Shards& shards() const { return shards_; }

 private:
  LeaseTable* const table_;
  const Namespace* const ns_;  // stays while a slot of it is in use
  const Shards shards_;
};

absl::StatusOr<BlockSnapshot> LeaseTable::BeginRead(const Namespace& ns, BlockSnapshot block) {
  {
    MutexLock lock(&mutex_);
    if (!Hold(ns.tenant(), block.shards, /*first_is_free=*/true)) {
      refused_quota_->Increment();
      return absl::ResourceExhaustedError(
          absl::StrCat("the tenant leases and reads as much as it may, ", options_.tenant_quota_bytes,
                       " bytes; read fewer blocks at once, or release leases"));
    }
    ++reads_;
  }
  const auto read = std::make_shared<const Read>(this, &ns, std::move(block.shards));
  block.shards.clear();
  for (const auto& shard : read->shards()) block.shards.emplace_back(read, shard.get());
  return block;
}

absl::StatusOr<uint32_t> LeaseTable::Renew(const Namespace& ns, const std::string& id, uint32_t ttl_ms) {
  const uint32_t ttl = TtlMs(ttl_ms);
  const int64_t now = clock_->NowUs();
  MutexLock lock(&mutex_);
  auto it = records_.find(id);
  if (it == records_.end() || it->second.ns != &ns || it->second.expires_us <= now) return Ended();
  it->second.expires_us = now + int64_t{ttl} * 1000;
  return ttl;
}

absl::Status LeaseTable::Check(const Namespace& ns, const std::string& id) const {
  const int64_t now = clock_->NowUs();
  MutexLock lock(&mutex_);
  auto it = records_.find(id);
  if (it == records_.end() || it->second.ns != &ns || it->second.expires_us <= now) return Ended();
  return absl::OkStatus();
}

LeaseTable::Record LeaseTable::Extract(Records::iterator it) {
  Record record = std::move(it->second);
  records_.erase(it);
  LetGo(record.ns->tenant(), record.shards);
  return record;
}

bool LeaseTable::Release(const Namespace& ns, const std::string& id) {
  const int64_t now = clock_->NowUs();
  Record record;  // dropped after the lock
  MutexLock lock(&mutex_);
  auto it = records_.find(id);
  if (it == records_.end() || it->second.ns != &ns) return false;
  record = Extract(it);
  if (record.expires_us > now) return true;
  expired_->Increment();
  return false;
}

void LeaseTable::DropExpired() {
  const int64_t now = clock_->NowUs();
  std::vector<Record> dropped;  // after the lock
  MutexLock lock(&mutex_);
  for (auto it = records_.begin(); it != records_.end();) {
    auto record = it++;
    if (record->second.expires_us <= now) dropped.push_back(Extract(record));
  }
  expired_->Increment(static_cast<double>(dropped.size()));
}

size_t LeaseTable::reads() const {
  MutexLock lock(&mutex_);
  return reads_;
}

size_t LeaseTable::size() const {
  MutexLock lock(&mutex_);
  return records_.size();
}

}  // namespace kvcompd::server
