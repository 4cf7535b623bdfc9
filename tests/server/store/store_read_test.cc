// Reading and removing: match, lookup, delete, quarantine, flush, watch.
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

class StoreReadTest : public StoreTest {
 protected:
  std::vector<BlockKey> Keys(uint64_t first, uint64_t last) {
    std::vector<BlockKey> keys;
    for (uint64_t n = first; n <= last; ++n) keys.push_back(TestKey(n));
    return keys;
  }
  size_t Matched(const MatchOptions& options = {}) {
    return store_->Match(ns_, Keys(1, 5), options).blocks.size();
  }
};

TEST_F(StoreReadTest, MatchIsTheLongestCompletePrefix) {
  EXPECT_EQ(Matched(), 0u);
  for (uint64_t n : {1, 2, 4, 5}) ASSERT_TRUE(Put(n));
  EXPECT_EQ(Matched(), 2u);
  ASSERT_TRUE(Put(3, {.shard = {0, 0, 3, 0, 2}}));
  EXPECT_EQ(Matched(), 2u);  // not complete
  ASSERT_TRUE(Put(3, {.shard = {0, 3, 1, 0, 2}}));
  const MatchReply reply = store_->Match(ns_, Keys(1, 5), {});
  ASSERT_EQ(reply.blocks.size(), 5u);
  EXPECT_EQ(reply.blocks[2].key, TestKey(3));
  EXPECT_EQ(reply.blocks[2].encoded_bytes(), 2000u);
  EXPECT_EQ(reply.blocks[2].raw_bytes(), 8000u);
  EXPECT_TRUE(reply.lease_id.empty());
  EXPECT_EQ(store_->Match(Open("other"), Keys(1, 5), {}).blocks.size(), 0u);
}

TEST_F(StoreReadTest, ALargerErrorEndsThePrefix) {
  ASSERT_TRUE(Put(1));
  ASSERT_TRUE(Put(2, {.error_bound = 0.05f}));
  ASSERT_TRUE(Put(3, {.error_bound = 0.1f}));
  EXPECT_EQ(Matched(), 3u);
  EXPECT_EQ(Matched({.max_error = 0.1}), 3u);  // 0.1f is above 0.1 as a double
  EXPECT_EQ(Matched({.max_error = 0.05}), 2u);
  EXPECT_EQ(Matched({.max_error = 0.0}), 1u);
}

TEST_F(StoreReadTest, OptionalGroupsAreNotAskedFor) {
  ModelDescriptor model = TestModel("two groups");
  AttentionGroup extra = model.groups[0];
  extra.id = 1;
  extra.layers = {2};
  extra.optional = true;
  model.groups.push_back(extra);
  auto opened = store_->OpenNamespace("tenant", "two", model, {});
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_TRUE(Put(opened->ns, TestKey(1), {.shard = {1, 0, 4, 0, 1}}));
  EXPECT_FALSE(store_->Exists(opened->ns, TestKey(1), ShardRange()));
  ASSERT_TRUE(Put(opened->ns, TestKey(1)));
  EXPECT_TRUE(store_->Exists(opened->ns, TestKey(1), ShardRange()));
}

TEST_F(StoreReadTest, DeleteHidesAtOnceAndFreesAfterTheLastReader) {
  ASSERT_TRUE(Put(1));
  auto snapshot = store_->Lookup(ns_, TestKey(1));
  auto watcher = store_->watch().Subscribe(ns_->id(), nullptr);
  EXPECT_TRUE(store_->Delete(ns_, TestKey(1)));
  EXPECT_FALSE(store_->Delete(ns_, TestKey(1)));
  EXPECT_FALSE(Has(1));
  EXPECT_FALSE(store_->Lookup(ns_, TestKey(1)).has_value());
  EXPECT_EQ(Matched(), 0u);
  // Out of the index, but its bytes are in use, so they stay charged.
  EXPECT_EQ(store_->stats().blocks, 0u);
  EXPECT_EQ(store_->stats().encoded_bytes, 0u);
  EXPECT_EQ(store_->stats().stored_bytes, 1024u);
  ExpectBalanced();
  for (std::byte b : snapshot->shards[0]->container()) ASSERT_EQ(b, std::byte{1});
  snapshot.reset();
  ExpectEmpty();
  uint64_t lost = 0;
  const std::vector<Event> events = watcher->Take(&lost);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kRemoved);
  EXPECT_EQ(events[0].reason, Reason::kDeleted);
  EXPECT_EQ(metrics_.Value("kvcompd_removed_total", {{"reason", "deleted"}}), 1);
}

TEST_F(StoreReadTest, TheKeyMayBePutAgainWhileTheOldContentIsRead) {
  ASSERT_TRUE(Put(1, {.bytes = 100}));
  auto old = store_->Lookup(ns_, TestKey(1));
  store_->Delete(ns_, TestKey(1));
  ASSERT_TRUE(Put(1, {.bytes = 300}));
  auto now = store_->Lookup(ns_, TestKey(1));
  EXPECT_NE(now->generation, old->generation);
  EXPECT_EQ(old->shards[0]->container().size(), 100u);
  EXPECT_EQ(now->shards[0]->container().size(), 300u);
  ExpectBalanced();
}

TEST_F(StoreReadTest, RemovalOfAnIncompleteBlockIsNoEvent) {
  ASSERT_TRUE(Put(1, {.shard = {0, 0, 1, 0, 1}}));
  auto watcher = store_->watch().Subscribe(ns_->id(), nullptr);
  EXPECT_TRUE(store_->Delete(ns_, TestKey(1)));
  uint64_t lost = 0;
  EXPECT_TRUE(watcher->Take(&lost).empty());
}

TEST_F(StoreReadTest, QuarantineHitsOnlyItsGeneration) {
  ASSERT_TRUE(Put(1));
  const Generation old = store_->Lookup(ns_, TestKey(1))->generation;
  store_->Delete(ns_, TestKey(1));
  ASSERT_TRUE(Put(1));
  store_->Quarantine(ns_, TestKey(1), old, Reason::kCorrupt);
  EXPECT_TRUE(Has(1));
  const Generation now = store_->Lookup(ns_, TestKey(1))->generation;
  store_->Quarantine(ns_, TestKey(1), {now.epoch + 1, now.counter}, Reason::kCorrupt);
  EXPECT_TRUE(Has(1));
  store_->Quarantine(ns_, TestKey(1), now, Reason::kCorrupt);
  EXPECT_FALSE(Has(1));
  EXPECT_EQ(metrics_.Value("kvcompd_removed_total", {{"reason", "corrupt"}}), 1);
  ExpectEmpty();
}

TEST_F(StoreReadTest, FlushTakesOneNamespace) {
  auto other = Open("other");
  for (uint64_t n = 1; n <= 20; ++n) ASSERT_TRUE(Put(n, {.bytes = 100}));
  ASSERT_TRUE(Put(other, TestKey(1)));
  const Store::Removed removed = store_->Flush(ns_);
  EXPECT_EQ(removed.blocks, 20u);
  EXPECT_EQ(removed.encoded_bytes, 2000u);
  EXPECT_EQ(ns_->account().charged_bytes, 0u);
  EXPECT_EQ(ns_->account().blocks, 0u);
  EXPECT_TRUE(store_->Exists(other, TestKey(1), ShardRange()));
  EXPECT_EQ(store_->stats().blocks, 1u);
}

TEST_F(StoreReadTest, SnapshotEventsNameWhatIsComplete) {
  ASSERT_TRUE(Put(1, {.parent = TestKey(7)}));
  ASSERT_TRUE(Put(2));
  ASSERT_TRUE(Put(3, {.shard = {0, 0, 1, 0, 1}}));
  ASSERT_TRUE(Put(Open("other"), TestKey(4)));
  std::vector<Event> events;
  for (uint32_t part = 0; part < store_->snapshot_parts(); ++part) {
    for (Event& event : store_->SnapshotEvents(ns_, part)) events.push_back(std::move(event));
  }
  EXPECT_TRUE(store_->SnapshotEvents(ns_, store_->snapshot_parts()).empty());
  ASSERT_EQ(events.size(), 2u);
  for (const Event& event : events) {
    EXPECT_EQ(event.kind, Event::Kind::kStored);
    EXPECT_EQ(event.generation, store_->Lookup(ns_, event.key)->generation);
    EXPECT_EQ(event.parent, event.key == TestKey(1) ? TestKey(7) : BlockKey());
  }
}

}  // namespace
}  // namespace kvcompd::server
