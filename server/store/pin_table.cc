#include "server/store/pin_table.h"

namespace kvcompd::server {

bool PinTable::Pin(BlockEntry* entry, int64_t expires_us, uint64_t quota_bytes) {
  auto it = pins_.find(entry);
  if (it != pins_.end()) {
    it->second.expires_us = expires_us;
    return true;
  }
  const uint64_t bytes = entry->charged_bytes();
  std::atomic<uint64_t>& pinned = entry->ns->account().pinned_bytes;
  // Index shards pin at the same time, so charge first and look then.
  if (pinned.fetch_add(bytes) + bytes > quota_bytes) {
    pinned -= bytes;
    return false;
  }
  pins_.emplace(entry, PinRecord{expires_us, bytes});
  entry->pinned = true;
  return true;
}

void PinTable::Grow(BlockEntry* entry, uint64_t charged_bytes) {
  auto it = pins_.find(entry);
  if (it == pins_.end()) return;
  it->second.bytes += charged_bytes;
  entry->ns->account().pinned_bytes += charged_bytes;
}

bool PinTable::Unpin(BlockEntry* entry) {
  auto it = pins_.find(entry);
  if (it == pins_.end()) return false;
  entry->ns->account().pinned_bytes -= it->second.bytes;
  entry->pinned = false;
  pins_.erase(it);
  return true;
}

size_t PinTable::Expire(int64_t now_us) {
  size_t expired = 0;
  for (auto it = pins_.begin(); it != pins_.end();) {
    auto pin = it++;
    if (pin->second.expires_us > now_us) continue;
    Unpin(pin->first);
    ++expired;
  }
  return expired;
}

}  // namespace kvcompd::server
