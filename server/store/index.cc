#include "server/store/index.h"

#include <string>
#include <utility>

#include "absl/hash/hash.h"

namespace kvcompd::server {
namespace {

Event EventOf(Event::Kind kind, const BlockEntry& entry, uint64_t epoch, Reason reason) {
  Event event;
  event.kind = kind;
  event.key = entry.key_copy();
  event.parent = entry.parent_copy();
  event.generation = {epoch, entry.generation};
  event.reason = reason;
  event.tokens = entry.tokens;
  return event;
}

}  // namespace

Index::Index(uint32_t num_shards, uint64_t epoch, const Clock* clock, WatchHub* watch, Metrics* metrics)
    : mask_(num_shards - 1), epoch_(epoch), clock_(clock), watch_(watch) {
  for (uint32_t i = 0; i < num_shards; ++i) shards_.push_back(std::make_unique<IndexShard>());
  for (size_t i = 0; i < removed_.size(); ++i) {
    removed_[i] = &metrics->Counter("kvcompd_removed_total", "Blocks taken out of sight",
                                    {{"reason", std::string(ReasonName(static_cast<Reason>(i)))}});
  }
}

IndexShard& Index::ShardOf(const Namespace* ns, const BlockKey& key) const {
  // Bits that the shard's own hash table does not use at any size that fits in memory.
  return *shards_[(absl::HashOf(ns, ToAbsl(key.view())) >> 48) & mask_];
}

void Index::Touch(IndexShard* shard, BlockEntry* entry) {
  shard->blocks.Touch(entry, ++tick_, clock_->NowUs());
}

BlockEntry* Index::Insert(IndexShard* shard, std::unique_ptr<BlockEntry> entry) {
  ++entry->ns->account().blocks;
  return shard->blocks.Insert(std::move(entry), ++tick_, clock_->NowUs());
}

void Index::AddShard(IndexShard* shard, BlockEntry* entry, std::shared_ptr<const StoredShard> stored,
                     WatchHub::WakeList* wake) {
  Namespace::Account& account = entry->ns->account();
  account.encoded_bytes += stored->container().size();
  account.raw_bytes += stored->raw_bytes;
  shard->pins.Grow(entry, stored->slot.charged_bytes());
  entry->shards.push_back(std::move(stored));
  Touch(shard, entry);
  if (entry->complete || !entry->CoversAll()) return;
  entry->complete = true;
  watch_->Enqueue(entry->ns->id(), EventOf(Event::Kind::kStored, *entry, epoch_, Reason::kNone), wake);
}

void Index::Remove(IndexShard* shard, BlockEntry* entry, Reason reason, RemovedBlocks* removed) {
  const uint64_t encoded_bytes = entry->encoded_bytes();
  Namespace::Account& account = entry->ns->account();
  --account.blocks;
  account.encoded_bytes -= encoded_bytes;
  account.raw_bytes -= entry->raw_bytes();
  shard->pins.Unpin(entry);
  removed_[static_cast<size_t>(reason)]->Increment();
  if (entry->complete) {
    watch_->Enqueue(entry->ns->id(), EventOf(Event::Kind::kRemoved, *entry, epoch_, reason), &removed->wake_);
  }
  removed->entries_.push_back(shard->blocks.Remove(entry));
  ++removed->blocks_;
  removed->encoded_bytes_ += encoded_bytes;
}

}  // namespace kvcompd::server
