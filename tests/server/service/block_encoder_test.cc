#include "server/service/block_encoder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "codec/base/model_descriptor.h"
#include "codec/base/profile.h"
#include "codec/tile_group_executor.h"
#include "server/store/namespace.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::server {
namespace {

// The last group first; keeps how many there were.
class ReverseExecutor final : public codec::TileGroupExecutor {
 public:
  void Run(uint32_t n, codec::Workspace* ws, Job job) override {
    calls.push_back(n);
    for (uint32_t i = n; i-- > 0;) job(i, *ws);
  }
  std::vector<uint32_t> calls;
};

// One layer of 8 heads in bf16: a segment of 512 channels and 128 tokens has kMinSplitBytes.
ModelDescriptor Model(uint32_t tokens, uint32_t head_dim_k, uint32_t head_dim_v) {
  ModelDescriptor model;
  model.model_id = "model";
  model.tokens_per_block = tokens;
  AttentionGroup group;
  group.layers = {0};
  group.kv_heads = 8;
  group.head_dim_k = head_dim_k;
  group.head_dim_v = head_dim_v;
  model.groups = {group};
  return model;
}

// The container of a block.
std::string Encode(const ModelDescriptor& model, codec::TileGroupExecutor* executor) {
  const auto ns = std::make_shared<Namespace>("tenant", "model", model, NamespacePolicy());
  BlockEncoder encoder(ns, BlockKey::FromDigest(Digest{}), {0, 0, 8, 0, 1}, model.tokens_per_block,
                       *Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1"), executor);
  std::string memory(encoder.memory_bytes(), '\x5a');
  const MutableByteSpan bytes = std::as_writable_bytes(std::span(memory));
  codec::Workspace ws;
  while (!encoder.complete()) {
    const uint32_t s = encoder.next_segment();
    const MutableByteSpan to = encoder.AssemblyArea(bytes);
    const uint32_t channels = s == 0 ? model.groups[0].head_dim_k : model.groups[0].head_dim_v;
    const std::string values = kvcompd::testing::SyntheticKv(DType::kBf16, encoder.segment_tensor(s), 8,
                                                             model.tokens_per_block, channels, s);
    EXPECT_EQ(values.size(), to.size());
    std::memcpy(to.data(), values.data(), to.size());
    EXPECT_EQ(encoder.EncodeNext(bytes, ws), absl::OkStatus());
  }
  const auto info = encoder.Finish(bytes);
  EXPECT_TRUE(info.ok()) << info.status();
  return info.ok() ? memory.substr(0, info->bytes) : "";
}

TEST(BlockEncoderTest, LongSegmentsAreSplitAndKeepTheirBytes) {
  ReverseExecutor executor;
  const ModelDescriptor model = Model(128, 512, 504);
  EXPECT_EQ(Encode(model, &executor), Encode(model, nullptr));
  EXPECT_EQ(executor.calls, (std::vector<uint32_t>{2})) << "K is just long enough, V is not";
}

TEST(BlockEncoderTest, ASegmentOfOneGroupIsNotSplit) {
  ReverseExecutor executor;
  const ModelDescriptor model = Model(64, 576, 512);
  EXPECT_EQ(Encode(model, &executor), Encode(model, nullptr));
  EXPECT_TRUE(executor.calls.empty());
}

}  // namespace
}  // namespace kvcompd::server
