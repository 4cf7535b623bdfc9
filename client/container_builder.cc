#include "client/container_builder.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kPartAlign = 64;  // of segments and footer in a container (FORMAT.md)

uint64_t AlignUp(uint64_t n) { return (n + kPartAlign - 1) / kPartAlign * kPartAlign; }

codec::BlockHeader MakeHeader(const PutPlan& plan, const Fingerprint& fingerprint, const BlockKey& salted_key,
                              uint32_t tokens) {
  codec::BlockHeader header;
  header.fingerprint = fingerprint;
  header.key = salted_key;
  header.shard = plan.shard;
  header.tokens = tokens;
  header.dtype = plan.group.dtype;
  header.head_dim_k = plan.group.head_dim_k;
  header.head_dim_v = plan.group.head_dim_v;
  const auto first = plan.group.layers.begin() + plan.shard.layer_begin;
  header.layers.assign(first, first + plan.shard.layer_count);
  header.profile = plan.profile.Text();
  header.codebook_set = plan.codebook_set;
  header.error_bound = static_cast<float>(plan.profile.ErrorBound());
  return header;
}

}  // namespace

ContainerBuilder::ContainerBuilder(const PutPlan& plan, const Fingerprint& fingerprint,
                                   const BlockKey& salted_key, uint32_t tokens)
    : header_(MakeHeader(plan, fingerprint, salted_key, tokens)),
      header_bytes_(codec::SerializeBlockHeader(header_)),
      codec_(plan.codec),
      profile_(plan.profile),
      codebooks_(plan.codebooks),
      end_(header_bytes_.size()) {}

absl::StatusOr<ContainerBuilder::Segment> ContainerBuilder::Encode(uint32_t layer, Tensor tensor,
                                                                   ByteSpan values) const {
  thread_local codec::Workspace workspace;
  const codec::SegmentShape shape = header_.segment_shape(tensor);
  const codec::SegmentPlace place = header_.place(layer, tensor);
  codec::EncodeParams params{.profile = profile_};
  if (codebooks_ != nullptr) params.book = codebooks_->Find(place.layer, tensor);
  Segment segment;
  segment.tensor = tensor;
  const uint64_t bound = codec::SegmentBound(shape, *codec_);
  segment.memory = std::make_shared_for_overwrite<std::byte[]>(bound);
  auto bytes = codec::EncodeSegment(*codec_, place, shape, values, params, &workspace,
                                    MutableByteSpan(segment.memory.get(), bound), &segment.stats);
  if (!bytes.ok()) return bytes.status();
  segment.bytes = *bytes;
  return segment;
}

void ContainerBuilder::Account(const Segment& segment) {
  const uint64_t offset = AlignUp(end_);
  extents_.push_back({offset, segment.bytes});
  end_ = offset + segment.bytes;
  quality_.Add(segment.tensor, segment.stats);
}

std::string ContainerBuilder::Footer() const {
  return codec::SerializeFooter(extents_, quality_,
                                AlignUp(end_) + codec::FooterBytes(static_cast<uint32_t>(extents_.size())));
}

}  // namespace kvcompd::client
