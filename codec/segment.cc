#include "codec/segment.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/segment_layout.h"

namespace kvcompd::codec {
namespace {

constexpr size_t kSegmentBytesOffset = 28;
constexpr size_t kDataOffset = 44;

absl::Status Corrupt(absl::string_view what) { return absl::DataLossError(absl::StrCat("segment: ", what)); }

uint32_t LoadU32(const std::byte* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// The header's fields as they stand, with the rules that concern one field or fixed offsets only.
struct ParsedHeader {
  uint32_t must_understand = 0;
  SegmentShape shape;
  uint32_t codec = 0;
  uint32_t layer = 0;
  uint32_t data = 0;
};

// Whether the data starts right after the indices, or after an extension that a newer version has announced.
bool ValidDataOffset(uint32_t data, uint32_t canonical, uint32_t may_ignore) {
  if (data == canonical) return true;
  return may_ignore != 0 && data > canonical && data - canonical <= kMaxExtensionBytes &&
         (data - canonical) % kExtensionAlignment == 0;
}

absl::StatusOr<ParsedHeader> ParseHeaderFields(ByteSpan bytes) {
  ByteReader r(bytes.first(kSegmentHeaderBytes));
  ParsedHeader h;
  r.U32();  // magic, checked before
  h.must_understand = r.U32();
  if ((h.must_understand & ~kKnownSegmentMustUnderstand) != 0) {
    return absl::UnimplementedError("segment: a must-understand bit that is not known here");
  }
  const uint32_t may_ignore = r.U32();
  h.layer = r.U16();
  h.shape.tensor = static_cast<Tensor>(r.U8());
  h.codec = r.U8();
  h.shape.dtype = static_cast<DType>(r.U8());
  uint32_t reserved = r.U8();
  h.shape.head_begin = r.U16();
  h.shape.heads = r.U16();
  h.shape.tokens = r.U16();
  h.shape.channels = r.U32();
  r.U32();  // segment_bytes, checked before
  const uint32_t groups = r.U16();
  reserved |= r.U16();
  const uint32_t tile_index = r.U32();
  const uint32_t group_index = r.U32();
  h.data = r.U32();
  r.U64();  // unused
  reserved |= r.U32();
  if (reserved != 0) return Corrupt("a reserved field is not 0");
  if (h.layer > kMaxLayerNumber) return Corrupt("layer out of range");
  if (absl::Status s = CheckStoredShape(h.shape); !s.ok()) return s;
  const SegmentLayout layout(h.shape);
  if (groups != layout.groups || tile_index != kSegmentHeaderBytes || group_index != layout.group_index ||
      !ValidDataOffset(h.data, layout.data, may_ignore)) {
    return Corrupt("index offsets do not follow from the shape");
  }
  return h;
}

}  // namespace

absl::StatusOr<uint64_t> SegmentView::SegmentBytes(ByteSpan first_bytes) {
  if (first_bytes.size() < kSegmentHeaderBytes) return Corrupt("header truncated");
  if (LoadU32(first_bytes.data()) != kSegmentMagic) return Corrupt("no segment starts here");
  const uint64_t bytes = LoadU32(first_bytes.data() + kSegmentBytesOffset);
  const uint64_t data = LoadU32(first_bytes.data() + kDataOffset);
  if (bytes % kSegmentAlignment != 0 || data < kSegmentHeaderBytes || data > bytes)
    return Corrupt("impossible size");
  return bytes;
}

absl::StatusOr<SegmentView> SegmentView::Parse(ByteSpan bytes) {
  const absl::StatusOr<uint64_t> size = SegmentBytes(bytes);
  if (!size.ok()) return size.status();
  if (*size > bytes.size()) return Corrupt("truncated");
  bytes = bytes.first(*size);
  // Before everything else, so that damage is not mistaken for a newer format.
  const uint32_t data = LoadU32(bytes.data() + kDataOffset);
  if (SegmentIndexCrc(bytes.data(), data) != LoadU32(bytes.data() + kSegmentCrcOffset)) {
    return Corrupt("CRC of header and index");
  }
  const absl::StatusOr<ParsedHeader> header = ParseHeaderFields(bytes);
  if (!header.ok()) return header.status();
  SegmentView view;
  view.bytes_ = bytes;
  view.shape_ = header->shape;
  view.layer_ = header->layer;
  view.codec_id_ = static_cast<CodecId>(header->codec);
  view.groups_ = view.shape_.groups();
  view.must_understand_ = header->must_understand;
  view.group_index_offset_ = SegmentLayout(view.shape_).group_index;
  view.data_offset_ = header->data;
  view.codec_ = FindCodec(view.codec_id_);
  if (view.codec_ == nullptr) {
    return absl::UnimplementedError(absl::StrCat("segment: codec ", header->codec, " is not known here"));
  }
  if (absl::Status s = view.CheckIndex(); !s.ok()) return s;
  return view;
}

absl::Status SegmentView::CheckIndex() const {
  const SegmentLayout layout(shape_);
  uint64_t cursor = data_offset_;
  for (uint32_t g = 0; g < layout.groups; ++g) {
    const GroupEntry entry = group(g);
    if (LoadU32(bytes_.data() + layout.group_entry(g) + 12) != 0) return Corrupt("a reserved field is not 0");
    if (entry.offset != cursor) return Corrupt("group index is not canonical");
    if (entry.bytes > codec_->GroupHeaderBound(shape_.group(g))) {
      return Corrupt("group header longer than the codec's are");
    }
    cursor = AlignUp(cursor + entry.bytes, kPayloadAlignment);
  }
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    for (uint32_t g = 0; g < layout.groups; ++g) {
      const TileEntry entry = tile(head, g);
      const uint32_t raw_bytes = shape_.group(g).tile_bytes();
      if (!codec_->KnowsMode(entry.mode)) {
        return absl::UnimplementedError(
            absl::StrCat("segment: tile mode ", static_cast<int>(entry.mode), " is not known here"));
      }
      if (entry.offset != cursor) return Corrupt("tile index is not canonical");
      if (entry.mode == TileMode::kRaw ? entry.bytes != raw_bytes : entry.bytes > raw_bytes) {
        return Corrupt("tile of impossible size");
      }
      cursor = AlignUp(cursor + entry.bytes, kPayloadAlignment);
    }
  }
  // Each step is under 2^24 and there are at most 2^15 of them: no overflow.
  if (AlignUp(cursor, kSegmentAlignment) != bytes_.size())
    return Corrupt("size does not follow from the index");
  return absl::OkStatus();
}

TileEntry SegmentView::tile(uint32_t head, uint32_t group) const {
  const std::byte* at = bytes_.data() + kSegmentHeaderBytes + kIndexEntryBytes * (head * groups_ + group);
  const uint32_t size_and_mode = LoadU32(at + 4);
  return {LoadU32(at), size_and_mode & kMaxPayloadBytes, static_cast<TileMode>(size_and_mode >> 24),
          LoadU32(at + 8), LoadU32(at + 12)};
}

GroupEntry SegmentView::group(uint32_t g) const {
  const std::byte* at = bytes_.data() + group_index_offset_ + kIndexEntryBytes * g;
  return {LoadU32(at), LoadU32(at + 4), LoadU32(at + 8)};
}

ByteSpan SegmentView::tile_payload(uint32_t head, uint32_t group) const {
  const TileEntry entry = tile(head, group);
  return bytes_.subspan(entry.offset, entry.bytes);
}

ByteSpan SegmentView::group_header(uint32_t g) const {
  const GroupEntry entry = group(g);
  return bytes_.subspan(entry.offset, entry.bytes);
}

bool SegmentView::HasHeads(uint32_t head_begin, uint32_t head_count) const {
  return head_count != 0 && head_begin < shape_.heads && head_count <= shape_.heads - head_begin;
}

ByteSpan SegmentView::RawValues(uint32_t head_begin, uint32_t head_count) const {
  if (!HasHeads(head_begin, head_count)) return {};
  const uint32_t first = tile(head_begin, 0).offset;
  uint64_t cursor = first;
  for (uint32_t head = head_begin; head < head_begin + head_count; ++head) {
    for (uint32_t g = 0; g < groups_; ++g) {
      const TileEntry entry = tile(head, g);
      if (entry.mode != TileMode::kRaw || entry.offset != cursor) return {};
      cursor += entry.bytes;
    }
  }
  return bytes_.subspan(first, cursor - first);
}

uint32_t SegmentView::RawValuesCrc(uint32_t head_begin, uint32_t head_count) const {
  uint32_t crc = 0;
  if (!HasHeads(head_begin, head_count)) return crc;
  for (uint32_t head = head_begin; head < head_begin + head_count; ++head) {
    for (uint32_t g = 0; g < groups_; ++g) {
      crc = CombineCrc32c(crc, tile(head, g).decoded_crc, shape_.group(g).tile_bytes());
    }
  }
  return crc;
}

absl::Status SegmentView::CheckPlaceMatches(const SegmentPlace& place, uint32_t head_begin,
                                            uint32_t head_count) const {
  if (!HasHeads(head_begin, head_count)) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads [", head_begin, ", +", head_count, ") of a segment of ", shape_.heads));
  }
  if (absl::Status s = CheckPlace(place); !s.ok()) return s;
  if (place.layer != layer_ || place.tensor != shape_.tensor) {
    return Corrupt(absl::StrCat("of layer ", layer_, " ", ToAbsl(TensorName(shape_.tensor)),
                                " in the place of layer ", place.layer, " ",
                                ToAbsl(TensorName(place.tensor))));
  }
  return absl::OkStatus();
}

absl::Status SegmentView::TileStatus(absl::StatusCode code, absl::string_view what, uint32_t head,
                                     uint32_t g) const {
  return absl::Status(code, absl::StrCat("segment: layer ", layer_, " ", ToAbsl(TensorName(shape_.tensor)),
                                         " head ", shape_.head_begin + head, " group ", g, ": ", what));
}

absl::Status SegmentView::TileError(absl::string_view what, uint32_t head, uint32_t g) const {
  return TileStatus(absl::StatusCode::kDataLoss, what, head, g);
}

absl::Status SegmentView::VerifyGroupHeader(uint32_t place_crc, uint32_t g) const {
  const auto where = [&] {
    return absl::StrCat("segment: layer ", layer_, " ", ToAbsl(TensorName(shape_.tensor)), " group ", g,
                        ": ");
  };
  const GroupEntry entry = group(g);
  if (ExtendCrc32c(place_crc, group_header(g)) != entry.crc) {
    return absl::DataLossError(absl::StrCat(where(), "CRC of the group header"));
  }
  const uint64_t end = uint64_t{entry.offset} + entry.bytes;
  if (!AllZero(bytes_.subspan(end, AlignUp(end, kPayloadAlignment) - end))) {
    return absl::DataLossError(absl::StrCat(where(), "padding is not 0"));
  }
  if (absl::Status s = codec_->CheckGroupHeader(shape_.group(g), group_header(g)); !s.ok()) {
    return absl::Status(s.code(), absl::StrCat(where(), s.message()));
  }
  return absl::OkStatus();
}

absl::Status SegmentView::VerifyTile(uint32_t place_crc, uint32_t head, uint32_t g) const {
  const TileEntry entry = tile(head, g);
  const ByteSpan payload = tile_payload(head, g);
  if (entry.mode == TileMode::kRaw) {
    const uint32_t crc = Crc32c(payload);
    if (CombineCrc32c(place_crc, crc, payload.size()) != entry.encoded_crc) {
      return TileError("CRC of place and payload", head, g);
    }
    if (crc != entry.decoded_crc) return TileError("CRC of the decoded values", head, g);
  } else if (ExtendCrc32c(place_crc, payload) != entry.encoded_crc) {
    return TileError("CRC of place and payload", head, g);
  }
  const uint64_t end = uint64_t{entry.offset} + entry.bytes;
  const bool last = head + 1 == shape_.heads && g + 1 == groups_;
  const uint64_t padded_end = AlignUp(end, last ? kSegmentAlignment : kPayloadAlignment);
  if (!AllZero(bytes_.subspan(end, padded_end - end))) return TileError("padding is not 0", head, g);
  return absl::OkStatus();
}

absl::Status SegmentView::VerifyGroupHeaders(const SegmentPlace& place) const {
  if (absl::Status s = CheckPlaceMatches(place, 0, shape_.heads); !s.ok()) return s;
  const PlaceCrc place_crc(place, shape_.head_begin);
  for (uint32_t g = 0; g < groups_; ++g) {
    if (absl::Status s = VerifyGroupHeader(place_crc.Group(g), g); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status SegmentView::Verify(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count) const {
  if (absl::Status s = CheckPlaceMatches(place, head_begin, head_count); !s.ok()) return s;
  if (absl::Status s = VerifyGroupHeaders(place); !s.ok()) return s;
  return VerifyTiles(place, head_begin, head_count);
}

absl::Status SegmentView::VerifyTiles(const SegmentPlace& place, uint32_t head_begin,
                                      uint32_t head_count) const {
  if (absl::Status s = CheckPlaceMatches(place, head_begin, head_count); !s.ok()) return s;
  const PlaceCrc place_crc(place, shape_.head_begin);
  for (uint32_t head = head_begin; head < head_begin + head_count; ++head) {
    for (uint32_t g = 0; g < groups_; ++g) {
      if (absl::Status s = VerifyTile(place_crc.Tile(head, g), head, g); !s.ok()) return s;
    }
  }
  return absl::OkStatus();
}

absl::Status SegmentView::Decode(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count,
                                 const Codebook* book, Workspace* ws, MutableByteSpan values) const {
  if (absl::Status s = CheckPlaceMatches(place, head_begin, head_count); !s.ok()) return s;
  if (absl::Status s = VerifyGroupHeaders(place); !s.ok()) return s;
  return DecodeTiles(place, head_begin, head_count, book, ws, values);
}

absl::Status SegmentView::DecodeTiles(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count,
                                      const Codebook* book, Workspace* ws, MutableByteSpan values) const {
  if (absl::Status s = CheckPlaceMatches(place, head_begin, head_count); !s.ok()) return s;
  const uint64_t head_bytes = shape_.raw_bytes() / shape_.heads;
  if (values.size() != head_count * head_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("buffer for values has ", values.size(), " bytes, not ", head_count * head_bytes));
  }
  const PlaceCrc place_crc(place, shape_.head_begin);
  for (uint32_t g = 0; g < groups_; ++g) {
    const GroupShape group = shape_.group(g);
    const ByteSpan header = group_header(g);
    const uint64_t group_offset = uint64_t{g} * kTileTokens * group.row_bytes();
    const MutableByteSpan workspace = ws->Get(codec_->WorkspaceBytes(group));
    for (uint32_t i = 0; i < head_count; ++i) {
      const uint32_t head = head_begin + i;
      // Tile by tile, so that the payload is still in the cache when it is decoded.
      if (absl::Status s = VerifyTile(place_crc.Tile(head, g), head, g); !s.ok()) return s;
      const TileEntry entry = tile(head, g);
      const ByteSpan payload = tile_payload(head, g);
      const MutableByteSpan out = values.subspan(i * head_bytes + group_offset, group.tile_bytes());
      if (entry.mode == TileMode::kRaw) {
        std::memcpy(out.data(), payload.data(),
                    payload.size());  // VerifyTile has compared the CRC of the values
        continue;
      }
      const absl::Status status =
          codec_->DecodeTile(group, header, entry.mode, payload, book, workspace, out);
      if (!status.ok()) return TileStatus(status.code(), status.message(), head, g);
      if (Crc32c(out) != entry.decoded_crc) return TileError("CRC of the decoded values", head, g);
    }
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
