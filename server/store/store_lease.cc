// Store's leases and pins.
#include <algorithm>
#include <utility>

#include "server/store/store.h"
#include "server/store/store_impl.h"

namespace kvcompd::server {
namespace {

absl::Status NotStored() { return absl::NotFoundError("the block is not stored"); }

}  // namespace

Store::LeaseReply Store::Lease(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys,
                               uint32_t ttl_ms) {
  LeaseReply reply;
  std::vector<BlockSnapshot> found;
  std::vector<size_t> found_at;  // [found], index into keys
  for (size_t i = 0; i < keys.size(); ++i) {
    std::optional<BlockSnapshot> snapshot = Lookup(ns, keys[i]);
    reply.blocks.push_back(snapshot ? absl::OkStatus() : NotStored());
    if (!snapshot) continue;
    found.push_back(*std::move(snapshot));
    found_at.push_back(i);
  }
  LeaseTable::Grant grant = impl_->leases.Add(*ns, found, ttl_ms);
  for (size_t i = grant.blocks; i < found.size(); ++i) {
    reply.blocks[found_at[i]] = absl::ResourceExhaustedError(
        "the tenant leases and reads as much as it may, or there are too many leases; release some");
  }
  reply.lease_id = std::move(grant.id);
  reply.ttl_ms = grant.ttl_ms;
  return reply;
}

absl::StatusOr<uint32_t> Store::RenewLease(const std::shared_ptr<Namespace>& ns, const std::string& lease_id,
                                           uint32_t ttl_ms) {
  return impl_->leases.Renew(*ns, lease_id, ttl_ms);
}

absl::Status Store::CheckLease(const std::shared_ptr<Namespace>& ns, const std::string& lease_id) {
  return impl_->leases.Check(*ns, lease_id);
}

bool Store::Release(const std::shared_ptr<Namespace>& ns, const std::string& lease_id) {
  return impl_->leases.Release(*ns, lease_id);
}

std::vector<absl::Status> Store::Pin(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys,
                                     uint32_t ttl_ms) {
  const uint32_t ttl = std::min(ttl_ms == 0 ? impl_->options.max_pin_ms : ttl_ms, impl_->options.max_pin_ms);
  const int64_t expires_us = impl_->clock->NowUs() + int64_t{ttl} * 1000;
  uint64_t quota = static_cast<uint64_t>(impl_->options.pin_quota_fraction *
                                         static_cast<double>(impl_->arena.capacity_bytes()));
  if (const uint64_t asked = ns->pin_quota_bytes(); asked != 0) quota = std::min(quota, asked);
  std::vector<absl::Status> statuses;
  for (const BlockKey& key : keys) {
    IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
    MutexLock lock(&shard.mutex);
    BlockEntry* entry = shard.blocks.Find(ns.get(), key);
    if (entry == nullptr) {
      statuses.push_back(NotStored());
    } else if (!shard.pins.Pin(entry, expires_us, quota)) {
      impl_->refused_pins->Increment();
      statuses.push_back(
          absl::ResourceExhaustedError("the namespace's pin quota is used up; unpin other blocks first"));
    } else {
      statuses.push_back(absl::OkStatus());
    }
  }
  return statuses;
}

std::vector<bool> Store::Unpin(const std::shared_ptr<Namespace>& ns, std::span<const BlockKey> keys) {
  std::vector<bool> unpinned;
  for (const BlockKey& key : keys) {
    IndexShard& shard = impl_->index.ShardOf(ns.get(), key);
    MutexLock lock(&shard.mutex);
    BlockEntry* entry = shard.blocks.Find(ns.get(), key);
    unpinned.push_back(entry != nullptr && shard.pins.Unpin(entry));
  }
  return unpinned;
}

}  // namespace kvcompd::server
