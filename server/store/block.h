// What the store keeps of a block: immutable shards (encoded containers in slots) and the block over them.
//
// Shards are shared: the index holds one reference, every reader and lease holds its own, and the slot is
// free when the last one goes. A reader therefore never sees memory that was reused.
#ifndef KVCOMPD_SERVER_STORE_BLOCK_H_
#define KVCOMPD_SERVER_STORE_BLOCK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codec/base/types.h"
#include "codec/codebook.h"
#include "server/store/slab_arena.h"

namespace kvcompd::server {

// One committed container. Immutable.
struct StoredShard {
  ShardRange range;  // resolved
  SlabArena::Slot slot;  // the container's bytes
  uint64_t raw_bytes = 0;
  float error_bound = 0;
  std::shared_ptr<const std::string> profile;  // canonical text
  std::shared_ptr<const codec::CodebookSet> codebooks;  // null where the codec has none
  // Set by the destructor's owner, so that accounts are exact: called once with charged bytes.
  std::function<void(uint64_t)> on_free;
  ~StoredShard() {
    if (on_free) on_free(slot.charged_bytes());
  }
  ByteSpan container() const { return slot.bytes(); }
};

// A reader's view of a block at one moment: keeps its shards' memory, nothing else.
struct BlockSnapshot {
  BlockKey key;  // as stored
  BlockKey parent;
  Generation generation;
  uint32_t tokens = 0;
  bool complete = false;
  std::vector<std::shared_ptr<const StoredShard>> shards;  // by commit

  uint64_t encoded_bytes() const;
  uint64_t raw_bytes() const;
  float error_bound() const;  // the largest
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_BLOCK_H_
