#include "client/ctl/bench_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/kv_file.h"

namespace kvcompd::client {
namespace {

constexpr char kSampleFolder[] = "tests/data";

TEST(BenchBlocks, OfOneMebibyteHaveFourLayers) {
  const auto blocks = BenchBlocks::Make(1 << 20, 3, "");
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_EQ((*blocks)->layers(), 4u);
  EXPECT_EQ((*blocks)->block_bytes(), uint64_t{1} << 20);
  EXPECT_EQ((*blocks)->data(), "synthetic");
  const ModelDescriptor model = (*blocks)->Descriptor("raw");
  EXPECT_TRUE(model.Validate().ok());
  const AttentionGroup& group = model.groups[0];
  EXPECT_EQ(4 * (group.TensorBytes(Tensor::kK, group.kv_heads, 64) +
                 group.TensorBytes(Tensor::kV, group.kv_heads, 64)),
            uint64_t{1} << 20);
  EXPECT_NE(model.Fingerprint(), (*blocks)->Descriptor("kvcomp").Fingerprint());
}

TEST(BenchBlocks, RefusesOtherSizes) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, kBenchLayerBytes + 1, kBenchLayerBytes - 1}) {
    EXPECT_EQ(BenchBlocks::Make(bytes, 1, "").status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
  EXPECT_EQ(BenchBlocks::Make(kBenchLayerBytes, 0, "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BenchBlocks, GatherGivesTheValues) {
  const auto blocks = BenchBlocks::Make(2 * kBenchLayerBytes, 3, "");
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  const BenchMemory& memory = (*blocks)->memory();
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const ByteSpan want = memory.Values(1, tensor, 2);
    std::vector<std::byte> got(want.size());
    const absl::Status status =
        memory.buffer().Gather(memory.place(2), /*layer=*/1, tensor, /*head_begin=*/0, kBenchTokens, 0, got);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin()));
    const ByteSpan other = memory.Values(1, tensor, 1);
    EXPECT_FALSE(std::equal(want.begin(), want.end(), other.begin())) << "blocks must differ";
  }
}

TEST(BenchBlocks, TileRealValues) {
  const auto blocks = BenchBlocks::Make(1 << 20, 2, kSampleFolder);
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_EQ((*blocks)->data(), "docs6m.prefix_a,docs6m.prefix_b");  // tiny1m has another head_dim
  const auto file = LoadKvFile(std::string(kSampleFolder) + "/docs6m.prefix_a");
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::byte> want(file->TensorBytes(kBenchTokens));
  ASSERT_TRUE(file->CopyTokens(/*layer=*/0, Tensor::kV, 64, kBenchTokens, want).ok());
  // Heads 2 and 3 of the first block are the second 64 tokens of the sample's two heads.
  const ByteSpan got = (*blocks)->memory().Values(0, Tensor::kV, 0).subspan(want.size(), want.size());
  EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin()));
}

TEST(BenchBlocks, FolderWithoutSamplesIsNotFound) {
  EXPECT_EQ(BenchBlocks::Make(1 << 20, 1, "tests/data/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(BenchBlocks::Make(1 << 20, 1, "tests/client").status().code(), absl::StatusCode::kNotFound);
}

TEST(BenchBlocks, KeysDiffer) {
  std::set<BlockKey> keys;
  for (uint32_t owner = 0; owner < 12; ++owner) {
    for (uint64_t number = 0; number < 120; ++number) keys.insert(BenchBlocks::Key(owner, number));
  }
  EXPECT_EQ(keys.size(), 12u * 120u);
}

}  // namespace
}  // namespace kvcompd::client
