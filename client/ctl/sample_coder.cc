#include "client/ctl/sample_coder.h"

#include <algorithm>
#include <utility>

#include "codec/base/chain_hash.h"
#include "codec/segment.h"

namespace kvcompd::client {
namespace {

constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};

}  // namespace

SampleCoder::SampleCoder(const KvFile& file, const Profile& profile, const codec::PackkvChoices& packing)
    : file_(file),
      profile_(profile),
      packing_(packing),
      descriptor_(file.Descriptor(kBlockTokens)),
      fingerprint_(descriptor_.Fingerprint()),
      codec_(*codec::FindCodec(profile.codec)) {}

std::vector<SampleCoder::Block> SampleCoder::Blocks(const codec::CodebookSet* set) const {
  const std::vector<BlockKey> keys =
      ChainKeys(file_.token_ids, kBlockTokens, /*extra_keys=*/{}, /*include_tail=*/true);
  std::vector<Block> blocks;
  for (const BlockKey& key : keys) {
    Block block;
    block.first_token = static_cast<uint32_t>(blocks.size()) * kBlockTokens;
    block.header.fingerprint = fingerprint_;
    block.header.key = key;
    block.header.shard = {.head_count = file_.kv_heads, .layer_count = file_.layers};
    block.header.tokens = std::min(kBlockTokens, file_.tokens - block.first_token);
    block.header.dtype = file_.dtype;
    block.header.head_dim_k = file_.head_dim;
    block.header.head_dim_v = file_.head_dim;
    block.header.layers = descriptor_.groups[0].layers;
    block.header.profile = profile_.Text();
    if (set != nullptr) block.header.codebook_set = set->id();
    block.header.error_bound = static_cast<float>(profile_.ErrorBound());
    blocks.push_back(std::move(block));
  }
  return blocks;
}

absl::StatusOr<ByteSpan> SampleCoder::Values(const Block& block, uint32_t layer, Tensor tensor) {
  values_.resize(file_.TensorBytes(block.header.tokens));
  const absl::Status status =
      file_.CopyTokens(layer, tensor, block.first_token, block.header.tokens, values_);
  if (!status.ok()) return status;
  return ByteSpan(values_);
}

absl::StatusOr<std::string> SampleCoder::EncodeSegment(const Block& block, uint32_t layer, Tensor tensor,
                                                       const codec::CodebookSet* set,
                                                       codec::EncodeStats* stats) {
  const auto values = Values(block, layer, tensor);
  if (!values.ok()) return values.status();
  const codec::SegmentShape shape = block.header.segment_shape(tensor);
  const codec::SegmentPlace place = block.header.place(layer, tensor);
  codec::EncodeParams params{.profile = profile_, .packing = packing_.of(tensor)};
  if (set != nullptr) params.book = set->Find(place.layer, tensor);
  std::string out(codec::SegmentBound(shape, codec_), '\0');
  const MutableByteSpan room(reinterpret_cast<std::byte*>(out.data()), out.size());
  const auto bytes = codec::EncodeSegment(codec_, place, shape, *values, params, &workspace_, room, stats);
  if (!bytes.ok()) return bytes.status();
  out.resize(*bytes);
  return out;
}

absl::StatusOr<SampleCoder::Encoded> SampleCoder::Encode(const Block& block, const codec::CodebookSet* set) {
  codec::ContainerWriter writer(block.header);
  codec::EncodeStats all;
  Encoded encoded;
  encoded.layers.resize(file_.layers);
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (const Tensor tensor : kTensors) {
      Part& part = encoded.layers[layer][tensor == Tensor::kV ? 1 : 0];
      const auto segment = EncodeSegment(block, layer, tensor, set, &part.stats);
      if (!segment.ok()) return segment.status();
      if (absl::Status s = writer.AddSegment(AsBytes(*segment)); !s.ok()) return s;
      part.segment_bytes = segment->size();
      all.Add(part.stats);
    }
  }
  auto container = std::move(writer).Finish({.tiles = static_cast<uint32_t>(all.tiles),
                                             .raw_tiles = static_cast<uint32_t>(all.raw_tiles),
                                             .raw_bytes = all.raw_bytes});
  if (!container.ok()) return container.status();
  encoded.container = *std::move(container);
  return encoded;
}

absl::StatusOr<ByteSpan> SampleCoder::Decode(const codec::ContainerView& view, uint32_t layer, Tensor tensor,
                                             const codec::CodebookSet* set) {
  const auto segment = view.Segment(layer, tensor);
  if (!segment.ok()) return segment.status();
  const codec::SegmentPlace place = view.header().place(layer, tensor);
  const codec::Codebook* const book = set == nullptr ? nullptr : set->Find(place.layer, tensor);
  decoded_.resize(segment->shape().raw_bytes());
  const absl::Status status = segment->Decode(place, 0, segment->shape().heads, book, &workspace_, decoded_);
  if (!status.ok()) return status;
  return ByteSpan(decoded_);
}

void SampleCoder::Histograms::AddTo(codec::CodebookTrainer* trainer) const {
  for (const Part& part : parts) trainer->Add(part.layer, part.tensor, part.counts);
}

absl::StatusOr<SampleCoder::Histograms> SampleCoder::CountCodes() {
  Histograms histograms;
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (const Tensor tensor : kTensors) {
      histograms.parts.push_back(
          {descriptor_.groups[0].layers[layer], tensor, std::vector<uint32_t>(codec::kMaxSymbols)});
    }
  }
  for (const Block& block : Blocks(nullptr)) {
    auto part = histograms.parts.begin();
    for (uint32_t layer = 0; layer < file_.layers; ++layer) {
      for (const Tensor tensor : kTensors) {
        codec::EncodeStats stats;
        stats.histogram = &(part++)->counts;
        const auto segment = EncodeSegment(block, layer, tensor, nullptr, &stats);
        if (!segment.ok()) return segment.status();
      }
    }
  }
  return histograms;
}

}  // namespace kvcompd::client
