#include "client/ctl/sample_packing.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "client/ctl/sample_coder.h"
#include "codec/codec.h"

namespace kvcompd::client {
namespace {

constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};

struct WholeBlock {
  const KvFile* file;
  SampleCoder* coder;
  SampleCoder::Block block;
};

}  // namespace

absl::StatusOr<codec::PackkvChoices> TunePacking(const std::vector<const KvFile*>& samples,
                                                 const Profile& profile) {
  if (!profile.packing_is_auto()) return codec::PackkvChoices();
  std::deque<SampleCoder> coders;
  std::vector<WholeBlock> blocks;
  for (const KvFile* file : samples) {
    SampleCoder& coder = coders.emplace_back(*file, profile);
    for (SampleCoder::Block& block : coder.Blocks(nullptr)) {
      if (block.header.tokens == SampleCoder::kBlockTokens)
        blocks.push_back({file, &coder, std::move(block)});
    }
  }
  codec::PackkvTuner tuner(profile);
  if (blocks.empty()) return tuner.choices();
  codec::Workspace workspace;
  for (uint32_t i = 0; i < codec::PackkvTuner::kGroups; ++i) {
    const WholeBlock& from = blocks[i * blocks.size() / codec::PackkvTuner::kGroups];
    const uint32_t layer = i * from.file->layers / codec::PackkvTuner::kGroups;
    for (const Tensor tensor : kTensors) {
      const auto values = from.coder->Values(from.block, layer, tensor);
      if (!values.ok()) return values.status();
      const codec::GroupShape shape = from.block.header.segment_shape(tensor).group(0);
      if (auto s = tuner.Add(shape, values->data(), shape.tile_bytes(), &workspace); !s.ok()) return s;
    }
  }
  return tuner.choices();
}

}  // namespace kvcompd::client
