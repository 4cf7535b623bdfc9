// What the tests of the store share: a small model, keys, and a store with a clock that is moved by hand.
#ifndef KVCOMPD_TESTS_SERVER_STORE_STORE_TEST_UTIL_H_
#define KVCOMPD_TESTS_SERVER_STORE_STORE_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "codec/base/clock.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"
#include "server/ops/metrics.h"
#include "server/store/store.h"

namespace kvcompd::server {

// 2 layers of 4 heads with 8 channels, bf16; `model_id` makes another fingerprint.
inline ModelDescriptor TestModel(const std::string& model_id = "test") {
  ModelDescriptor model;
  model.model_id = model_id;
  AttentionGroup group;
  group.layers = {0, 1};
  group.kv_heads = 4;
  group.head_dim_k = 8;
  group.head_dim_v = 8;
  model.groups = {group};
  return model;
}

inline BlockKey TestKey(uint64_t n) {
  Digest digest;
  for (size_t i = 0; i < digest.bytes.size(); i += sizeof n)
    std::memcpy(digest.bytes.data() + i, &n, sizeof n);
  return BlockKey::FromDigest(digest);
}

inline constexpr ShardRange kWholeBlock{0, 0, 4, 0, 2};
inline constexpr uint64_t kMiB = uint64_t{1} << 20;

struct PutOptions {
  ShardRange shard = kWholeBlock;
  uint32_t tokens = 64;
  uint64_t bytes = 1000;
  uint64_t bound_bytes = 0;  // 0: bytes
  std::string put_id;
  float error_bound = 0;
  BlockKey parent;
};

class StoreTest : public testing::Test {
 protected:
  static Store::Options SmallStore() {
    Store::Options options;
    options.host = {.capacity_bytes = kMiB, .slab_bytes = kMiB};
    options.high_watermark = 1.0;
    options.low_watermark = 1.0;
    options.unstored_fraction = 1.0;
    options.all_unstored_fraction = 1.0;
    options.epoch = 77;
    return options;
  }

  void SetUp() override { Start(SmallStore()); }
  void Start(const Store::Options& options) {
    ns_.reset();
    store_.reset();
    ASSERT_TRUE(options.Validate().ok()) << options.Validate();
    store_ = std::make_unique<Store>(options, &clock_, &metrics_);
    ns_ = Open("model");
  }
  std::shared_ptr<Namespace> Open(const std::string& name, const NamespacePolicy& policy = {},
                                  const std::string& tenant = "tenant") {
    auto opened = store_->OpenNamespace(tenant, name, TestModel(name), policy);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? opened->ns : nullptr;
  }

  static PutRequestInfo Info(const BlockKey& key, const PutOptions& o) {
    return {.key = key,
            .parent = o.parent,
            .shard = o.shard,
            .tokens = o.tokens,
            .bound_bytes = o.bound_bytes != 0 ? o.bound_bytes : o.bytes,
            .put_id = o.put_id};
  }
  PutReply Begin(const BlockKey& key, const PutOptions& o = {}) {
    return store_->BeginPut(ns_, Info(key, o));
  }
  absl::StatusOr<CommitReply> Commit(std::unique_ptr<ShardStaging> staging, const PutOptions& o = {}) {
    return store_->Commit(
        std::move(staging),
        {.bytes = o.bytes, .raw_bytes = 4 * o.bytes, .error_bound = o.error_bound, .profile = "raw"});
  }
  // False where it was refused or could not be committed.
  bool Put(const std::shared_ptr<Namespace>& ns, const BlockKey& key, const PutOptions& o = {}) {
    PutReply reply = store_->BeginPut(ns, Info(key, o));
    if (reply.verdict != PutVerdict::kWanted) return false;
    std::memset(reply.staging->memory().data(), static_cast<int>(key.view()[0]), o.bytes);
    return Commit(std::move(reply.staging), o).ok();
  }
  bool Put(uint64_t n, const PutOptions& o = {}) { return Put(ns_, TestKey(n), o); }
  bool Has(uint64_t n) { return store_->Exists(ns_, TestKey(n), ShardRange()); }

  // The account of all namespaces is the arena's, to the byte.
  void ExpectBalanced() {
    const Store::Stats stats = store_->stats();
    EXPECT_EQ(stats.host.used_bytes, stats.stored_bytes + stats.staged_bytes + stats.tail_bytes);
  }
  void ExpectEmpty() {
    const Store::Stats stats = store_->stats();
    EXPECT_EQ(stats.host.used_bytes, 0u);
    EXPECT_EQ(stats.host.slots, 0u);
    EXPECT_EQ(stats.stored_bytes, 0u);
    EXPECT_EQ(stats.staged_bytes, 0u);
    EXPECT_EQ(stats.tail_bytes, 0u);
    EXPECT_EQ(stats.blocks, 0u);
    EXPECT_EQ(stats.encoded_bytes, 0u);
    EXPECT_EQ(stats.raw_bytes, 0u);
    EXPECT_EQ(stats.leases, 0u);
    EXPECT_EQ(stats.reads, 0u);
    EXPECT_EQ(stats.pins, 0u);
  }
  void AdvanceMs(int64_t ms) { clock_.AdvanceUs(ms * 1000); }

  ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<Namespace> ns_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_TESTS_SERVER_STORE_STORE_TEST_UTIL_H_
