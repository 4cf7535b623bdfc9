// PinTable: the pinned blocks of one index shard, with their time to live and their charge on the namespace's
// pinned bytes.
//
// Called by Index and the store under the index shard's lock. Not thread-safe.
//
//   if (!pins.Pin(entry, now + ttl, quota)) return absl::ResourceExhaustedError("pin quota");
//   pins.Unpin(entry);   // also before the entry goes
#ifndef KVCOMPD_SERVER_STORE_PIN_TABLE_H_
#define KVCOMPD_SERVER_STORE_PIN_TABLE_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "server/store/block_table.h"

namespace kvcompd::server {

class PinTable {
 public:
  // A block that is pinned already gets the new time. False: the namespace's pinned bytes would exceed quota.
  bool Pin(BlockEntry* entry, int64_t expires_us, uint64_t quota_bytes);
  // A shard was added to the block. It is charged whatever the quota, because it cannot be left out.
  void Grow(BlockEntry* entry, uint64_t charged_bytes);
  bool Unpin(BlockEntry* entry);  // false: was not pinned
  size_t Expire(int64_t now_us);  // how many
  size_t size() const { return pins_.size(); }

 private:
  struct PinRecord {
    int64_t expires_us;
    uint64_t bytes;
  };
  absl::flat_hash_map<BlockEntry*, PinRecord> pins_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_PIN_TABLE_H_
