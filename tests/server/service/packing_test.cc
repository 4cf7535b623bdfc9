// A namespace whose profile leaves packkv's setting open: it is found on what is put, and used from then on.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/container.h"
#include "codec/packkv_header.h"
#include "codec/packkv_tuner.h"
#include "server/store/packing_tuner.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

constexpr char kAuto[] = "packkv:rel_k=0.2,rel_v=0.4,repack=auto,pack=auto";
constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};
// Groups of a tensor until it has its samples; a block has one a layer.
constexpr uint64_t kGroupsToChoose = (codec::PackkvTuner::kGroups - 1) * PackingTuner::kGroupsPerSample + 1;
constexpr int kBlocksToChoose = static_cast<int>((kGroupsToChoose + kLayers - 1) / kLayers);

std::string TextOf(const PackkvSetting& setting) {
  return absl::StrCat("packkv:rel_k=0.2,rel_v=0.4,repack=", std::string(RepackName(setting.repack)),
                      ",pack=", setting.pack);
}

// What the samples of blocks 1, 2, ... say, put one after the other.
codec::PackkvChoices ChoicesOfTheSamples() {
  codec::PackkvTuner tuner(*Profile::Parse(kAuto));
  codec::Workspace ws;
  for (const Tensor tensor : kTensors) {
    for (uint64_t n = 0; tuner.Wants(tensor); n += PackingTuner::kGroupsPerSample) {
      const auto layer = static_cast<uint32_t>(n % kLayers);
      const std::string values =
          ExpectedValues(1 + static_cast<int>(n / kLayers), WholeShard(), layer, tensor);
      const codec::GroupShape shape{DType::kBf16, tensor, kHeads, kTokens,
                                    ServiceModel().groups[0].head_dim(tensor)};
      EXPECT_TRUE(tuner.Add(shape, AsBytes(values).data(), shape.tile_bytes(), &ws).ok());
    }
  }
  return tuner.choices();
}

class PackingTest : public ServiceTest {
 public:
  void PutBlocks(const std::string& ns, int first, int count) {
    for (int block = first; block < first + count; ++block) {
      ASSERT_TRUE(Put({.ns = ns, .blocks = {block}, .put_id = block}).ok()) << block;
    }
  }
  // The block's K and V are stored as these settings write them.
  void ExpectPacked(const std::string& ns, int block, const PackkvSetting& k, const PackkvSetting& v) {
    const auto snapshot = store().Lookup(store().FindNamespace(ns), *BlockKey::FromBytes(KeyOf(block)));
    ASSERT_TRUE(snapshot.has_value());
    const auto stored = codec::ContainerView::Parse(snapshot->shards[0]->container());
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->header().profile, kAuto);
    for (const Tensor tensor : kTensors) {
      const PackkvSetting& setting = tensor == Tensor::kK ? k : v;
      const std::string bytes =
          EncodeBlock(block, WholeShard(), TextOf(setting), ServiceModel().Fingerprint());
      const auto made = codec::ContainerView::Parse(AsBytes(bytes));
      ASSERT_TRUE(made.ok()) << made.status();
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        const auto segment = stored->Segment(layer, tensor);
        EXPECT_EQ(AsChars(segment->bytes()), AsChars(made->Segment(layer, tensor)->bytes()))
            << TextOf(setting) << " layer " << layer << TensorName(tensor);
        const ByteSpan header = segment->group_header(0);
        ASSERT_GE(header.size(), codec::kPackkvHeaderFixedBytes);
        EXPECT_EQ(std::to_integer<uint32_t>(header[1]), setting.pack);
      }
    }
  }
  // How often the log says it.
  static size_t CountInLog(const std::string& log, std::string_view text) {
    size_t count = 0;
    for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }
};

TEST_F(PackingTest, IsTheDefaultAtFirstAndThenWhatTheSamplesSay) {
  const codec::PackkvChoices chosen = ChoicesOfTheSamples();
  for (const Tensor tensor : kTensors) {
    ASSERT_FALSE(*chosen.of(tensor) == PackkvSetting()) << TensorName(tensor) << ": the samples say nothing";
  }
  ASSERT_FALSE(*chosen.v == *chosen.k) << "the samples do not tell K from V";

  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  const std::string ns = Open("acme", kAuto);
  PutBlocks(ns, 1, kBlocksToChoose);
  ExpectPacked(ns, kBlocksToChoose, {}, {});
  PutBlocks(ns, kBlocksToChoose + 1, 3);
  ExpectPacked(ns, kBlocksToChoose + 1, *chosen.k, *chosen.v);
  ExpectPacked(ns, kBlocksToChoose + 3, *chosen.k, *chosen.v);
  Quiesce();
  spdlog::set_default_logger(before);

  EXPECT_EQ(CountInLog(log.str(), "packing chosen"), 2u) << log.str();
  for (const Tensor tensor : kTensors) {
    const PackkvSetting& setting = *chosen.of(tensor);
    EXPECT_EQ(CountInLog(log.str(), absl::StrCat("tensor=", std::string(TensorName(tensor)),
                                                 " repack=", std::string(RepackName(setting.repack)),
                                                 " pack=", setting.pack, " saved_bytes=")),
              1u)
        << log.str();
  }
}

TEST_F(PackingTest, BeginsAnewWithTheProfile) {
  const std::string id = Open("acme", kAuto);
  const auto ns = store().FindNamespace(id);
  PutBlocks(id, 1, kBlocksToChoose);
  const Profile profile = *Profile::Parse(kAuto);
  ASSERT_TRUE(ns->packing(profile)->choices().k.has_value());
  v1::SetProfileRequest set;
  set.set_namespace_id(id);
  set.set_profile(kAuto);
  v1::SetProfileResponse reply;
  ASSERT_TRUE(fixture().admin()->SetProfile(Call().get(), set, &reply).ok());
  EXPECT_FALSE(ns->packing(profile)->choices().k.has_value());
  PutBlocks(id, kBlocksToChoose + 1, 1);
  ExpectPacked(id, kBlocksToChoose + 1, {}, {});
}

TEST_F(PackingTest, ShorterBlocksAreNoSamples) {
  const std::string id = Open("acme", kAuto);
  for (int block = 1; block <= kBlocksToChoose; ++block) {
    ASSERT_TRUE(Put({.ns = id, .blocks = {block}, .tokens = kTokens - 1, .put_id = block}).ok());
  }
  const codec::PackkvChoices choices = store().FindNamespace(id)->packing(*Profile::Parse(kAuto))->choices();
  EXPECT_FALSE(choices.k.has_value() || choices.v.has_value());
}

}  // namespace
}  // namespace kvcompd::server
