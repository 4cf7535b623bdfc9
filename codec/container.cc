#include "codec/container.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kFooterMagic = 0x4643564b;     // "KVCF"
constexpr uint32_t kFooterEndMagic = 0x4543564b;  // "KVCE"
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kFooterFixedBytes = 40;  // up to the extents
constexpr uint64_t kExtentBytes = 16;
constexpr uint64_t kFooterTailBytes = 12;  // footer_bytes, CRC, end magic

absl::Status Corrupt(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("container: ", what));
}

bool ValidError(float error) { return std::isfinite(error) && !std::signbit(error); }

struct Footer {
  QualityRecord quality;
  uint64_t bytes = 0;
  std::vector<SegmentExtent> extents;
};

absl::Status CheckErrors(const QualityRecord& q, const BlockHeader& header) {
  if (!ValidError(q.max_error_over_r_k) || !ValidError(q.max_error_over_r_v) ||
      (header.head_dim_v == 0 && q.max_error_over_r_v != 0)) {
    return Corrupt("quality record out of range");
  }
  return absl::OkStatus();
}

// Adds a segment to the counts of a quality record.
void Count(const SegmentView& segment, QualityRecord* quality) {
  const SegmentShape& shape = segment.shape();
  quality->raw_bytes += shape.raw_bytes();
  quality->tiles += shape.heads * shape.groups();
  for (uint32_t head = 0; head < shape.heads; ++head) {
    for (uint32_t g = 0; g < shape.groups(); ++g) {
      quality->raw_tiles += segment.tile(head, g).mode == TileMode::kRaw;
    }
  }
}

bool BitExact(const SegmentView& segment) { return FindCodec(segment.codec_id())->bit_exact(); }

// Finds the footer from the container's end and checks what concerns the footer alone.
absl::StatusOr<ByteSpan> FindFooter(ByteSpan container) {
  if (container.size() < kFooterTailBytes) return Corrupt("truncated");
  const ByteSpan tail = container.last(kFooterTailBytes);
  ByteReader r(tail);
  const uint32_t footer_bytes = r.U32();
  const uint32_t crc = r.U32();
  if (r.U32() != kFooterEndMagic) return Corrupt("no footer at the end");
  if (footer_bytes < kFooterFixedBytes + kFooterTailBytes || footer_bytes % kAlignment != 0 ||
      footer_bytes > container.size()) {
    return Corrupt("footer of impossible size");
  }
  const ByteSpan footer = container.last(footer_bytes);
  if (Crc32c(footer.first(footer_bytes - 8)) != crc) return Corrupt("CRC of the footer");
  return footer;
}

absl::StatusOr<Footer> ParseFooter(ByteSpan container, const BlockHeader& header) {
  const absl::StatusOr<ByteSpan> bytes = FindFooter(container);
  if (!bytes.ok()) return bytes.status();
  ByteReader r(*bytes);
  Footer footer;
  footer.bytes = bytes->size();
  if (r.U32() != kFooterMagic) return Corrupt("no footer before the end");
  const uint32_t num_segments = r.U32();
  const uint64_t container_bytes = r.U64();
  footer.quality.raw_bytes = r.U64();
  footer.quality.tiles = r.U32();
  footer.quality.raw_tiles = r.U32();
  footer.quality.max_error_over_r_k = r.F32();
  footer.quality.max_error_over_r_v = r.F32();
  if (num_segments != header.num_segments()) return Corrupt("number of segments");
  const uint64_t canonical_bytes = FooterBytes(num_segments);
  const bool newer = header.minor > kFormatMinor;
  if (footer.bytes < canonical_bytes || (!newer && footer.bytes != canonical_bytes)) {
    return Corrupt("footer_bytes does not follow from the fields");
  }
  if (container_bytes != container.size()) return Corrupt("container_bytes is not its size");
  if (absl::Status s = CheckErrors(footer.quality, header); !s.ok()) return s;
  footer.extents.resize(num_segments);  // no more than header.layers allows
  for (SegmentExtent& extent : footer.extents) {
    extent.offset = r.U64();
    extent.bytes = r.U64();
  }
  const ByteSpan padding = r.Bytes(footer.bytes - kFooterTailBytes - r.offset());
  if (!r.ok()) return Corrupt("footer truncated");
  if (!newer && !AllZero(padding)) return Corrupt("padding of the footer is not 0");
  return footer;
}

bool SameShape(const SegmentShape& a, const SegmentShape& b) {
  return a.dtype == b.dtype && a.tensor == b.tensor && a.head_begin == b.head_begin && a.heads == b.heads &&
         a.tokens == b.tokens && a.channels == b.channels;
}

// Whether this segment is the header's segment `index`.
bool Belongs(const SegmentView& segment, const BlockHeader& header, uint32_t index) {
  const uint32_t layer_index = header.head_dim_v != 0 ? index / 2 : index;
  const Tensor tensor = header.head_dim_v != 0 && index % 2 == 1 ? Tensor::kV : Tensor::kK;
  return segment.layer() == header.layers[layer_index] &&
         SameShape(segment.shape(), header.segment_shape(tensor));
}

}  // namespace

uint64_t FooterBytes(uint32_t num_segments) {
  return AlignUp(kFooterFixedBytes + kExtentBytes * num_segments + kFooterTailBytes, kAlignment);
}

void QualityRecord::Add(Tensor tensor, const EncodeStats& stats) {
  raw_bytes += stats.raw_bytes;
  tiles += static_cast<uint32_t>(stats.tiles);
  raw_tiles += static_cast<uint32_t>(stats.raw_tiles);
  float& error = tensor == Tensor::kV ? max_error_over_r_v : max_error_over_r_k;
  error = std::max(error, static_cast<float>(stats.max_error_over_r));
}

std::string SerializeFooter(std::span<const SegmentExtent> segments, const QualityRecord& quality,
                            uint64_t container_bytes) {
  const uint64_t bytes = FooterBytes(static_cast<uint32_t>(segments.size()));
  std::string out;
  out.reserve(bytes);
  ByteWriter w(&out);
  w.U32(kFooterMagic);
  w.U32(static_cast<uint32_t>(segments.size()));
  w.U64(container_bytes);
  w.U64(quality.raw_bytes);
  w.U32(quality.tiles);
  w.U32(quality.raw_tiles);
  w.F32(quality.max_error_over_r_k);
  w.F32(quality.max_error_over_r_v);
  for (const SegmentExtent& extent : segments) {
    w.U64(extent.offset);
    w.U64(extent.bytes);
  }
  w.Zeros(bytes - kFooterTailBytes - out.size());
  w.U32(static_cast<uint32_t>(bytes));
  w.U32(Crc32c(AsBytes(out)));
  w.U32(kFooterEndMagic);
  return out;
}

ContainerWriter::ContainerWriter(const BlockHeader& header)
    : header_(header), out_(SerializeBlockHeader(header)) {}

absl::Status ContainerWriter::AddSegment(ByteSpan segment) {
  const uint32_t index = static_cast<uint32_t>(extents_.size());
  if (index >= header_.num_segments() || header_.layers.size() != header_.shard.layer_count) {
    return absl::FailedPreconditionError(
        absl::StrCat("container takes ", header_.num_segments(), " segments"));
  }
  const absl::StatusOr<SegmentView> view = SegmentView::Parse(segment);
  if (!view.ok()) return view.status();
  if (view->bytes().size() != segment.size()) return absl::DataLossError("container: bytes after a segment");
  if (!Belongs(*view, header_, index)) {
    return absl::FailedPreconditionError(absl::StrCat("container: not its segment ", index));
  }
  if (header_.error_bound == 0 && !BitExact(*view)) {
    return absl::FailedPreconditionError("container: a lossy codec under an error bound of 0");
  }
  Count(*view, &counted_);
  extents_.push_back({out_.size(), segment.size()});
  out_.append(AsChars(segment));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ContainerWriter::Finish(const QualityRecord& measured) && {
  if (extents_.size() != header_.num_segments()) {
    return absl::FailedPreconditionError(
        absl::StrCat("container has ", extents_.size(), " of ", header_.num_segments(), " segments"));
  }
  const absl::StatusOr<BlockHeader> header = ParseBlockHeader(AsBytes(out_));
  if (!header.ok()) return absl::InvalidArgumentError(header.status().message());
  if (absl::Status s = CheckErrors(measured, header_); !s.ok()) {
    return absl::InvalidArgumentError(s.message());
  }
  QualityRecord quality = counted_;
  quality.max_error_over_r_k = measured.max_error_over_r_k;
  quality.max_error_over_r_v = measured.max_error_over_r_v;
  const uint64_t container_bytes = out_.size() + FooterBytes(header_.num_segments());
  if (container_bytes > kMaxContainerBytes) return absl::InvalidArgumentError("container over 2^32 bytes");
  out_ += SerializeFooter(extents_, quality, container_bytes);
  return std::move(out_);
}

absl::StatusOr<ContainerView> ContainerView::Parse(ByteSpan bytes) {
  if (bytes.size() > kMaxContainerBytes) return Corrupt("over 2^32 bytes");
  ContainerView view;
  view.bytes_ = bytes;
  absl::StatusOr<BlockHeader> header = ParseBlockHeader(bytes, &view.header_bytes_);
  if (!header.ok()) return header.status();
  view.header_ = *std::move(header);
  absl::StatusOr<Footer> footer = ParseFooter(bytes, view.header_);
  if (!footer.ok()) return footer.status();
  view.quality_ = footer->quality;
  view.extents_ = std::move(footer->extents);
  view.footer_offset_ = bytes.size() - footer->bytes;

  QualityRecord counted;
  uint64_t cursor = view.header_bytes_;
  for (uint32_t i = 0; i < view.extents_.size(); ++i) {
    const SegmentExtent& extent = view.extents_[i];
    if (extent.offset != cursor || cursor > view.footer_offset_ ||
        extent.bytes > view.footer_offset_ - cursor) {
      return Corrupt("extents are not canonical");
    }
    const absl::StatusOr<SegmentView> segment =
        SegmentView::Parse(bytes.subspan(extent.offset, extent.bytes));
    if (!segment.ok()) return segment.status();
    if (segment->bytes().size() != extent.bytes) return Corrupt("bytes after a segment");
    if (!Belongs(*segment, view.header_, i))
      return Corrupt(absl::StrCat("segment ", i, " is not the header's"));
    if (view.header_.error_bound == 0 && !BitExact(*segment)) {
      return Corrupt("a lossy codec under an error bound of 0");
    }
    Count(*segment, &counted);
    cursor += extent.bytes;
  }
  if (cursor != view.footer_offset_) return Corrupt("bytes before the footer");
  if (view.quality_.raw_bytes != counted.raw_bytes || view.quality_.tiles != counted.tiles ||
      view.quality_.raw_tiles != counted.raw_tiles) {
    return Corrupt("the quality record's counts are not the segments'");
  }
  return view;
}

absl::StatusOr<SegmentView> ContainerView::Segment(uint32_t layer_index, Tensor tensor) const {
  const bool known = tensor == Tensor::kK || (tensor == Tensor::kV && header_.head_dim_v != 0);
  if (layer_index >= header_.shard.layer_count || !known) {
    return absl::NotFoundError(
        absl::StrCat("container has no segment of its layer ", layer_index, " ", ToAbsl(TensorName(tensor))));
  }
  return SegmentView::Parse(SegmentBytes(header_.segment_index(layer_index, tensor)));
}

ByteSpan ContainerView::SegmentBytes(uint32_t segment_index) const {
  if (segment_index >= extents_.size()) return {};
  return bytes_.subspan(extents_[segment_index].offset, extents_[segment_index].bytes);
}

absl::Status ContainerView::VerifyAll() const {
  for (uint32_t layer = 0; layer < header_.shard.layer_count; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (tensor == Tensor::kV && header_.head_dim_v == 0) continue;
      const absl::StatusOr<SegmentView> segment = Segment(layer, tensor);
      if (!segment.ok()) return segment.status();
      const absl::Status status = segment->Verify(header_.place(layer, tensor), 0, segment->shape().heads);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
