#include "server/service/block_encoder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/ops/logging.h"

namespace kvcompd::server {
namespace {

constexpr uint64_t kAlign = 64;  // of segments and footer (codec/FORMAT.md, "Container")

uint64_t AlignUp(uint64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

}  // namespace

BlockEncoder::BlockEncoder(std::shared_ptr<Namespace> ns, const BlockKey& key, const ShardRange& shard,
                           uint32_t tokens, const Profile& profile, codec::TileGroupExecutor* executor)
    : ns_(std::move(ns)),
      profile_(profile),
      codec_(codec::FindCodec(profile.codec)),
      executor_(executor),
      codebooks_(ns_->codebooks().Current(profile)),
      packing_(ns_->packing(profile)),
      packing_choices_(packing_ == nullptr ? codec::PackkvChoices() : packing_->choices()) {
  const AttentionGroup& group = *ns_->descriptor().FindGroup(shard.group);
  header_.fingerprint = ns_->fingerprint();
  header_.key = key;
  header_.shard = shard;
  header_.tokens = tokens;
  header_.dtype = group.dtype;
  header_.head_dim_k = group.head_dim_k;
  header_.head_dim_v = group.head_dim_v;
  header_.layers.assign(group.layers.begin() + shard.layer_begin,
                        group.layers.begin() + shard.layer_begin + shard.layer_count);
  header_.profile = profile.Text();
  const bool built_in = codebooks_ == nullptr || codebooks_->fingerprint().IsZero();
  if (!built_in) header_.codebook_set = codebooks_->id();
  header_.error_bound = static_cast<float>(profile.ErrorBound());

  uint64_t bound = AlignUp(codec::SerializeBlockHeader(header_).size());
  for (uint32_t s = 0; s < header_.num_segments(); ++s) {
    bound += AlignUp(codec::SegmentBound(ShapeOf(s), *codec_));
    assembly_bytes_ = std::max(assembly_bytes_, segment_raw_bytes(s));
  }
  assembly_offset_ = AlignUp(bound + codec::FooterBytes(header_.num_segments()));
}

uint32_t BlockEncoder::segment_layer(uint32_t s) const { return header_.head_dim_v != 0 ? s / 2 : s; }

Tensor BlockEncoder::segment_tensor(uint32_t s) const {
  return header_.head_dim_v != 0 && s % 2 == 1 ? Tensor::kV : Tensor::kK;
}

codec::SegmentShape BlockEncoder::ShapeOf(uint32_t s) const {
  const Tensor tensor = segment_tensor(s);
  return {header_.dtype,
          tensor,
          header_.shard.head_begin,
          header_.shard.head_count,
          header_.tokens,
          tensor == Tensor::kK ? header_.head_dim_k : header_.head_dim_v};
}

uint64_t BlockEncoder::segment_raw_bytes(uint32_t s) const { return ShapeOf(s).raw_bytes(); }

MutableByteSpan BlockEncoder::AssemblyArea(MutableByteSpan memory) const {
  return memory.subspan(assembly_offset_, segment_raw_bytes(next_segment_));
}

void BlockEncoder::OfferGroups(const codec::SegmentShape& shape, ByteSpan values, codec::Workspace* ws) {
  if (shape.dtype == DType::kOpaque) return;  // never packed
  // What is left of a shorter block packs otherwise than most groups.
  const uint32_t whole = std::min(kTileTokens, ns_->descriptor().tokens_per_block);
  for (uint32_t g = 0; g < shape.groups(); ++g) {
    const codec::GroupShape group = shape.group(g);
    if (group.tokens < whole) continue;
    const std::byte* const first = values.data() + uint64_t{g} * kTileTokens * group.row_bytes();
    const auto outcome = packing_->Offer(group, first, uint64_t{shape.tokens} * group.row_bytes(), ws);
    if (!outcome.has_value()) continue;
    spdlog::info(
        "packing chosen tenant={} name={} profile={} tensor={} repack={} pack={} saved_bytes={} of_bytes={}",
        LogValue(ns_->tenant()), LogValue(ns_->name()), LogValue(header_.profile), TensorName(group.tensor),
        RepackName(outcome->setting.repack), outcome->setting.pack,
        outcome->default_bytes - outcome->stored_bytes, outcome->default_bytes);
  }
}

absl::Status BlockEncoder::EncodeNext(MutableByteSpan memory, codec::Workspace& ws) {
  if (complete()) return absl::FailedPreconditionError("all segments of the block are there already");
  if (next_segment_ == 0) {
    const std::string header = codec::SerializeBlockHeader(header_);
    std::memcpy(memory.data(), header.data(), header.size());
    cursor_ = header.size();
  }
  const uint32_t s = next_segment_;
  const uint64_t offset = AlignUp(cursor_);
  std::memset(memory.data() + cursor_, 0, offset - cursor_);
  const codec::SegmentPlace place = header_.place(segment_layer(s), segment_tensor(s));
  codec::EncodeParams params;
  params.profile = profile_;
  params.book = codebooks_ == nullptr ? nullptr : codebooks_->Find(place.layer, place.tensor);
  params.packing = packing_choices_.of(place.tensor);
  if (packing_ != nullptr && !params.packing.has_value()) OfferGroups(ShapeOf(s), AssemblyArea(memory), &ws);
  std::vector<uint32_t> histogram(codec::kMaxSymbols);
  codec::EncodeStats stats;
  stats.histogram = &histogram;
  auto bytes = codec::EncodeSegment(*codec_, place, ShapeOf(s), AssemblyArea(memory), params, &ws,
                                    memory.subspan(offset, assembly_offset_ - offset), &stats,
                                    segment_raw_bytes(s) >= kMinSplitBytes ? executor_ : nullptr);
  if (!bytes.ok()) return bytes.status();
  if (codebooks_ != nullptr) ns_->codebooks().AddSamples(profile_, place.layer, place.tensor, histogram);
  extents_.push_back({offset, *bytes});
  cursor_ = offset + *bytes;
  quality_.Add(place.tensor, stats);
  ++next_segment_;
  return absl::OkStatus();
}

absl::StatusOr<CommitInfo> BlockEncoder::Finish(MutableByteSpan memory) {
  if (!complete()) {
    return absl::FailedPreconditionError(
        absl::StrCat("only ", next_segment_, " of ", header_.num_segments(),
                     " layer tensors of the block have come; send the rest first"));
  }
  const uint64_t offset = AlignUp(cursor_);
  std::memset(memory.data() + cursor_, 0, offset - cursor_);
  const uint64_t bytes = offset + codec::FooterBytes(header_.num_segments());
  const std::string footer = codec::SerializeFooter(extents_, quality_, bytes);
  std::memcpy(memory.data() + offset, footer.data(), footer.size());

  CommitInfo info;
  info.bytes = bytes;
  info.raw_bytes = quality_.raw_bytes;
  info.error_bound = codec::ErrorClass(header_, quality_);
  info.profile = header_.profile;
  info.codebooks = header_.codebook_set.IsZero() ? nullptr : codebooks_;
  return info;
}

}  // namespace kvcompd::server
