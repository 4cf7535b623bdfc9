// BlockTable: the blocks of one index shard: a hash table over (namespace, key) with two intrusive lists in
// order of last use, of all blocks and of each namespace's.
//
// Called by Index and the store under the index shard's lock. Not thread-safe, but for *oldest_tick.
//
//   BlockTable table(&oldest_tick);
//   auto entry = std::make_unique<BlockEntry>(ns, key, parent, generation, tokens);
//   table.Insert(std::move(entry), tick, now);
//   if (BlockEntry* found = table.Find(ns, key)) table.Touch(found, tick, now);
#ifndef KVCOMPD_SERVER_STORE_BLOCK_TABLE_H_
#define KVCOMPD_SERVER_STORE_BLOCK_TABLE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/hash/hash.h"
#include "codec/base/types.h"
#include "server/store/block.h"
#include "server/store/namespace.h"

namespace kvcompd::server {

struct BlockEntry;

// Links of one list; null at its ends.
struct LruLinks {
  BlockEntry* newer = nullptr;
  BlockEntry* older = nullptr;
};

// One block. Kept small: 104 bytes, and one allocation for key and parent at their own lengths.
struct BlockEntry {
  BlockEntry(Namespace* ns, const BlockKey& key, const BlockKey& parent, uint64_t generation,
             uint32_t tokens);

  Namespace* const ns;
  const std::unique_ptr<char[]> key_bytes;  // key, then parent
  const uint64_t generation;                // Generation::counter
  uint64_t tick = 0;                        // order of last use, over all index shards
  int64_t used_us = 0;                      // time of last use
  LruLinks in_shard;
  LruLinks in_namespace;
  absl::InlinedVector<std::shared_ptr<const StoredShard>, 1> shards;  // by commit; most blocks have one
  const uint16_t tokens;
  const uint8_t key_size;
  const uint8_t parent_size;
  bool complete = false;  // its shards cover all heads and layers of the required groups
  bool pinned = false;    // in the shard's PinTable

  std::string_view key() const { return {key_bytes.get(), key_size}; }
  std::string_view parent() const { return {key_bytes.get() + key_size, parent_size}; }
  BlockKey key_copy() const;
  BlockKey parent_copy() const;
  // A reader or a lease holds one of its shards. New references are made only under the index shard's lock,
  // so a false here stays false while that is held.
  bool being_read() const;
  bool CoversRange(const ShardRange& wanted) const;
  bool CoversAll() const;
  uint64_t encoded_bytes() const;
  uint64_t charged_bytes() const;
  uint64_t raw_bytes() const;
  BlockSnapshot Snapshot(uint64_t epoch) const;
};

// A list in order of last use, by one of the two links.
template <LruLinks BlockEntry::*kLinks>
class LruList {
 public:
  void PushNewest(BlockEntry* entry) {
    (entry->*kLinks) = {nullptr, newest_};
    (newest_ != nullptr ? (newest_->*kLinks).newer : oldest_) = entry;
    newest_ = entry;
  }
  void Remove(BlockEntry* entry) {
    const LruLinks links = entry->*kLinks;
    (links.newer != nullptr ? (links.newer->*kLinks).older : newest_) = links.older;
    (links.older != nullptr ? (links.older->*kLinks).newer : oldest_) = links.newer;
    (entry->*kLinks) = {};
  }
  BlockEntry* oldest() const { return oldest_; }
  static BlockEntry* NewerThan(const BlockEntry* entry) { return (entry->*kLinks).newer; }

 private:
  BlockEntry* newest_ = nullptr;
  BlockEntry* oldest_ = nullptr;
};

class BlockTable {
 public:
  static constexpr uint64_t kNoTick = UINT64_MAX;

  // Keeps *oldest_tick at the tick of the block used longest ago, kNoTick where there is none.
  explicit BlockTable(std::atomic<uint64_t>* oldest_tick);

  BlockEntry* Find(const Namespace* ns, const BlockKey& key) const;  // null where there is none
  // There must be none with its namespace and key.
  BlockEntry* Insert(std::unique_ptr<BlockEntry> entry, uint64_t tick, int64_t now_us);
  std::unique_ptr<BlockEntry> Remove(BlockEntry* entry);
  // `tick` is larger than any before.
  void Touch(BlockEntry* entry, uint64_t tick, int64_t now_us);
  BlockEntry* Oldest() const { return all_.oldest(); }
  BlockEntry* OldestOf(const Namespace* ns) const;
  size_t size() const { return blocks_.size(); }

  // fn(BlockEntry*), oldest first; it may remove the entry it is given.
  template <typename Fn>
  void ForEach(Fn fn) {
    for (BlockEntry* entry = all_.oldest(); entry != nullptr;) {
      BlockEntry* next = All::NewerThan(entry);
      fn(entry);
      entry = next;
    }
  }
  template <typename Fn>
  void ForEachOf(const Namespace* ns, Fn fn) {
    for (BlockEntry* entry = OldestOf(ns); entry != nullptr;) {
      BlockEntry* next = OfNamespace::NewerThan(entry);
      fn(entry);
      entry = next;
    }
  }

 private:
  using Ref = std::pair<const Namespace*, std::string_view>;
  static Ref RefOf(const BlockEntry& entry) { return {entry.ns, entry.key()}; }
  static Ref RefOf(const std::unique_ptr<BlockEntry>& entry) { return RefOf(*entry); }
  static Ref RefOf(const Ref& ref) { return ref; }
  struct Hash {
    using is_transparent = void;
    template <typename T>
    size_t operator()(const T& v) const {
      const Ref ref = RefOf(v);
      return absl::HashOf(ref.first, ToAbsl(ref.second));
    }
  };
  struct Equal {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return RefOf(a) == RefOf(b);
    }
  };
  using All = LruList<&BlockEntry::in_shard>;
  using OfNamespace = LruList<&BlockEntry::in_namespace>;

  void PublishOldest();

  absl::flat_hash_set<std::unique_ptr<BlockEntry>, Hash, Equal> blocks_;
  All all_;
  absl::flat_hash_map<const Namespace*, OfNamespace> by_namespace_;  // only those that have blocks
  std::atomic<uint64_t>* const oldest_tick_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_BLOCK_TABLE_H_
