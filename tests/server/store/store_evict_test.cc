// Eviction: watermarks, memory, quotas, trim; and what must never be evicted.
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

constexpr uint64_t kBlock = kMiB / 16;  // sixteen fill the store

class StoreEvictTest : public StoreTest {
 protected:
  double Evictions(const std::string& cause) {
    return metrics_.Value("kvcompd_evictions_total", {{"reason", cause}});
  }
  void Fill(uint64_t first, uint64_t last) {
    for (uint64_t n = first; n <= last; ++n) ASSERT_TRUE(Put(n, {.bytes = kBlock})) << n;
  }
};

TEST_F(StoreEvictTest, MakesRoomByLeastRecentUse) {
  Fill(1, 16);
  EXPECT_TRUE(store_->Lookup(ns_, TestKey(1)).has_value());  // a use
  EXPECT_TRUE(Has(2));                                       // none
  Fill(17, 18);
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
  EXPECT_FALSE(Has(3));
  EXPECT_TRUE(Has(4));
  EXPECT_EQ(metrics_.Value("kvcompd_removed_total", {{"reason", "evicted"}}), 2);
  ExpectBalanced();
}

TEST_F(StoreEvictTest, AMatchedBlockIsAUse) {
  Fill(1, 16);
  const std::vector<BlockKey> keys = {TestKey(1), TestKey(2)};
  EXPECT_EQ(store_->Match(ns_, keys, {}).blocks.size(), 2u);
  Fill(17, 17);
  EXPECT_TRUE(Has(1));
  EXPECT_TRUE(Has(2));
  EXPECT_FALSE(Has(3));
}

TEST_F(StoreEvictTest, AboveTheHighWatermarkDownToTheLowOne) {
  Store::Options options = SmallStore();
  options.high_watermark = 0.75;  // 12 blocks
  options.low_watermark = 0.5;    // 8 blocks
  Start(options);
  Fill(1, 12);
  EXPECT_EQ(store_->stats().blocks, 12u);
  Fill(13, 13);
  EXPECT_EQ(store_->stats().blocks, 8u);
  EXPECT_FALSE(Has(5));
  EXPECT_TRUE(Has(6));
  EXPECT_EQ(Evictions("watermark"), 5);
  EXPECT_EQ(Evictions("memory"), 0);
}

TEST_F(StoreEvictTest, TickKeepsTheWatermark) {
  Store::Options options = SmallStore();
  options.high_watermark = 0.5;
  options.low_watermark = 0.25;
  Start(options);
  Fill(1, 8);
  auto lease = store_->Lease(ns_,
                             std::vector{TestKey(1), TestKey(2), TestKey(3), TestKey(4), TestKey(5),
                                         TestKey(6), TestKey(7), TestKey(8)},
                             0);
  Fill(9, 10);                            // above the watermark: everything older is leased
  EXPECT_EQ(store_->stats().blocks, 9u);  // 9 went for 10
  EXPECT_TRUE(store_->Release(ns_, lease.lease_id));
  store_->Tick();
  EXPECT_EQ(store_->stats().blocks, 4u);
  EXPECT_EQ(metrics_.Value("kvcompd_stored_blocks"), 4);
}

TEST_F(StoreEvictTest, FragmentedMemoryIsFreedUntilItFits) {
  Fill(1, 16);
  for (uint64_t n = 2; n <= 16; n += 2) EXPECT_TRUE(store_->Delete(ns_, TestKey(n)));
  // Half is free, in pieces of one block.
  ASSERT_TRUE(Put(20, {.bytes = 3 * kBlock}));
  EXPECT_FALSE(Has(1));
  EXPECT_FALSE(Has(3));
  EXPECT_TRUE(Has(5));
  EXPECT_EQ(Evictions("memory"), 2);
  ExpectBalanced();
}

TEST_F(StoreEvictTest, WhatNeverFitsEvictsNothing) {
  Fill(1, 16);
  PutReply put = Begin(TestKey(20), {.bytes = kMiB + 1});
  EXPECT_EQ(put.verdict, PutVerdict::kRefused);
  EXPECT_EQ(put.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(put.reason, Reason::kMemory);
  EXPECT_EQ(store_->stats().blocks, 16u);
  // Nor does the refused one hold its claim.
  EXPECT_EQ(Begin(TestKey(20), {.bytes = 1}).verdict, PutVerdict::kWanted);
}

TEST_F(StoreEvictTest, StagedShardsAreNeverEvicted) {
  std::vector<PutReply> staged;
  for (uint64_t n = 1; n <= 16; ++n) staged.push_back(Begin(TestKey(n), {.bytes = kBlock}));
  PutReply put = Begin(TestKey(17), {.bytes = kBlock});
  EXPECT_EQ(put.verdict, PutVerdict::kRefused);
  EXPECT_EQ(put.reason, Reason::kMemory);
  EXPECT_EQ(metrics_.Value("kvcompd_put_refused_total", {{"reason", "memory"}}), 1);
  for (PutReply& reply : staged) EXPECT_TRUE(Commit(std::move(reply.staging), {.bytes = kBlock}).ok());
  EXPECT_EQ(store_->stats().blocks, 16u);
}

TEST_F(StoreEvictTest, LeasedPinnedAndReadBlocksStay) {
  Fill(1, 16);
  const std::vector<BlockKey> leased = {TestKey(1)}, pinned = {TestKey(2)};
  auto lease = store_->Lease(ns_, leased, 0);
  ASSERT_TRUE(store_->Pin(ns_, pinned, 0)[0].ok());
  auto read = store_->Lookup(ns_, TestKey(3));
  Fill(17, 29);  // takes all others
  EXPECT_TRUE(Has(1));
  EXPECT_TRUE(Has(2));
  EXPECT_TRUE(Has(3));
  for (uint64_t n = 4; n <= 16; ++n) EXPECT_FALSE(Has(n));
  store_->Release(ns_, lease.lease_id);
  store_->Unpin(ns_, pinned);
  read.reset();
  Fill(30, 45);
  EXPECT_FALSE(Has(1));
  EXPECT_FALSE(Has(2));
  EXPECT_FALSE(Has(3));
  ExpectBalanced();
}

TEST_F(StoreEvictTest, WithEverythingInUseAPutIsRefused) {
  Fill(1, 16);
  std::vector<BlockSnapshot> read;
  for (uint64_t n = 1; n <= 16; ++n) read.push_back(store_->Lookup(ns_, TestKey(n)).value());
  PutReply put = Begin(TestKey(17), {.bytes = 64});
  EXPECT_EQ(put.verdict, PutVerdict::kRefused);
  EXPECT_EQ(put.reason, Reason::kMemory);
  read.pop_back();
  EXPECT_EQ(Begin(TestKey(17), {.bytes = 64}).verdict, PutVerdict::kWanted);
  EXPECT_FALSE(Has(16));
}

// A put gives up after so many blocks in use; the next one goes on behind them.
TEST_F(StoreEvictTest, ThePassOverBlocksInUseIsBounded) {
  constexpr uint64_t kInUse = 9000;
  std::vector<BlockSnapshot> read;
  for (uint64_t n = 1; n <= kInUse; ++n) {
    ASSERT_TRUE(Put(n, {.bytes = 64}));
    read.push_back(store_->Lookup(ns_, TestKey(n)).value());
  }
  ASSERT_TRUE(Put(kInUse + 1, {.bytes = kMiB - kInUse * 64}));  // the only one that may go
  EXPECT_EQ(Begin(TestKey(20'000), {.bytes = 64}).reason, Reason::kMemory);
  EXPECT_TRUE(Has(kInUse + 1));
  EXPECT_EQ(Begin(TestKey(20'000), {.bytes = 64}).verdict, PutVerdict::kWanted);
  EXPECT_FALSE(Has(kInUse + 1));
}

TEST_F(StoreEvictTest, AQuotaEvictsTheNamespacesOwn) {
  NamespacePolicy policy;
  policy.quota_bytes = 4 * kBlock;
  auto small = Open("small", policy);
  ASSERT_TRUE(Put(ns_, TestKey(100), {.bytes = kBlock}));  // the oldest of all, but another's
  for (uint64_t n = 1; n <= 6; ++n) ASSERT_TRUE(Put(small, TestKey(n), {.bytes = kBlock}));
  EXPECT_EQ(small->account().charged_bytes, 4 * kBlock);
  EXPECT_TRUE(Has(100));
  EXPECT_FALSE(store_->Exists(small, TestKey(2), ShardRange()));
  EXPECT_TRUE(store_->Exists(small, TestKey(3), ShardRange()));
  EXPECT_EQ(Evictions("quota"), 2);
  ExpectBalanced();
}

TEST_F(StoreEvictTest, StagingCountsAgainstTheQuota) {
  NamespacePolicy policy;
  policy.quota_bytes = 2 * kBlock;
  auto small = Open("small", policy);
  PutReply a = store_->BeginPut(small, Info(TestKey(1), {.bytes = kBlock}));
  PutReply b = store_->BeginPut(small, Info(TestKey(2), {.bytes = kBlock}));
  PutReply c = store_->BeginPut(small, Info(TestKey(3), {.bytes = 1}));
  EXPECT_EQ(b.verdict, PutVerdict::kWanted);
  EXPECT_EQ(c.verdict, PutVerdict::kRefused);
  EXPECT_EQ(c.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(c.reason, Reason::kQuota);
  EXPECT_EQ(metrics_.Value("kvcompd_put_refused_total", {{"reason", "quota"}}), 1);
  EXPECT_EQ(small->account().charged_bytes, 2 * kBlock);
  PutReply too_long = store_->BeginPut(small, Info(TestKey(4), {.bytes = 2 * kBlock + 1}));
  EXPECT_EQ(too_long.reason, Reason::kQuota);
  Reason reason = Reason::kNone;
  EXPECT_EQ(store_->AllocateTail(small, 1, &reason).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.Value("kvcompd_tail_refused_total", {{"reason", "quota"}}), 1);
}

TEST_F(StoreEvictTest, EvictionIsPublished) {
  Fill(1, 16);
  auto watcher = store_->watch().Subscribe(ns_->id(), nullptr);
  ASSERT_TRUE(Put(17, {.bytes = kBlock}));
  uint64_t lost = 0;
  const std::vector<Event> events = watcher->Take(&lost);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Event::Kind::kRemoved);
  EXPECT_EQ(events[0].key, TestKey(1));
  EXPECT_EQ(events[0].reason, Reason::kEvicted);
  EXPECT_EQ(events[1].kind, Event::Kind::kStored);
}

TEST_F(StoreEvictTest, WatchersAreWokenWithoutALock) {
  Store::Options options = SmallStore();
  options.high_watermark = 0.9;
  options.low_watermark = 0.5;
  Start(options);
  Fill(1, 14);
  // A watcher that calls the store from its wake, as a reactor that sends and frees does.
  int woken = 0;
  auto watcher = store_->watch().Subscribe(ns_->id(), [&] {
    ++woken;
    store_->Tick();
    store_->Trim(store_->stats().host.used_bytes, std::nullopt);
  });
  ASSERT_TRUE(Put(15, {.bytes = kBlock}));
  EXPECT_GT(woken, 0);
  EXPECT_GT(Evictions("watermark"), 0);
  store_->watch().Unsubscribe(watcher);
}

TEST_F(StoreEvictTest, AWatcherIsWokenBeforeItsQueueOverflows) {
  Store::Options options = SmallStore();
  options.high_watermark = 0.5;
  options.low_watermark = 0;
  options.watch_queue_events = 300;
  Start(options);
  for (uint64_t n = 1; n <= 1024; ++n) ASSERT_TRUE(Put(n, {.bytes = 512}));
  uint64_t lost = 0, events = 0;
  std::shared_ptr<WatchHub::Watcher> watcher;
  watcher = store_->watch().Subscribe(ns_->id(), [&] {
    uint64_t l = 0;
    events += watcher->Take(&l).size();
    lost += l;
  });
  ASSERT_TRUE(Put(2000, {.bytes = 512}));
  EXPECT_EQ(lost, 0u);
  EXPECT_GT(events, 1000u);
  store_->watch().Unsubscribe(watcher);
}

TEST_F(StoreEvictTest, ALongWalkInVainIsNotMadeEachTime) {
  Store::Options options = SmallStore();
  options.high_watermark = 0.3;  // 4915 blocks of 64 bytes
  options.low_watermark = 0.1;
  options.lease_quota_fraction = 1.0;
  Start(options);
  std::vector<BlockKey> keys;
  for (uint64_t n = 1; n <= 4900; ++n) {
    keys.push_back(TestKey(n));
    ASSERT_TRUE(Put(n, {.bytes = 64}));
  }
  const std::string lease = store_->Lease(ns_, keys, 0).lease_id;
  for (uint64_t n = 5001; n <= 5020; ++n) ASSERT_TRUE(Put(n, {.bytes = 64}));  // above the watermark
  EXPECT_EQ(Evictions("watermark"), 0);
  store_->Release(ns_, lease);
  store_->Tick();
  EXPECT_EQ(Evictions("watermark"), 0) << "not yet";
  for (int i = 0; i < 70; ++i) store_->Tick();
  EXPECT_LE(store_->stats().host.used_bytes, kMiB / 10) << "but it is made again";
}

TEST_F(StoreEvictTest, TrimToATarget) {
  Fill(1, 16);
  const Store::Removed removed = store_->Trim(5 * kBlock, std::nullopt);
  EXPECT_EQ(removed.blocks, 11u);
  EXPECT_EQ(removed.encoded_bytes, 11 * kBlock);
  EXPECT_FALSE(Has(11));
  EXPECT_TRUE(Has(12));
  EXPECT_EQ(Evictions("trim"), 11);
  EXPECT_EQ(store_->Trim(5 * kBlock, std::nullopt).blocks, 0u);
}

TEST_F(StoreEvictTest, TrimByAgeSparesLeasedAndPinned) {
  Fill(1, 4);
  store_->Lease(ns_, std::vector{TestKey(1)}, 600'000);
  store_->Pin(ns_, std::vector{TestKey(2)}, 0);
  AdvanceMs(5000);
  Fill(5, 6);
  EXPECT_EQ(store_->Trim(std::nullopt, 5001).blocks, 0u);
  EXPECT_EQ(store_->Trim(std::nullopt, 5000).blocks, 2u);  // 3 and 4
  EXPECT_TRUE(Has(1));
  EXPECT_TRUE(Has(2));
  EXPECT_FALSE(Has(3));
  EXPECT_TRUE(Has(5));
  EXPECT_EQ(store_->Trim(std::nullopt, UINT64_MAX).blocks, 0u);
  EXPECT_EQ(store_->Trim(std::nullopt, std::nullopt).blocks, 0u);
  EXPECT_EQ(store_->Trim(0, std::nullopt).blocks, 2u);
}

}  // namespace
}  // namespace kvcompd::server
