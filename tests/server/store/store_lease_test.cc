// Leases and pins.
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

constexpr uint64_t kBlock = kMiB / 16;

class StoreLeaseTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    for (uint64_t n = 1; n <= 12; ++n) ASSERT_TRUE(Put(n, {.bytes = kBlock}));
  }
  std::vector<BlockKey> Keys(uint64_t first, uint64_t last) {
    std::vector<BlockKey> keys;
    for (uint64_t n = first; n <= last; ++n) keys.push_back(TestKey(n));
    return keys;
  }
};

TEST_F(StoreLeaseTest, LeasesWhatIsStoredAndNamesTheRest) {
  const std::vector<BlockKey> keys = {TestKey(1), TestKey(99), TestKey(2)};
  const Store::LeaseReply reply = store_->Lease(ns_, keys, 0);
  ASSERT_EQ(reply.blocks.size(), 3u);
  EXPECT_TRUE(reply.blocks[0].ok());
  EXPECT_EQ(reply.blocks[1].code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(reply.blocks[2].ok());
  EXPECT_EQ(reply.lease_id.size(), 16u);
  EXPECT_EQ(reply.ttl_ms, 10'000u);
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
  EXPECT_EQ(store_->stats().leases, 1u);
  const Store::LeaseReply none = store_->Lease(ns_, std::vector{TestKey(99)}, 0);
  EXPECT_TRUE(none.lease_id.empty());
  EXPECT_EQ(store_->stats().leases, 1u);
}

TEST_F(StoreLeaseTest, TtlIsCappedAndEndsByTheClockAtOnce) {
  const Store::LeaseReply reply = store_->Lease(ns_, Keys(1, 1), UINT32_MAX);
  EXPECT_EQ(reply.ttl_ms, 600'000u);
  AdvanceMs(599'999);
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
  AdvanceMs(1);
  // No Tick so far.
  EXPECT_EQ(store_->CheckLease(ns_, reply.lease_id).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->RenewLease(ns_, reply.lease_id, 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->stats().leases, 1u);
  store_->Tick();
  EXPECT_EQ(store_->stats().leases, 0u);
  EXPECT_EQ(metrics_.Value("kvcompd_leases_expired_total"), 1);
  EXPECT_FALSE(store_->Release(ns_, reply.lease_id));
}

TEST_F(StoreLeaseTest, RenewStartsAgain) {
  const Store::LeaseReply reply = store_->Lease(ns_, Keys(1, 1), 1000);
  AdvanceMs(900);
  EXPECT_EQ(store_->RenewLease(ns_, reply.lease_id, 2000).value(), 2000u);
  AdvanceMs(1999);
  store_->Tick();
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
  EXPECT_TRUE(store_->Release(ns_, reply.lease_id));
  EXPECT_FALSE(store_->Release(ns_, reply.lease_id));
  EXPECT_EQ(store_->CheckLease(ns_, reply.lease_id).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StoreLeaseTest, AnotherNamespaceDoesNotKnowIt) {
  auto other = Open("other");
  const Store::LeaseReply reply = store_->Lease(ns_, Keys(1, 1), 0);
  EXPECT_EQ(store_->CheckLease(other, reply.lease_id).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(store_->Release(other, reply.lease_id));
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
}

TEST_F(StoreLeaseTest, TheTenantsQuotaIsSharedByItsNamespaces) {
  // Half of the store: 8 blocks.
  auto other = Open("other");
  ASSERT_TRUE(Put(other, TestKey(50), {.bytes = kBlock}));
  const Store::LeaseReply first = store_->Lease(other, Keys(50, 50), 0);
  const Store::LeaseReply second = store_->Lease(ns_, Keys(1, 9), 0);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(second.blocks[i].code(), i < 7 ? absl::StatusCode::kOk : absl::StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(metrics_.Value("kvcompd_lease_refused_blocks_total", {{"reason", "quota"}}), 2);
  EXPECT_TRUE(store_->Lease(ns_, Keys(9, 9), 0).lease_id.empty());
  EXPECT_FALSE(store_->Lease(ns_, Keys(1, 1), 1000).lease_id.empty()) << "held already: no further bytes";
  AdvanceMs(1000);
  store_->Tick();
  // Another tenant has a quota of its own.
  auto stranger = Open("stranger", {}, "another tenant");
  ASSERT_TRUE(Put(stranger, TestKey(60), {.bytes = kBlock}));
  EXPECT_FALSE(store_->Lease(stranger, Keys(60, 60), 0).lease_id.empty());
  EXPECT_TRUE(store_->Release(ns_, second.lease_id));
  EXPECT_FALSE(store_->Lease(ns_, Keys(1, 7), 0).lease_id.empty());
}

TEST_F(StoreLeaseTest, MatchLeasesNoMoreThanTheQuota) {
  const MatchReply reply = store_->Match(ns_, Keys(1, 12), {.lease = true, .lease_ms = 5000});
  EXPECT_EQ(reply.blocks.size(), 8u);
  EXPECT_EQ(reply.lease_ms, 5000u);
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
  EXPECT_EQ(store_->Match(ns_, Keys(1, 12), {.lease = true}).blocks.size(), 8u) << "each block counts once";
  const MatchReply none = store_->Match(ns_, Keys(9, 12), {.lease = true});
  EXPECT_TRUE(none.blocks.empty());
  EXPECT_TRUE(none.lease_id.empty());
  EXPECT_EQ(store_->Match(ns_, Keys(1, 12), {}).blocks.size(), 12u);
}

TEST_F(StoreLeaseTest, AMatchedLeaseKeepsItsBlocks) {
  std::string lease_id = store_->Match(ns_, Keys(1, 3), {.lease = true}).lease_id;
  for (uint64_t n = 20; n < 60; ++n) ASSERT_TRUE(Put(n, {.bytes = kBlock}));
  for (uint64_t n = 1; n <= 3; ++n) EXPECT_TRUE(Has(n));
  EXPECT_FALSE(Has(4));
  AdvanceMs(10'000);
  store_->Tick();
  for (uint64_t n = 60; n < 80; ++n) ASSERT_TRUE(Put(n, {.bytes = kBlock}));
  EXPECT_FALSE(Has(1));
}

TEST_F(StoreLeaseTest, AReadCountsUntilItsLastReferenceIsGone) {
  std::vector<BlockSnapshot> reads;
  for (uint64_t n = 1; n <= 8; ++n) {
    auto read = store_->Read(ns_, TestKey(n));
    ASSERT_TRUE(read.ok()) << read.status();
    reads.push_back(*std::move(read));
  }
  EXPECT_EQ(store_->Read(ns_, TestKey(99)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Read(ns_, TestKey(9)).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.Value("kvcompd_lease_refused_blocks_total", {{"reason", "quota"}}), 1);
  EXPECT_EQ(store_->stats().reads, 8u);
  // What is held already costs nothing more, by a read or by a lease.
  EXPECT_TRUE(store_->Read(ns_, TestKey(8)).ok());
  const std::string lease = store_->Lease(ns_, Keys(1, 1), 0).lease_id;
  EXPECT_FALSE(lease.empty());
  std::shared_ptr<const StoredShard> slice = reads[1].shards[0];
  reads.clear();
  EXPECT_EQ(store_->stats().reads, 1u);
  slice.reset();
  EXPECT_EQ(store_->stats().reads, 0u);
  EXPECT_EQ(store_->Lease(ns_, Keys(2, 9), 0).blocks.back().code(), absl::StatusCode::kResourceExhausted)
      << "the leased one still counts";
  EXPECT_TRUE(store_->Release(ns_, lease));
  EXPECT_TRUE(store_->Read(ns_, TestKey(9)).ok());
}

TEST_F(StoreLeaseTest, ABlockThatIsReadIsNotEvicted) {
  auto read = store_->Read(ns_, TestKey(1));
  ASSERT_TRUE(read.ok());
  for (uint64_t n = 20; n < 60; ++n) ASSERT_TRUE(Put(n, {.bytes = kBlock}));
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
  store_->Flush(ns_);
  EXPECT_EQ(store_->stats().stored_bytes, kBlock);
  ExpectBalanced();
  *read = BlockSnapshot();
  ExpectEmpty();
}

TEST_F(StoreLeaseTest, LeasesAreLimitedInNumber) {
  Store::Options options = SmallStore();
  options.max_leases = 2;
  Start(options);
  ASSERT_TRUE(Put(1, {.bytes = 10}));
  EXPECT_FALSE(store_->Lease(ns_, Keys(1, 1), 0).lease_id.empty());
  EXPECT_FALSE(store_->Lease(ns_, Keys(1, 1), 0).lease_id.empty());
  const Store::LeaseReply third = store_->Lease(ns_, Keys(1, 1), 0);
  EXPECT_TRUE(third.lease_id.empty());
  EXPECT_EQ(third.blocks[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.Value("kvcompd_lease_refused_blocks_total", {{"reason", "limit"}}), 1);
}

TEST_F(StoreLeaseTest, DeletingALeasedBlockHidesItAndKeepsItsMemory) {
  const Store::LeaseReply reply = store_->Lease(ns_, Keys(1, 1), 0);
  store_->Flush(ns_);
  EXPECT_FALSE(Has(1));
  EXPECT_EQ(store_->stats().stored_bytes, kBlock);
  ExpectBalanced();
  EXPECT_TRUE(store_->CheckLease(ns_, reply.lease_id).ok());
  EXPECT_TRUE(store_->Release(ns_, reply.lease_id));
  ExpectEmpty();
}

TEST_F(StoreLeaseTest, PinsAreChargedWithinTheirQuota) {
  // A quarter of the store: 4 blocks.
  const std::vector<absl::Status> statuses = store_->Pin(ns_, Keys(9, 14), 0);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(statuses[i].ok()) << i;
  EXPECT_EQ(statuses[4].code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ns_->account().pinned_bytes, 4 * kBlock);
  EXPECT_EQ(store_->Pin(ns_, Keys(1, 1), 0)[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.Value("kvcompd_pin_refused_total", {{"reason", "quota"}}), 1);
  EXPECT_TRUE(store_->Pin(ns_, Keys(9, 9), 0)[0].ok());  // again: no further charge
  EXPECT_EQ(ns_->account().pinned_bytes, 4 * kBlock);
  EXPECT_EQ(store_->stats().pins, 4u);
  const std::vector<bool> unpinned = store_->Unpin(ns_, std::vector{TestKey(9), TestKey(1), TestKey(99)});
  EXPECT_EQ(unpinned, (std::vector<bool>{true, false, false}));
  EXPECT_TRUE(store_->Pin(ns_, Keys(1, 1), 0)[0].ok());
  EXPECT_TRUE(store_->Delete(ns_, TestKey(1)));  // releases it
  EXPECT_EQ(ns_->account().pinned_bytes, 3 * kBlock);
}

TEST_F(StoreLeaseTest, TheNamespacesPinQuotaGoesFirst) {
  NamespacePolicy policy;
  policy.pin_quota_bytes = 2 * kBlock;
  auto small = Open("small", policy);
  for (uint64_t n = 1; n <= 3; ++n) ASSERT_TRUE(Put(small, TestKey(n), {.bytes = kBlock}));
  const std::vector<absl::Status> statuses = store_->Pin(small, Keys(1, 3), 0);
  EXPECT_TRUE(statuses[1].ok());
  EXPECT_EQ(statuses[2].code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(StoreLeaseTest, ANamespaceMayNotAskForMoreThanTheStoresPinQuota) {
  NamespacePolicy policy;
  policy.pin_quota_bytes = UINT64_MAX;
  auto greedy = Open("greedy", policy);
  for (uint64_t n = 1; n <= 5; ++n) ASSERT_TRUE(Put(greedy, TestKey(n), {.bytes = kBlock}));
  const std::vector<absl::Status> statuses = store_->Pin(greedy, Keys(1, 5), 0);
  EXPECT_TRUE(statuses[3].ok());
  EXPECT_EQ(statuses[4].code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(StoreLeaseTest, PinsEndAtTheirTtl) {
  ASSERT_TRUE(store_->Pin(ns_, Keys(1, 1), 1000)[0].ok());
  ASSERT_TRUE(store_->Pin(ns_, Keys(2, 2), 0)[0].ok());
  AdvanceMs(1000);
  store_->Tick();
  EXPECT_EQ(store_->stats().pins, 1u);
  EXPECT_EQ(ns_->account().pinned_bytes, kBlock);
  EXPECT_EQ(metrics_.Value("kvcompd_pins_expired_total"), 1);
  AdvanceMs(86'400'000);
  store_->Tick();
  EXPECT_EQ(store_->stats().pins, 0u);
  EXPECT_EQ(ns_->account().pinned_bytes, 0u);
}

TEST_F(StoreLeaseTest, AShardAddedToAPinnedBlockIsChargedToo) {
  ASSERT_TRUE(Put(50, {.shard = {0, 0, 2, 0, 2}, .bytes = 64}));
  ASSERT_TRUE(store_->Pin(ns_, Keys(50, 50), 0)[0].ok());
  EXPECT_EQ(ns_->account().pinned_bytes, 64u);
  ASSERT_TRUE(Put(50, {.shard = {0, 2, 2, 0, 2}, .bytes = 128}));
  EXPECT_EQ(ns_->account().pinned_bytes, 192u);
  store_->Unpin(ns_, Keys(50, 50));
  EXPECT_EQ(ns_->account().pinned_bytes, 0u);
}

}  // namespace
}  // namespace kvcompd::server
