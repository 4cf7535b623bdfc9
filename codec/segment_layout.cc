#include "codec/segment_layout.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"

namespace kvcompd::codec {
namespace {

absl::Status OutOfRange(absl::string_view field, uint64_t value) {
  return absl::InvalidArgumentError(absl::StrCat("segment's ", field, " is ", value, ", out of range"));
}

}  // namespace

absl::Status CheckShape(const SegmentShape& shape) {
  if (ElementBytes(shape.dtype) == 0) return OutOfRange("dtype", static_cast<uint8_t>(shape.dtype));
  if (shape.tensor != Tensor::kK && shape.tensor != Tensor::kV) {
    return OutOfRange("tensor", static_cast<uint8_t>(shape.tensor));
  }
  if (shape.heads == 0 || shape.heads > kMaxHeads) return OutOfRange("heads", shape.heads);
  if (shape.head_begin > kMaxHeads - shape.heads) return OutOfRange("head_begin", shape.head_begin);
  if (shape.tokens == 0 || shape.tokens > kMaxBlockTokens) return OutOfRange("tokens", shape.tokens);
  const bool opaque = shape.dtype == DType::kOpaque;
  const uint32_t low = opaque ? 1 : kMinHeadDim;
  const uint32_t high = opaque ? kMaxOpaqueBytes : kMaxHeadDim;
  if (shape.channels < low || shape.channels > high) return OutOfRange("channels", shape.channels);
  return absl::OkStatus();
}

absl::Status CheckStoredShape(const SegmentShape& shape) {
  if (shape.heads == 0 || shape.tokens == 0 || shape.channels == 0) {
    return absl::DataLossError("segment: no heads, tokens or channels");
  }
  const absl::Status status = CheckShape(shape);
  return status.ok() ? status : absl::UnimplementedError(status.message());
}

absl::Status CheckPlace(const SegmentPlace& place) {
  if (place.layer > kMaxLayerNumber) return OutOfRange("layer", place.layer);
  if (place.key.empty()) return absl::InvalidArgumentError("segment's place has no block key");
  if (place.tensor != Tensor::kK && place.tensor != Tensor::kV) {
    return OutOfRange("tensor", static_cast<uint8_t>(place.tensor));
  }
  return absl::OkStatus();
}

void WriteSegmentHeader(const SegmentShape& shape, const SegmentHeaderFields& fields, uint64_t segment_bytes,
                        std::byte* segment) {
  const SegmentLayout layout(shape);
  std::string header;
  header.reserve(kSegmentHeaderBytes);
  ByteWriter w(&header);
  w.U32(kSegmentMagic);
  w.U32(fields.must_understand);
  w.U32(0);  // may_ignore: none are known
  w.U16(static_cast<uint16_t>(fields.layer));
  w.U8(static_cast<uint8_t>(shape.tensor));
  w.U8(static_cast<uint8_t>(fields.codec));
  w.U8(static_cast<uint8_t>(shape.dtype));
  w.U8(0);
  w.U16(static_cast<uint16_t>(shape.head_begin));
  w.U16(static_cast<uint16_t>(shape.heads));
  w.U16(static_cast<uint16_t>(shape.tokens));
  w.U32(shape.channels);
  w.U32(static_cast<uint32_t>(segment_bytes));
  w.U16(static_cast<uint16_t>(layout.groups));
  w.U16(0);
  w.U32(kSegmentHeaderBytes);
  w.U32(layout.group_index);
  w.U32(layout.data);
  w.U64(0);  // unused
  w.U32(0);
  w.U32(0);  // CRC: SealSegmentIndex
  std::memcpy(segment, header.data(), kSegmentHeaderBytes);
}

void WriteTileEntry(const TileEntry& entry, std::byte* at) {
  const uint32_t fields[4] = {entry.offset, entry.bytes | static_cast<uint32_t>(entry.mode) << 24,
                              entry.encoded_crc, entry.decoded_crc};
  std::memcpy(at, fields, sizeof fields);
}

void WriteGroupEntry(const GroupEntry& entry, std::byte* at) {
  const uint32_t fields[4] = {entry.offset, entry.bytes, entry.crc, 0};
  std::memcpy(at, fields, sizeof fields);
}

uint32_t SegmentIndexCrc(const std::byte* segment, uint32_t data_offset) {
  const uint32_t crc = Crc32c({segment, kSegmentCrcOffset});
  return ExtendCrc32c(crc, {segment + kSegmentHeaderBytes, data_offset - kSegmentHeaderBytes});
}

void SealSegmentIndex(std::byte* segment, uint32_t data_offset) {
  const uint32_t crc = SegmentIndexCrc(segment, data_offset);
  std::memcpy(segment + kSegmentCrcOffset, &crc, sizeof crc);
}

PlaceCrc::PlaceCrc(const SegmentPlace& place, uint32_t head_begin) : head_begin_(head_begin) {
  std::string prefix;
  prefix.reserve(32 + 1 + BlockKey::kMaxBytes + 2 + 1);
  ByteWriter w(&prefix);
  w.Bytes(place.fingerprint.view());
  w.U8(static_cast<uint8_t>(place.key.size()));
  w.Bytes(place.key.view());
  w.U16(static_cast<uint16_t>(place.layer));
  w.U8(static_cast<uint8_t>(place.tensor));
  prefix_crc_ = Crc32c(AsBytes(prefix));
}

uint32_t PlaceCrc::Extend(uint32_t head, uint32_t group) const {
  const uint16_t fields[2] = {static_cast<uint16_t>(head), static_cast<uint16_t>(group)};
  return ExtendCrc32c(prefix_crc_, std::as_bytes(std::span(fields)));
}

}  // namespace kvcompd::codec
