// The C++ client against a daemon, as workers use the two: prefill puts from its paged memory, decode gets
// into its own of another layout, sequences grow, leases hold.
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "codec/base/chain_hash.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "tests/client/kv_memory.h"
#include "tests/server/service/daemon_fixture.h"

namespace kvcompd {
namespace {

using client::Form;
using client::KvMemory;
using client::PageLayout;

constexpr uint32_t kBlocks = 3;
constexpr uint32_t kTokens = 64;
constexpr char kKvcomp[] = "kvcomp:rel_k=0.05,rel_v=0.1";

ModelDescriptor TestModel() {
  ModelDescriptor model;
  model.model_id = "test/integration";
  AttentionGroup group;
  group.layers = {0, 1, 2};
  group.kv_heads = 4;
  group.head_dim_k = 32;
  group.head_dim_v = 16;
  model.groups = {group};
  return model;
}

class ClientDaemonTest : public testing::TestWithParam<Form> {
 public:
  void TearDown() override {
    ns_.reset();
    client_.reset();
    server::Store& store = fixture_.store();
    EXPECT_TRUE(server::Eventually([&] {
      const auto pool = fixture_.daemon().context().pool->stats();
      return fixture_.daemon().context().streams->open() == 0 && pool.running == 0;
    }));
    fixture_.clock().AdvanceUs(int64_t{2} * 86'400 * 1'000'000);
    fixture_.daemon().Tick();
    for (const auto& ns : store.ListNamespaces()) store.Flush(ns);
    EXPECT_TRUE(server::Eventually([&] { return store.stats().host.used_bytes == 0; }))
        << "a slot was leaked";
    EXPECT_EQ(store.stats().leases, 0u);
  }
  void Open(const std::string& profile) {
    client::ClientOptions options;
    options.address = fixture_.daemon().address();
    options.tenant = "acme";
    auto client = client::Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    v1::NamespacePolicy policy;
    policy.set_profile(profile);
    auto ns = client_->OpenNamespace(TestModel(), policy);
    ASSERT_TRUE(ns.ok()) << ns.status();
    ns_ = *ns;
  }
  static std::vector<uint32_t> TokenIds(uint32_t n) {
    std::vector<uint32_t> ids(n);
    std::iota(ids.begin(), ids.end(), 1000u);
    return ids;
  }
  static std::vector<client::PutBlock> PutsOf(const std::vector<BlockKey>& keys, const KvMemory& memory) {
    std::vector<client::PutBlock> blocks;
    for (uint32_t i = 0; i < keys.size(); ++i) {
      blocks.push_back({keys[i], i == 0 ? BlockKey() : keys[i - 1], kTokens, memory.Place(i)});
    }
    return blocks;
  }
  static std::vector<client::GetBlock> GetsOf(const std::vector<BlockKey>& keys, const KvMemory& memory) {
    std::vector<client::GetBlock> blocks;
    for (uint32_t i = 0; i < keys.size(); ++i) blocks.push_back({keys[i], std::nullopt, memory.Place(i)});
    return blocks;
  }
  void MustPut(const std::vector<BlockKey>& keys, const KvMemory& memory) {
    auto results = ns_->PutBlocks(PutsOf(keys, memory), {.form = GetParam()});
    ASSERT_TRUE(results.ok()) << results.status();
    for (const auto& result : *results) EXPECT_TRUE(result.status.ok()) << result.status;
  }
  void MustGet(const std::vector<BlockKey>& keys, const KvMemory& memory, client::GetOptions options = {}) {
    options.form = GetParam();
    auto results = ns_->GetBlocks(GetsOf(keys, memory), options);
    ASSERT_TRUE(results.ok()) << results.status();
    for (const auto& result : *results) EXPECT_TRUE(result.status.ok()) << result.status;
  }

  server::DaemonFixture fixture_;
  std::unique_ptr<client::Client> client_;
  std::shared_ptr<client::NamespaceHandle> ns_;
  const std::vector<BlockKey> keys_ = ChainKeys(TokenIds(kBlocks * kTokens), kTokens);
};

TEST_P(ClientDaemonTest, WorkersOfOtherPageSizesAndLayoutsShareBlocks) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  KvMemory prefill(TestModel(), PageLayout::kNhd, 16, kBlocks * 4);
  prefill.Fill(1);
  ASSERT_NO_FATAL_FAILURE(MustPut(keys_, prefill));
  auto match = ns_->Match(keys_, {.lease = true});
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->matched_tokens, kBlocks * kTokens);
  KvMemory decode(TestModel(), PageLayout::kHnd, 64, kBlocks);
  ASSERT_NO_FATAL_FAILURE(MustGet(keys_, decode, {.lease_id = match->lease.id()}));
  for (uint32_t i = 0; i < kBlocks; ++i) EXPECT_TRUE(SameBlock(prefill, i, decode, i)) << i;
  EXPECT_TRUE(*match->lease.Release());
}

TEST_P(ClientDaemonTest, BothFormsOfALossyBlockDecodeToTheSameValues) {
  ASSERT_NO_FATAL_FAILURE(Open(kKvcomp));
  KvMemory prefill(TestModel(), PageLayout::kNhd, 32, kBlocks * 2);
  prefill.Fill(2);
  ASSERT_NO_FATAL_FAILURE(MustPut(keys_, prefill));
  KvMemory decoded(TestModel(), PageLayout::kNhd, 16, kBlocks * 4);
  KvMemory encoded(TestModel(), PageLayout::kHnd, 64, kBlocks);
  auto one = ns_->GetBlocks(GetsOf(keys_, decoded), {.form = Form::kDecoded});
  auto two = ns_->GetBlocks(GetsOf(keys_, encoded), {.form = Form::kEncoded});
  ASSERT_TRUE(one.ok() && two.ok());
  for (uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE((*one)[i].status.ok() && (*two)[i].status.ok());
    EXPECT_TRUE(SameBlock(decoded, i, encoded, i)) << i;
    EXPECT_FALSE(SameBlock(decoded, i, prefill, i)) << "not lossy: the test is none";
  }
  const auto stats = fixture_.store().stats();
  EXPECT_LT(stats.encoded_bytes, stats.raw_bytes);
}

TEST_P(ClientDaemonTest, AMissIsAResultAndNotAnErrorOfTheCall) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  KvMemory memory(TestModel(), PageLayout::kNhd, 64, kBlocks);
  memory.Fill(3);
  ASSERT_NO_FATAL_FAILURE(MustPut({keys_[0]}, memory));
  KvMemory target(TestModel(), PageLayout::kNhd, 64, kBlocks);
  auto results = ns_->GetBlocks(GetsOf(keys_, target), {.form = GetParam()});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0].status.ok());
  EXPECT_TRUE(absl::IsNotFound((*results)[1].status));
  EXPECT_EQ((*results)[1].reason, v1::REASON_NOT_STORED);
  EXPECT_TRUE(Untouched(target, 1, 0));
  EXPECT_TRUE(SameBlock(memory, 0, target, 0));
}

TEST_P(ClientDaemonTest, ASequenceGrownTokenByTokenIsReadBack) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  KvMemory memory(TestModel(), PageLayout::kNhd, 64, 2);
  memory.Fill(4);
  const std::vector<uint32_t> ids = TokenIds(kTokens + 5);
  auto sequence = ns_->OpenSequence({});
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  client::AppendBuffer append(*std::move(sequence));
  for (uint32_t t = 0; t < ids.size(); ++t) {
    client::BlockPlace place = memory.Place(t / kTokens);
    place.first_token = t % kTokens;
    auto done = append.Append({&ids[t], 1}, place);
    ASSERT_TRUE(done.ok()) << done.status();
  }
  ASSERT_EQ(append.keys().size(), 1u);
  EXPECT_EQ(append.keys()[0], ChainKeys(ids, kTokens)[0]);
  // The full block by its key, the tail through the handle.
  KvMemory target(TestModel(), PageLayout::kHnd, 64, 2);
  client::GetOptions options{.form = GetParam(), .sequence = append.sequence().handle()};
  options.tail_target = target.Place(1);
  auto got = ns_->GetBlocks(GetsOf(append.keys(), target), options);
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_EQ(got->size(), 2u);
  EXPECT_TRUE((*got)[1].status.ok()) << (*got)[1].status;
  EXPECT_EQ((*got)[1].tokens, 5u);
  EXPECT_TRUE(SameBlock(memory, 0, target, 0));
  EXPECT_TRUE(SameBlock(memory, 1, target, 1, 5));
  auto sealed = append.Seal(/*keep_tail=*/true);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->tokens, ids.size());
  const auto chain = ChainKeys(ids, kTokens, {}, /*include_tail=*/true);
  EXPECT_EQ(ns_->Match(chain)->matched_tokens, ids.size());
}

TEST_P(ClientDaemonTest, ALeaseIsTakenRenewedAndReleased) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  KvMemory memory(TestModel(), PageLayout::kNhd, 64, kBlocks);
  memory.Fill(5);
  ASSERT_NO_FATAL_FAILURE(MustPut({keys_[0], keys_[1]}, memory));
  auto lease = ns_->Lease(keys_, {.ttl_ms = 1000});
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->lease.ttl_ms(), 1000u);
  EXPECT_TRUE(lease->blocks[0].status.ok() && lease->blocks[1].status.ok());
  EXPECT_TRUE(absl::IsNotFound(lease->blocks[2].status));
  fixture_.clock().AdvanceUs(900'000);
  ASSERT_TRUE(lease->lease.Renew(5000).ok());
  EXPECT_EQ(lease->lease.ttl_ms(), 5000u);
  fixture_.clock().AdvanceUs(900'000);
  fixture_.daemon().Tick();
  EXPECT_EQ(fixture_.store().stats().leases, 1u);
  EXPECT_TRUE(*lease->lease.Release());
  EXPECT_FALSE(lease->lease.held());

  lease = ns_->Lease(keys_, {.ttl_ms = 1000});
  ASSERT_TRUE(lease.ok()) << lease.status();
  fixture_.clock().AdvanceUs(2'000'000);
  fixture_.daemon().Tick();
  EXPECT_FALSE(lease->lease.Renew().ok());
  EXPECT_FALSE(lease->lease.held());
}

TEST_P(ClientDaemonTest, PinsPrefetchAndExists) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  KvMemory memory(TestModel(), PageLayout::kNhd, 64, kBlocks);
  memory.Fill(6);
  ASSERT_NO_FATAL_FAILURE(MustPut({keys_[0], keys_[1]}, memory));
  EXPECT_EQ(*ns_->Exists(keys_), (std::vector<bool>{true, true, false}));
  auto pinned = ns_->Pin(keys_, {.ttl_ms = 60'000});
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  EXPECT_TRUE((*pinned)[0].status.ok() && (*pinned)[1].status.ok());
  EXPECT_FALSE((*pinned)[2].status.ok());
  // What is pinned is not trimmed away.
  auto trimmed = client_->admin().Trim(/*target_bytes=*/0, std::nullopt);
  ASSERT_TRUE(trimmed.ok()) << trimmed.status();
  EXPECT_EQ(trimmed->blocks(), 0u);
  EXPECT_EQ(*ns_->Unpin(keys_), (std::vector<bool>{true, true, false}));
  auto fetched = ns_->Prefetch(keys_, {.tier = v1::TIER_HOST});
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_TRUE((*fetched)[0].status.ok());
  EXPECT_FALSE((*fetched)[2].status.ok());
  trimmed = client_->admin().Trim(/*target_bytes=*/0, std::nullopt);
  ASSERT_TRUE(trimmed.ok()) << trimmed.status();
  EXPECT_EQ(trimmed->blocks(), 2u);
  EXPECT_EQ(*ns_->Exists(keys_), (std::vector<bool>{false, false, false}));
}

TEST_P(ClientDaemonTest, ProfilesCodebooksFlushAndDrain) {
  ASSERT_NO_FATAL_FAILURE(Open("raw"));
  auto profile = client_->admin().SetProfile(ns_->id(), kKvcomp);
  ASSERT_TRUE(profile.ok()) << profile.status();
  ASSERT_TRUE(ns_->Refresh().ok());
  EXPECT_EQ(ns_->state().policy.profile(), *profile);

  codec::CodebookTrainer trainer(ns_->fingerprint(), *Profile::Parse(*profile));
  const std::vector<uint32_t> counts(256, 1);
  for (uint32_t layer = 0; layer < 3; ++layer) {
    trainer.Add(layer, Tensor::kK, counts);
    trainer.Add(layer, Tensor::kV, counts);
  }
  const auto set = trainer.Build();
  auto id = ns_->PutCodebooks(*set);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(*id, set->id());
  auto back = ns_->GetCodebooks(*id);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ((*back)->canonical_bytes(), set->canonical_bytes());

  KvMemory memory(TestModel(), PageLayout::kNhd, 64, kBlocks);
  memory.Fill(7);
  ASSERT_NO_FATAL_FAILURE(MustPut(keys_, memory));
  EXPECT_EQ((*ns_->Match(keys_)).blocks[0].profile, *profile);
  auto flushed = client_->admin().Flush(ns_->id());
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_EQ(flushed->blocks(), kBlocks);

  ASSERT_TRUE(client_->admin().Drain(/*grace_ms=*/1000, /*exit=*/false).ok());
  auto stats = client_->admin().Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_TRUE(stats->draining());
  auto refused = ns_->PutBlocks(PutsOf(keys_, memory), {.form = GetParam(), .deadline_ms = 500});
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
}

INSTANTIATE_TEST_SUITE_P(Forms, ClientDaemonTest, testing::Values(Form::kDecoded, Form::kEncoded),
                         [](const auto& info) {
                           return info.param == Form::kDecoded ? "Decoded" : "Encoded";
                         });

}  // namespace
}  // namespace kvcompd
