// Puts: claims, staging, commit, accounts.
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

using StorePutTest = StoreTest;

constexpr ShardRange kLeft{0, 0, 2, 0, 2};
constexpr ShardRange kRight{0, 2, 2, 0, 2};

TEST_F(StorePutTest, CommitShrinksAndMovesFromStagedToStored) {
  PutReply put = Begin(TestKey(1), {.bytes = 100, .bound_bytes = 5000});
  ASSERT_EQ(put.verdict, PutVerdict::kWanted) << put.status;
  EXPECT_EQ(put.staging->memory().size(), 5000u);
  EXPECT_EQ(store_->stats().staged_bytes, 5056u);
  EXPECT_EQ(store_->stats().stored_bytes, 0u);
  ExpectBalanced();
  std::memset(put.staging->memory().data(), 42, 100);
  auto done = Commit(std::move(put.staging), {.bytes = 100});
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_FALSE(done->already_stored);
  EXPECT_EQ(done->generation.epoch, 77u);
  const Store::Stats stats = store_->stats();
  EXPECT_EQ(stats.staged_bytes, 0u);
  EXPECT_EQ(stats.stored_bytes, 128u);
  EXPECT_EQ(stats.encoded_bytes, 100u);
  EXPECT_EQ(stats.raw_bytes, 400u);
  EXPECT_EQ(stats.blocks, 1u);
  ExpectBalanced();

  auto snapshot = store_->Lookup(ns_, TestKey(1));
  ASSERT_TRUE(snapshot.has_value());
  EXPECT_TRUE(snapshot->complete);
  EXPECT_EQ(snapshot->generation, done->generation);
  ASSERT_EQ(snapshot->shards.size(), 1u);
  ASSERT_EQ(snapshot->shards[0]->container().size(), 100u);
  for (std::byte b : snapshot->shards[0]->container()) ASSERT_EQ(b, std::byte{42});
  EXPECT_EQ(*snapshot->shards[0]->profile, "raw");
}

TEST_F(StorePutTest, DroppingAStagingFreesSlotAndClaim) {
  PutReply put = Begin(TestKey(1));
  ASSERT_EQ(put.verdict, PutVerdict::kWanted);
  put.staging.reset();
  ExpectEmpty();
  EXPECT_EQ(Begin(TestKey(1)).verdict, PutVerdict::kWanted);
}

TEST_F(StorePutTest, AnotherPutIsToldInProgress) {
  PutReply first = Begin(TestKey(1), {.put_id = "p"});
  PutReply second = Begin(TestKey(1), {.put_id = "q"});
  EXPECT_EQ(second.verdict, PutVerdict::kInProgress);
  EXPECT_EQ(second.reason, Reason::kInProgress);
  EXPECT_TRUE(Commit(std::move(first.staging)).ok());
  second = Begin(TestKey(1), {.put_id = "q"});
  EXPECT_EQ(second.verdict, PutVerdict::kAlreadyStored);
  EXPECT_EQ(second.generation, store_->Lookup(ns_, TestKey(1))->generation);
}

TEST_F(StorePutTest, TheSamePutTakesOverAndTheOldStagingAborts) {
  PutReply old = Begin(TestKey(1), {.put_id = "p"});
  PutReply again = Begin(TestKey(1), {.put_id = "p"});
  ASSERT_EQ(again.verdict, PutVerdict::kWanted);
  EXPECT_FALSE(old.staging->claim().Touch());
  EXPECT_EQ(Commit(std::move(old.staging)).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(again.staging->claim().Touch());
  EXPECT_TRUE(Commit(std::move(again.staging)).ok());
  EXPECT_EQ(metrics_.Value("kvcompd_put_dropped_total", {{"reason", "taken_over"}}), 1);
  ExpectBalanced();
}

TEST_F(StorePutTest, ABlockIsCompleteWithItsLastShard) {
  ASSERT_TRUE(Put(1, {.shard = kLeft}));
  const Generation generation = store_->Lookup(ns_, TestKey(1))->generation;
  EXPECT_FALSE(Has(1));
  EXPECT_FALSE(store_->Lookup(ns_, TestKey(1))->complete);
  EXPECT_TRUE(store_->Exists(ns_, TestKey(1), kLeft));
  EXPECT_TRUE(store_->Exists(ns_, TestKey(1), {0, 1, 1, 1, 1}));
  EXPECT_FALSE(store_->Exists(ns_, TestKey(1), kRight));
  ASSERT_TRUE(Put(1, {.shard = kRight}));
  EXPECT_TRUE(Has(1));
  EXPECT_EQ(store_->Lookup(ns_, TestKey(1))->generation, generation);
  EXPECT_EQ(store_->Lookup(ns_, TestKey(1))->shards.size(), 2u);
  EXPECT_EQ(store_->stats().blocks, 1u);
  // Within the union of both.
  EXPECT_EQ(Begin(TestKey(1)).verdict, PutVerdict::kAlreadyStored);
  EXPECT_EQ(Begin(TestKey(1), {.shard = {0, 1, 2, 0, 2}}).verdict, PutVerdict::kAlreadyStored);
}

TEST_F(StorePutTest, TheFirstCommitOfAShardWins) {
  PutReply part = Begin(TestKey(1), {.shard = kLeft, .put_id = "p"});
  PutReply whole = Begin(TestKey(1), {.put_id = "q"});  // more than `part` claims, so wanted as well
  ASSERT_EQ(part.verdict, PutVerdict::kWanted);
  ASSERT_EQ(whole.verdict, PutVerdict::kWanted);
  auto first = Commit(std::move(whole.staging));
  ASSERT_TRUE(first.ok());
  auto second = Commit(std::move(part.staging));
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->already_stored);
  EXPECT_EQ(second->generation, first->generation);
  EXPECT_EQ(store_->Lookup(ns_, TestKey(1))->shards.size(), 1u);
  EXPECT_EQ(store_->stats().staged_bytes, 0u);
  ExpectBalanced();
}

TEST_F(StorePutTest, AnotherNumberOfTokensIsRefused) {
  PutReply short_put = Begin(TestKey(1), {.shard = kRight, .tokens = 32, .put_id = "q"});
  ASSERT_EQ(short_put.verdict, PutVerdict::kWanted);
  ASSERT_TRUE(Put(1, {.shard = kLeft, .tokens = 64}));
  PutReply refused = Begin(TestKey(1), {.shard = kRight, .tokens = 32});
  EXPECT_EQ(refused.verdict, PutVerdict::kRefused);
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.reason, Reason::kMalformed);
  // One that began before the block was there finds out at its commit.
  EXPECT_EQ(Commit(std::move(short_put.staging)).status().code(), absl::StatusCode::kFailedPrecondition);
  ExpectBalanced();
}

TEST_F(StorePutTest, OneNamespaceMayStageOnlyItsPartOfTheStore) {
  Store::Options options = SmallStore();
  options.unstored_fraction = 0.25;
  Start(options);
  PutReply first = Begin(TestKey(1), {.bytes = kMiB / 4});
  ASSERT_EQ(first.verdict, PutVerdict::kWanted);
  PutReply second = Begin(TestKey(2), {.bytes = 64});
  EXPECT_EQ(second.verdict, PutVerdict::kRefused);
  EXPECT_EQ(second.reason, Reason::kMemory);
  first.staging.reset();
  EXPECT_EQ(Begin(TestKey(2), {.bytes = 64}).verdict, PutVerdict::kWanted);
}

TEST_F(StorePutTest, MalformedPutsAreRefused) {
  for (const PutReply& reply :
       {Begin(BlockKey()), Begin(TestKey(1), {.tokens = 0}), Begin(TestKey(1), {.tokens = 65}),
        Begin(TestKey(1), {.bytes = 0}), Begin(TestKey(1), {.shard = {0, 0, 0, 0, 2}})}) {
    EXPECT_EQ(reply.verdict, PutVerdict::kRefused);
    EXPECT_EQ(reply.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(reply.reason, Reason::kMalformed);
  }
  EXPECT_EQ(metrics_.Value("kvcompd_put_refused_total", {{"reason", "malformed"}}), 5);
  PutReply put = Begin(TestKey(1), {.bytes = 100});
  EXPECT_EQ(Commit(std::move(put.staging), {.bytes = 101}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Commit(nullptr, {}).status().code(), absl::StatusCode::kInvalidArgument);
  ExpectEmpty();
}

TEST_F(StorePutTest, AnOrphanIsReapedAndItsMemoryStaysUntilItIsDropped) {
  PutReply touched = Begin(TestKey(1), {.put_id = "p"});
  PutReply orphan = Begin(TestKey(2), {.put_id = "p"});
  AdvanceMs(20'000);
  EXPECT_TRUE(touched.staging->claim().Touch());
  AdvanceMs(13'749);
  store_->Tick();
  EXPECT_EQ(metrics_.Value("kvcompd_put_dropped_total", {{"reason", "timeout"}}), 0);
  AdvanceMs(1);  // the orphan timeout, and the eighth of it in which a touch may be left out
  store_->Tick();
  EXPECT_TRUE(touched.staging->claim().Touch());
  EXPECT_FALSE(orphan.staging->claim().Touch());
  EXPECT_EQ(metrics_.Value("kvcompd_put_dropped_total", {{"reason", "timeout"}}), 1);
  // Another put may now have the shard, while the orphan's memory is still its own.
  std::memset(orphan.staging->memory().data(), 1, orphan.staging->memory().size());
  ASSERT_TRUE(Put(2, {.put_id = "q"}));
  ExpectBalanced();
  EXPECT_EQ(Commit(std::move(orphan.staging)).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Commit(std::move(touched.staging)).ok());
  EXPECT_EQ(store_->stats().staged_bytes, 0u);
}

TEST_F(StorePutTest, AFlushAbortsPutsUnderWay) {
  PutReply put = Begin(TestKey(1));
  store_->Flush(ns_);
  EXPECT_EQ(Commit(std::move(put.staging)).status().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(Has(1));
  ExpectEmpty();
}

TEST_F(StorePutTest, AGenerationIsNeverUsedAgain) {
  std::vector<Generation> seen;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Put(1));
    seen.push_back(store_->Lookup(ns_, TestKey(1))->generation);
    EXPECT_TRUE(store_->Delete(ns_, TestKey(1)));
  }
  EXPECT_LT(seen[0], seen[1]);
  EXPECT_LT(seen[1], seen[2]);
}

TEST_F(StorePutTest, EpochIsRandomUnlessGiven) {
  Store::Options options = SmallStore();
  options.epoch.reset();
  const Store a(options, &clock_, &metrics_);
  const Store b(options, &clock_, &metrics_);
  EXPECT_NE(a.epoch(), 0u);
  EXPECT_NE(a.epoch(), b.epoch());
  EXPECT_EQ(store_->epoch(), 77u);
}

TEST_F(StorePutTest, CompletionIsPublishedOnce) {
  auto watcher = store_->watch().Subscribe(ns_->id(), nullptr);
  ASSERT_TRUE(Put(1, {.shard = kLeft, .parent = TestKey(9)}));
  uint64_t lost = 0;
  EXPECT_TRUE(watcher->Take(&lost).empty());
  ASSERT_TRUE(Put(1, {.shard = {0, 0, 4, 0, 1}}));  // overlaps, still incomplete
  EXPECT_TRUE(watcher->Take(&lost).empty());
  ASSERT_TRUE(Put(1, {.shard = kRight}));
  const std::vector<Event> events = watcher->Take(&lost);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kStored);
  EXPECT_EQ(events[0].key, TestKey(1));
  EXPECT_EQ(events[0].parent, TestKey(9));
  EXPECT_EQ(events[0].tokens, 64u);
  EXPECT_EQ(events[0].generation, store_->Lookup(ns_, TestKey(1))->generation);
}

TEST_F(StorePutTest, AProbeOnlyLooks) {
  ASSERT_TRUE(Put(1, {.bytes = 100}));
  const PutReply under_way = Begin(TestKey(2), {.put_id = "a"});
  const auto probe = [&](uint64_t n) {
    PutRequestInfo info = Info(TestKey(n), {});
    info.probe = true;
    return store_->BeginPut(ns_, info);
  };
  const PutReply stored = probe(1);
  EXPECT_EQ(stored.verdict, PutVerdict::kAlreadyStored);
  EXPECT_EQ(stored.encoded_bytes, 100u);
  EXPECT_EQ(stored.raw_bytes, 400u);
  EXPECT_EQ(probe(2).verdict, PutVerdict::kInProgress);
  const PutReply absent = probe(3);
  EXPECT_EQ(absent.verdict, PutVerdict::kRefused);
  EXPECT_EQ(absent.reason, Reason::kNone);
  EXPECT_EQ(Begin(TestKey(3)).verdict, PutVerdict::kWanted) << "nothing was claimed";
}

TEST_F(StorePutTest, WhatIsDroppedUncommittedIsCounted) {
  { const PutReply dropped = Begin(TestKey(1)); }
  EXPECT_EQ(metrics_.Value("kvcompd_put_dropped_total", {{"reason", "uncommitted"}}), 1);
  ASSERT_TRUE(Put(1));
  EXPECT_EQ(metrics_.Value("kvcompd_put_dropped_total", {{"reason", "uncommitted"}}), 1);
}

TEST_F(StorePutTest, AllNamespacesTogetherLeaveRoomForWhatCanBeEvicted) {
  Store::Options options = SmallStore();
  options.unstored_fraction = 0.5;
  options.all_unstored_fraction = 0.75;
  Start(options);
  auto other = Open("other");
  const PutReply a = store_->BeginPut(ns_, Info(TestKey(1), {.bytes = kMiB / 2}));
  EXPECT_EQ(a.verdict, PutVerdict::kWanted);
  EXPECT_EQ(store_->BeginPut(ns_, Info(TestKey(2), {.bytes = 1})).reason, Reason::kMemory)
      << "half is its part";
  PutReply b = store_->BeginPut(other, Info(TestKey(1), {.bytes = kMiB / 4}));
  EXPECT_EQ(b.verdict, PutVerdict::kWanted);
  const PutReply refused = store_->BeginPut(other, Info(TestKey(2), {.bytes = 64}));
  EXPECT_EQ(refused.reason, Reason::kMemory);
  EXPECT_NE(refused.status.message().find("try again later"), absl::string_view::npos) << refused.status;
  ASSERT_TRUE(Commit(std::move(b.staging), {.bytes = kMiB / 4}).ok());  // stored: that can be evicted
  EXPECT_EQ(store_->BeginPut(other, Info(TestKey(2), {.bytes = 64})).verdict, PutVerdict::kWanted);
}

TEST_F(StorePutTest, TailsAreCharged) {
  Reason reason = Reason::kNone;
  auto tail = store_->AllocateTail(ns_, 1000, &reason);
  ASSERT_TRUE(tail.ok());
  EXPECT_EQ(store_->stats().tail_bytes, 1024u);
  EXPECT_EQ(ns_->account().charged_bytes, 1024u);
  ExpectBalanced();
  tail->Reset();
  ExpectEmpty();
}

TEST_F(StorePutTest, OptionsAreChecked) {
  Store::Options options;
  EXPECT_TRUE(options.Validate().ok()) << options.Validate();
  options.index_shards = 3;
  EXPECT_FALSE(options.Validate().ok());
  options = {};
  options.low_watermark = 0.96;
  EXPECT_FALSE(options.Validate().ok());
  options = {};
  options.default_lease_ms = options.max_lease_ms + 1;
  EXPECT_FALSE(options.Validate().ok());
  options = {};
  options.pin_quota_fraction = 1.5;
  EXPECT_FALSE(options.Validate().ok());
}

}  // namespace
}  // namespace kvcompd::server
