// What the store keeps of a block: immutable shards (encoded containers in slots) and the block over them.
//
// Shards are shared: the index holds one reference, every reader and lease holds its own, and the slot is
// free when the last one goes. A reader therefore never sees memory that was reused, and a shard that only
// the index holds is one that nobody reads.
//
//   if (auto snapshot = store.Lookup(ns, key)) {
//     for (const auto& shard : snapshot->shards) Send(shard->container());
//   }
#ifndef KVCOMPD_SERVER_STORE_BLOCK_H_
#define KVCOMPD_SERVER_STORE_BLOCK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/base/types.h"
#include "codec/codebook.h"
#include "server/store/charged_slot.h"

namespace kvcompd::server {

// One committed container. Immutable; its slot stays charged as stored until the last reference goes.
struct StoredShard {
  ShardRange range;  // resolved
  float error_bound = 0;
  uint64_t raw_bytes = 0;
  ChargedSlot slot;                                     // the container's bytes
  std::shared_ptr<const std::string> profile;           // canonical text
  std::shared_ptr<const codec::CodebookSet> codebooks;  // null where the codec has none

  ByteSpan container() const { return slot.bytes(); }
};

// A reader's view of a block at one moment: keeps its shards' memory, nothing else. A plain value.
struct BlockSnapshot {
  BlockKey key;  // as stored
  BlockKey parent;
  Generation generation;
  uint32_t tokens = 0;
  bool complete = false;
  std::vector<std::shared_ptr<const StoredShard>> shards;  // by commit

  uint64_t encoded_bytes() const;
  uint64_t charged_bytes() const;
  uint64_t raw_bytes() const;
  float error_bound() const;  // the largest
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_BLOCK_H_
