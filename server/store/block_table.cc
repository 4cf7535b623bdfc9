#include "server/store/block_table.h"

#include <cstring>
#include <vector>

#include "server/store/coverage.h"

namespace kvcompd::server {
namespace {

std::unique_ptr<char[]> Concatenate(std::string_view a, std::string_view b) {
  auto bytes = std::make_unique<char[]>(a.size() + b.size());
  std::memcpy(bytes.get(), a.data(), a.size());
  std::memcpy(bytes.get() + a.size(), b.data(), b.size());
  return bytes;
}

// An empty key (no parent) is no error here.
BlockKey KeyOf(std::string_view bytes) { return BlockKey::FromBytes(bytes).value_or(BlockKey()); }

std::vector<ShardRange> RangesOf(const BlockEntry& entry) {
  std::vector<ShardRange> ranges;
  ranges.reserve(entry.shards.size());
  for (const auto& shard : entry.shards) ranges.push_back(shard->range);
  return ranges;
}

}  // namespace

BlockEntry::BlockEntry(Namespace* ns, const BlockKey& key, const BlockKey& parent, uint64_t generation,
                       uint32_t tokens)
    : ns(ns),
      key_bytes(Concatenate(key.view(), parent.view())),
      generation(generation),
      tokens(static_cast<uint16_t>(tokens)),
      key_size(static_cast<uint8_t>(key.size())),
      parent_size(static_cast<uint8_t>(parent.size())) {}

BlockKey BlockEntry::key_copy() const { return KeyOf(key()); }
BlockKey BlockEntry::parent_copy() const { return KeyOf(parent()); }

bool BlockEntry::being_read() const {
  for (const auto& shard : shards) {
    if (shard.use_count() > 1) return true;
  }
  return false;
}

bool BlockEntry::CoversRange(const ShardRange& wanted) const {
  for (const auto& shard : shards) {
    if (Contains(shard->range, wanted)) return true;
  }
  return shards.size() > 1 && Covers(RangesOf(*this), wanted);
}

bool BlockEntry::CoversAll() const { return CoversBlock(ns->descriptor(), RangesOf(*this)); }

uint64_t BlockEntry::encoded_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->container().size();
  return sum;
}

uint64_t BlockEntry::charged_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->slot.charged_bytes();
  return sum;
}

uint64_t BlockEntry::raw_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->raw_bytes;
  return sum;
}

BlockSnapshot BlockEntry::Snapshot(uint64_t epoch) const {
  BlockSnapshot snapshot;
  snapshot.key = key_copy();
  snapshot.parent = parent_copy();
  snapshot.generation = {epoch, generation};
  snapshot.tokens = tokens;
  snapshot.complete = complete;
  snapshot.shards.assign(shards.begin(), shards.end());
  return snapshot;
}

BlockTable::BlockTable(std::atomic<uint64_t>* oldest_tick) : oldest_tick_(oldest_tick) { PublishOldest(); }

BlockEntry* BlockTable::Find(const Namespace* ns, const BlockKey& key) const {
  auto it = blocks_.find(Ref(ns, key.view()));
  return it == blocks_.end() ? nullptr : it->get();
}

BlockEntry* BlockTable::Insert(std::unique_ptr<BlockEntry> entry, uint64_t tick, int64_t now_us) {
  BlockEntry* const added = entry.get();
  added->tick = tick;
  added->used_us = now_us;
  blocks_.insert(std::move(entry));
  all_.PushNewest(added);
  by_namespace_[added->ns].PushNewest(added);
  PublishOldest();
  return added;
}

std::unique_ptr<BlockEntry> BlockTable::Remove(BlockEntry* entry) {
  all_.Remove(entry);
  auto of_namespace = by_namespace_.find(entry->ns);
  of_namespace->second.Remove(entry);
  if (of_namespace->second.oldest() == nullptr) by_namespace_.erase(of_namespace);
  std::unique_ptr<BlockEntry> removed = std::move(blocks_.extract(blocks_.find(RefOf(*entry))).value());
  PublishOldest();
  return removed;
}

void BlockTable::Touch(BlockEntry* entry, uint64_t tick, int64_t now_us) {
  entry->tick = tick;
  entry->used_us = now_us;
  all_.Remove(entry);
  all_.PushNewest(entry);
  OfNamespace& of_namespace = by_namespace_[entry->ns];
  of_namespace.Remove(entry);
  of_namespace.PushNewest(entry);
  PublishOldest();
}

BlockEntry* BlockTable::OldestOf(const Namespace* ns) const {
  auto it = by_namespace_.find(ns);
  return it == by_namespace_.end() ? nullptr : it->second.oldest();
}

void BlockTable::PublishOldest() {
  oldest_tick_->store(all_.oldest() == nullptr ? kNoTick : all_.oldest()->tick, std::memory_order_relaxed);
}

}  // namespace kvcompd::server
