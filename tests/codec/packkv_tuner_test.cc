// The choice of packkv's setting: the smallest of all that were tried, the faster one of near ties, each
// tensor by itself.
#include "codec/packkv_tuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/packkv_codec.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;
using kvcompd::testing::ToBytes;

constexpr char kAuto[] = "packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=auto";
constexpr uint32_t kHeads = 2, kTokens = 64, kChannels = 64;

GroupShape ShapeOf(Tensor tensor) { return {DType::kBf16, tensor, kHeads, kTokens, kChannels}; }

// Tokens of four kinds in no order; a kind says what all channels are about. Only tokens that stand together
// make a pack narrow.
std::string MixedTokens(uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> kinds(4, std::vector<float>(kHeads * kChannels));
  for (auto& kind : kinds) {
    for (float& value : kind) value = static_cast<float>(random.Below(100));
  }
  std::vector<uint32_t> kind_of(kTokens);
  for (uint32_t& kind : kind_of) kind = random.Below(4);
  std::vector<float> values;
  for (uint32_t h = 0; h < kHeads; ++h) {
    for (uint32_t t = 0; t < kTokens; ++t) {
      for (uint32_t c = 0; c < kChannels; ++c) values.push_back(kinds[kind_of[t]][h * kChannels + c]);
    }
  }
  return ToBytes(DType::kBf16, values);
}

std::string Constant() { return ToBytes(DType::kBf16, std::vector<float>(kHeads * kTokens * kChannels, 3)); }

// Adds as many groups as are wanted, of seeds from `seed` on.
template <typename MakeValues>
void Fill(PackkvTuner* tuner, Tensor tensor, MakeValues make_values, uint64_t seed = 1) {
  Workspace ws;
  const GroupShape shape = ShapeOf(tensor);
  for (; tuner->Wants(tensor); ++seed) {
    const std::string values = make_values(seed);
    ASSERT_TRUE(tuner->Add(shape, AsBytes(values).data(), uint64_t{kTokens} * shape.row_bytes(), &ws).ok());
  }
}

std::string KvOf(Tensor tensor, uint64_t seed) {
  return SyntheticKv(DType::kBf16, tensor, kHeads, kTokens, kChannels, seed);
}

// Bytes that a profile stores of the groups, counted from what the codec hands out.
uint64_t StoredBytes(const std::string& profile, Tensor tensor, const std::vector<std::string>& groups) {
  const auto stored = [](uint64_t bytes) { return (bytes + 15) / 16 * 16; };
  uint64_t sum = 0;
  for (const std::string& values : groups) {
    const EncodedGroup group =
        *EncodeGroup(PackkvCodec(), ShapeOf(tensor), values, {.profile = *Profile::Parse(profile)});
    sum += stored(group.header.size());
    for (const std::string& payload : group.payloads) sum += stored(payload.size());
  }
  return sum;
}

TEST(PackkvTunerTest, ChoosesNothingBeforeItHasItsGroups) {
  PackkvTuner tuner(*Profile::Parse(kAuto));
  Workspace ws;
  const std::string values = MixedTokens(1);
  const GroupShape shape = ShapeOf(Tensor::kV);
  for (uint32_t i = 0; i < PackkvTuner::kGroups; ++i) {
    EXPECT_TRUE(tuner.Wants(Tensor::kV)) << i;
    EXPECT_FALSE(tuner.outcome(Tensor::kV).has_value()) << i;
    EXPECT_FALSE(tuner.choices().v.has_value()) << i;
    ASSERT_TRUE(tuner.Add(shape, AsBytes(values).data(), kTokens * shape.row_bytes(), &ws).ok());
  }
  EXPECT_FALSE(tuner.Wants(Tensor::kV));
  EXPECT_TRUE(tuner.choices().v.has_value());
  // K has had none.
  EXPECT_TRUE(tuner.Wants(Tensor::kK));
  EXPECT_FALSE(tuner.choices().k.has_value());
}

TEST(PackkvTunerTest, FindsTheSmallestAndCountsWhatIsStored) {
  std::vector<std::string> groups;
  for (uint64_t seed = 1; seed <= PackkvTuner::kGroups; ++seed) groups.push_back(MixedTokens(seed));
  PackkvTuner tuner(*Profile::Parse(kAuto));
  Fill(&tuner, Tensor::kV, [&](uint64_t seed) { return groups[seed - 1]; });
  const auto outcome = tuner.outcome(Tensor::kV);
  ASSERT_TRUE(outcome.has_value());

  uint64_t least = ~uint64_t{0};
  for (const char* repack : {"none", "median", "greedy"}) {
    for (const int pack : {4, 8, 16, 32}) {
      const uint64_t bytes =
          StoredBytes(absl::StrCat("packkv:repack=", repack, ",pack=", pack), Tensor::kV, groups);
      least = std::min(least, bytes);
      if (outcome->setting.pack == static_cast<uint32_t>(pack) &&
          RepackName(outcome->setting.repack) == repack) {
        EXPECT_EQ(outcome->stored_bytes, bytes);
      }
      if (repack == std::string("none") && pack == 16) {
        EXPECT_EQ(outcome->default_bytes, bytes);
      }
    }
  }
  EXPECT_LE(outcome->stored_bytes, least + least / 100);
  EXPECT_EQ(outcome->setting.repack, Repack::kGreedy);
  EXPECT_LT(outcome->stored_bytes, outcome->default_bytes * 9 / 10);
}

TEST(PackkvTunerTest, StaysWithTheDefaultWhereNothingIsWon) {
  PackkvTuner tuner(*Profile::Parse(kAuto));
  Fill(&tuner, Tensor::kK, [](uint64_t) { return Constant(); });
  const auto outcome = tuner.outcome(Tensor::kK);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->setting, (PackkvSetting{Repack::kNone, 16}));
  EXPECT_EQ(outcome->stored_bytes, outcome->default_bytes);
}

TEST(PackkvTunerTest, TriesOnlyWhatTheProfileLeavesOpen) {
  PackkvTuner packs(*Profile::Parse("packkv:repack=none,pack=auto"));
  Fill(&packs, Tensor::kV, MixedTokens);
  EXPECT_EQ(packs.choices().v->repack, Repack::kNone);
  PackkvTuner orders(*Profile::Parse("packkv:repack=auto,pack=32"));
  Fill(&orders, Tensor::kV, MixedTokens);
  EXPECT_EQ(*orders.choices().v, (PackkvSetting{Repack::kGreedy, 32}));
}

TEST(PackkvTunerTest, OfNearTiesItTakesTheFaster) {
  // Whatever it chooses: nothing that is faster is within the near tie, and the least is.
  int overruled = 0;
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    for (uint64_t seed = 1; seed < 200; seed += 50) {
      std::vector<std::string> groups;
      for (uint64_t i = 0; i < PackkvTuner::kGroups; ++i) groups.push_back(KvOf(tensor, seed + i));
      PackkvTuner tuner(*Profile::Parse(kAuto));
      Fill(&tuner, tensor, [&](uint64_t i) { return groups[i - 1]; });
      std::vector<std::pair<PackkvSetting, uint64_t>> by_preference;
      uint64_t least = ~uint64_t{0};
      for (const Repack repack : {Repack::kNone, Repack::kMedian, Repack::kGreedy}) {
        for (const uint32_t pack : {32u, 16u, 8u, 4u}) {
          const uint64_t bytes =
              StoredBytes(absl::StrCat("packkv:repack=", std::string(RepackName(repack)), ",pack=", pack),
                          tensor, groups);
          least = std::min(least, bytes);
          by_preference.emplace_back(PackkvSetting{repack, pack}, bytes);
        }
      }
      std::swap(by_preference[0], by_preference[1]);  // the default before all
      PackkvSetting expected, smallest;
      for (auto it = by_preference.rbegin(); it != by_preference.rend(); ++it) {
        if (it->second * 100 <= least * 101) expected = it->first;
        if (it->second == least) smallest = it->first;
      }
      EXPECT_EQ(*tuner.choices().of(tensor), expected) << seed;
      overruled += !(expected == smallest);
    }
  }
  EXPECT_GT(overruled, 0) << "no near tie among the samples";
}

TEST(PackkvTunerTest, EachTensorHasItsOwnChoice) {
  PackkvTuner tuner(*Profile::Parse(kAuto));
  Fill(&tuner, Tensor::kK, [](uint64_t) { return Constant(); });
  Fill(&tuner, Tensor::kV, MixedTokens);
  EXPECT_EQ(tuner.choices().k->repack, Repack::kNone);
  EXPECT_EQ(tuner.choices().v->repack, Repack::kGreedy);
}

TEST(PackkvTunerTest, FollowsFromTheGroupsAloneAndStays) {
  PackkvTuner one(*Profile::Parse(kAuto)), other(*Profile::Parse(kAuto));
  Fill(&one, Tensor::kV, [](uint64_t seed) { return KvOf(Tensor::kV, seed); });
  Fill(&other, Tensor::kV, [](uint64_t seed) { return KvOf(Tensor::kV, PackkvTuner::kGroups + 1 - seed); });
  const auto before = one.outcome(Tensor::kV);
  EXPECT_EQ(before->setting, other.outcome(Tensor::kV)->setting);
  EXPECT_EQ(before->stored_bytes, other.outcome(Tensor::kV)->stored_bytes);
  // What comes after the choice changes nothing.
  Workspace ws;
  const std::string values = MixedTokens(1);
  const GroupShape shape = ShapeOf(Tensor::kV);
  ASSERT_TRUE(one.Add(shape, AsBytes(values).data(), kTokens * shape.row_bytes(), &ws).ok());
  EXPECT_EQ(one.outcome(Tensor::kV)->stored_bytes, before->stored_bytes);
}

TEST(PackkvTunerTest, AGroupThatCannotBeEncodedDoesNotCount) {
  PackkvTuner tuner(*Profile::Parse(kAuto));
  Fill(&tuner, Tensor::kV, [](uint64_t) { return Constant(); });
  Workspace ws;
  GroupShape shape = ShapeOf(Tensor::kK);
  shape.channels = 4;
  const std::string values = Constant();
  for (uint32_t i = 0; i < PackkvTuner::kGroups; ++i) {
    EXPECT_EQ(tuner.Add(shape, AsBytes(values).data(), kTokens * shape.row_bytes(), &ws).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(tuner.Wants(Tensor::kK));
}

}  // namespace
}  // namespace kvcompd::codec
