// What was put is what comes back: both forms, shards of several ranks, parts of blocks, large tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/container.h"
#include "tests/codec/codec_profiles.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

constexpr double kBf16Slack = 1.0 / 128;  // of a value: the decoded one is rounded to bf16

class PutGetTest : public ServiceTest {
 public:
  // Every byte of these heads and layers.
  void ExpectExact(const Got& got, uint32_t index, int block, const ShardRange& shard) {
    EXPECT_TRUE(got.status.ok()) << got.status;
    EXPECT_TRUE(got.BlockStatus(index).ok()) << got.BlockStatus(index);
    EXPECT_EQ(got.LayersOf(index), shard.layer_count);
    for (uint32_t l = shard.layer_begin; l < shard.layer_begin + shard.layer_count; ++l) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        EXPECT_EQ(got.Values(index, l, tensor), ExpectedValues(block, shard, l, tensor))
            << "block " << block << " layer " << l << TensorName(tensor);
      }
    }
  }
  // Within the bound, and not the very bytes: the profile is lossy.
  void ExpectWithinBound(const Got& got, uint32_t index, int block, const ShardRange& shard) {
    ASSERT_TRUE(got.BlockStatus(index).ok()) << got.BlockStatus(index);
    const Profile profile = *Profile::Parse(kKvcomp);
    for (uint32_t l = shard.layer_begin; l < shard.layer_begin + shard.layer_count; ++l) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const std::string want = ExpectedValues(block, shard, l, tensor);
        const double difference = MaxDifference(want, got.Values(index, l, tensor));
        const double bound = profile.ErrorBound(tensor) * RangeOf(want);
        EXPECT_LE(difference, bound * (1 + 1.0 / 256) + 4 * kBf16Slack);
        EXPECT_GT(difference, bound / 4) << "not lossy at all: was it stored raw?";
      }
    }
  }
  // Four workers: 2 tensor-parallel ranks by 2 pipeline ranks.
  static std::vector<ShardRange> FourShards() {
    return {{0, 0, 2, 0, 2}, {0, 2, 2, 0, 2}, {0, 0, 2, 2, 2}, {0, 2, 2, 2, 2}};
  }
};

// Every profile of the codec suites as a namespace's policy: raw values and encoded blocks, read in both
// forms.
class EveryCodecTest : public PutGetTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(EveryCodecTest, ServesWhatWasPutInAllFourCombinationsOfForms) {
  const Profile profile = *Profile::Parse(GetParam());
  const std::string ns = Open("acme", profile.Text());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}, .encoded = true, .profile = profile.Text(), .put_id = 2}).ok());
  std::vector<std::string> values;
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got got = Get(GetOf(ns, {1, 2}, WholeShard(), form));
    for (uint32_t i = 0; i < 2; ++i) {
      const int block = static_cast<int>(i) + 1;
      if (profile.lossless()) {
        ExpectExact(got, i, block, WholeShard());
        continue;
      }
      ASSERT_TRUE(got.BlockStatus(i).ok()) << got.BlockStatus(i);
      for (uint32_t l = 0; l < WholeShard().layer_count; ++l) {
        for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
          const std::string want = ExpectedValues(block, WholeShard(), l, tensor);
          // The units' ranges are at most the tensor's.
          EXPECT_LE(MaxDifference(want, got.Values(i, l, tensor)),
                    profile.ErrorBound(tensor) * RangeOf(want) * (1 + 1.0 / 256) + 4 * kBf16Slack);
          values.push_back(got.Values(i, l, tensor));
        }
      }
    }
  }
  for (size_t i = 0; i < values.size() / 2; ++i) EXPECT_EQ(values[i], values[values.size() / 2 + i]) << i;
}

INSTANTIATE_TEST_SUITE_P(Profiles, EveryCodecTest, ::testing::ValuesIn(kvcompd::testing::kSuiteProfiles),
                         [](const auto& info) { return kvcompd::testing::TestNameOf(info.param); });

TEST_F(PutGetTest, RawProfileKeepsEveryByteInAllFourCombinationsOfForms) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, 2}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {3}, .encoded = true}).ok());
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got got = Get(GetOf(ns, {1, 2, 3}, WholeShard(), form));
    for (uint32_t i = 0; i < 3; ++i) ExpectExact(got, i, static_cast<int>(i) + 1, WholeShard());
    for (const auto& chunk : got.chunks) EXPECT_EQ(chunk.form(), form);
  }
}

TEST_F(PutGetTest, KvcompIsWithinItsBoundAndTheSameInBothForms) {
  const std::string ns = Open("acme", kKvcomp);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}, .encoded = true, .profile = kKvcomp}).ok());
  const Got decoded = Get(GetOf(ns, {1, 2}));
  const Got encoded = Get(GetOf(ns, {1, 2}, WholeShard(), v1::FORM_ENCODED));
  EXPECT_EQ(decoded.heads, encoded.heads);
  ExpectWithinBound(decoded, 0, 1, WholeShard());
  ExpectWithinBound(decoded, 1, 2, WholeShard());
  const Store::Stats stats = store().stats();
  EXPECT_LT(stats.encoded_bytes, stats.raw_bytes * 2 / 3);
}

TEST_F(PutGetTest, DaemonAndClientEncodeTheSameBytes) {
  const std::string ns = Open("acme", kKvcomp);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  const auto snapshot = store().Lookup(store().FindNamespace(ns), *BlockKey::FromBytes(KeyOf(1)));
  ASSERT_TRUE(snapshot.has_value());
  auto stored = codec::ContainerView::Parse(snapshot->shards[0]->container());
  const std::string mine = EncodeBlock(1, WholeShard(), kKvcomp, ServiceModel().Fingerprint());
  auto made = codec::ContainerView::Parse(AsBytes(mine));
  ASSERT_TRUE(stored.ok() && made.ok());
  for (uint32_t s = 0; s < made->header().num_segments(); ++s) {
    EXPECT_EQ(AsChars(stored->SegmentBytes(s)), AsChars(made->SegmentBytes(s))) << s;
  }
}

TEST_F(PutGetTest, ShardsOfFourWorkersCompleteABlockOnlyTogether) {
  for (const bool encoded : {false, true}) {
    const std::string ns = Open(encoded ? "encoded" : "decoded");
    int put_id = 10;
    for (const ShardRange& shard : FourShards()) {
      EXPECT_FALSE(Exists(ns, 1));
      EXPECT_EQ(Matched(ns, {1}), 0u);
      ASSERT_TRUE(
          Put({.ns = ns, .blocks = {1}, .shard = shard, .encoded = encoded, .put_id = put_id++}).ok());
    }
    EXPECT_TRUE(Exists(ns, 1));
    EXPECT_EQ(Matched(ns, {1}), 1u);
    for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
      for (const ShardRange& wanted : {WholeShard(), ShardRange{0, 3, 1, 0, 4},  // one head
                                       ShardRange{0, 1, 2, 0, 4},                // over a shard's boundary
                                       ShardRange{0, 0, 4, 2, 1},                // one layer
                                       ShardRange{0, 1, 3, 1, 2}}) {             // over both boundaries
        ExpectExact(Get(GetOf(ns, {1}, wanted, form)), 0, 1, wanted);
      }
    }
  }
}

TEST_F(PutGetTest, OneHeadOfALossyBlockEqualsThatHeadOfTheWhole) {
  const std::string ns = Open("acme", kKvcomp);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  const Got whole = Get(GetOf(ns, {1}));
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got one = Get(GetOf(ns, {1}, {0, 2, 1, 0, kLayers}, form));
    ASSERT_TRUE(one.status.ok());
    for (const auto& [place, heads] : one.heads) {
      ASSERT_EQ(heads.size(), 1u);
      EXPECT_EQ(heads.at(2), whole.heads.at(place).at(2));
    }
    EXPECT_EQ(one.heads.size(), whole.heads.size());
  }
}

TEST_F(PutGetTest, OnlyKOrOnlyV) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    v1::GetRequest request = GetOf(ns, {1}, WholeShard(), form);
    request.set_without_v(true);
    Got got = Get(request);
    EXPECT_EQ(got.Values(0, 1, Tensor::kK), ExpectedValues(1, WholeShard(), 1, Tensor::kK));
    EXPECT_TRUE(got.Values(0, 1, Tensor::kV).empty());
    request.clear_without_v();
    request.set_without_k(true);
    got = Get(request);
    EXPECT_TRUE(got.Values(0, 1, Tensor::kK).empty());
    EXPECT_EQ(got.Values(0, 1, Tensor::kV), ExpectedValues(1, WholeShard(), 1, Tensor::kV));
    EXPECT_EQ(got.LayersOf(0), kLayers);
  }
}

TEST_F(PutGetTest, MessagesComeLayerMajor) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, 2, 3}}).ok());
  const Got got = Get(GetOf(ns, {1, 2, 3}));
  std::vector<std::pair<uint32_t, uint32_t>> order;
  for (const auto& layer : got.layers) order.emplace_back(layer.layer(), layer.block());
  ASSERT_EQ(order.size(), 3 * kLayers);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(PutGetTest, HeadsThatTwoRanksHoldAreStoredOnce) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .shard = {0, 0, 2, 0, kLayers}}).ok());
  PutCall again(stub());
  again.Send(HeaderOf({.ns = ns, .blocks = {1}, .shard = {0, 0, 2, 0, kLayers}, .put_id = 2}));
  ASSERT_TRUE(again.Receive());
  EXPECT_EQ(again.verdict(0), v1::PutDisposition::ALREADY_STORED);
  EXPECT_TRUE(again.Finish().ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .shard = {0, 2, 2, 0, kLayers}, .put_id = 3}).ok());
  EXPECT_EQ(store().stats().raw_bytes, uint64_t{kLayers} * kHeads * kTokens * (16 + 8) * 2);
}

TEST_F(PutGetTest, LargeTensorsTravelInPiecesCutAnywhere) {
  const std::string ns = Open();
  // Pieces of 1000 bytes: neither rows nor elements end there.
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .piece_bytes = 1001}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}, .encoded = true, .put_id = 2, .piece_bytes = 777}).ok());
  v1::GetRequest request = GetOf(ns, {1, 2});
  request.set_max_chunk_bytes(4096);
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    request.set_form(form);
    const Got got = Get(request);
    ExpectExact(got, 0, 1, WholeShard());
    ExpectExact(got, 1, 2, WholeShard());
    EXPECT_GT(got.chunks.size(), 16u);
    for (const auto& chunk : got.chunks) EXPECT_LE(chunk.bytes(), 4096u);
  }
}

TEST_F(PutGetTest, AShorterLastBlockKeepsItsTokens) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .tokens = 5}).ok());
  const Got got = Get(GetOf(ns, {1}));
  EXPECT_EQ(got.Values(0, 0, Tensor::kK), ExpectedValues(1, WholeShard(), 0, Tensor::kK, 5));
  EXPECT_EQ(got.chunks.at(0).tokens(), 5u);
}

TEST_F(PutGetTest, AMissSaysSoAndTheOthersCome) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, 3}}).ok());
  const Got got = Get(GetOf(ns, {1, 2, 3}));
  ExpectExact(got, 0, 1, WholeShard());
  ExpectExact(got, 2, 3, WholeShard());
  EXPECT_TRUE(absl::IsNotFound(got.BlockStatus(1)));
  EXPECT_EQ(got.BlockReason(1), v1::REASON_NOT_STORED);
  EXPECT_EQ(got.LayersOf(1), 0u);
  EXPECT_EQ(Missed("not_stored"), 1);
}

TEST_F(PutGetTest, TheProfileMayChangeBetweenPuts) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::SetProfileRequest set;
  set.set_namespace_id(ns);
  set.set_profile("kvcomp");
  v1::SetProfileResponse reply;
  ASSERT_TRUE(fixture().admin()->SetProfile(Call().get(), set, &reply).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}}).ok());
  const Got got = Get(GetOf(ns, {1, 2}));
  ExpectExact(got, 0, 1, WholeShard());
  ExpectWithinBound(got, 1, 2, WholeShard());
  // And the halves of one block may differ.
  ASSERT_TRUE(Put({.ns = ns, .blocks = {3}, .shard = {0, 0, 2, 0, kLayers}}).ok());
  set.set_profile("raw");
  ASSERT_TRUE(fixture().admin()->SetProfile(Call().get(), set, &reply).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {3}, .shard = {0, 2, 2, 0, kLayers}}).ok());
  const Got mixed = Get(GetOf(ns, {3}));
  for (uint32_t h : {2u, 3u}) {
    EXPECT_EQ(mixed.heads.at({0, 1, Tensor::kK}).at(h),
              ExpectedValues(3, {0, h, 1, 0, kLayers}, 1, Tensor::kK));
  }
  ExpectWithinBound(Get(GetOf(ns, {3}, {0, 0, 2, 0, kLayers})), 0, 3, {0, 0, 2, 0, kLayers});
}

TEST_F(PutGetTest, BlocksOfAnOlderCodebookSetStillDecodeAfterTraining) {
  const std::string id = Open("acme", kKvcomp);
  ASSERT_TRUE(Put({.ns = id, .blocks = {1}}).ok());
  const Got before = Get(GetOf(id, {1}));
  const auto ns = store().FindNamespace(id);
  // As if a million codes had been seen, all of them the first symbols.
  std::vector<uint32_t> counts(codec::kMaxSymbols, 0);
  counts[3] = 2'000'000;
  counts[4] = 1'000'000;
  for (uint32_t layer : {2, 3, 5, 7}) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      ns->codebooks().AddSamples(*Profile::Parse(kKvcomp), layer, tensor, counts);
    }
  }
  v1::GetCodebooksRequest request;
  request.set_namespace_id(id);
  v1::GetCodebooksResponse trained;
  ASSERT_TRUE(KVCOMPD_CALL(GetCodebooks, request, &trained).ok());
  ASSERT_TRUE(Put({.ns = id, .blocks = {2}}).ok());
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got after = Get(GetOf(id, {1, 2}, WholeShard(), form));
    for (const auto& [place, heads] : before.heads) EXPECT_EQ(after.heads.at(place), heads);
    ExpectWithinBound(after, 1, 2, WholeShard());
    if (form != v1::FORM_ENCODED) continue;
    std::set<std::string> sets;
    for (const auto& chunk : after.chunks) {
      if (chunk.container_part() == v1::CONTAINER_HEADER) sets.insert(chunk.codebook_set());
    }
    EXPECT_EQ(sets, (std::set<std::string>{"", trained.set_id()}));
  }
}

}  // namespace
}  // namespace kvcompd::server
