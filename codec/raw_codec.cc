#include "codec/raw_codec.h"

#include <cstring>

namespace kvcompd::codec {

absl::Status EncodeRawGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                            GroupOutput* out, EncodeStats* stats) {
  const uint32_t bytes = shape.tile_bytes();
  for (uint32_t h = 0; h < shape.heads; ++h) {
    std::memcpy(out->payload.data() + uint64_t{h} * out->payload_stride, values + h * head_stride_bytes,
                bytes);
    out->tiles[h] = {.mode = TileMode::kRaw, .bytes = bytes};
  }
  out->header_bytes = 0;
  EncodeStats group;
  group.tiles = group.raw_tiles = shape.heads;
  group.raw_bytes = group.payload_bytes = uint64_t{shape.heads} * bytes;
  stats->Add(group);
  return absl::OkStatus();
}

absl::Status DecodeRawTile(ByteSpan payload, MutableByteSpan values) {
  if (payload.size() != values.size()) return absl::DataLossError("raw tile: length");
  if (!values.empty()) std::memcpy(values.data(), payload.data(), values.size());
  return absl::OkStatus();
}

absl::Status RawCodec::EncodeGroup(const GroupShape& shape, const std::byte* values,
                                   uint64_t head_stride_bytes, const EncodeParams& params,
                                   MutableByteSpan workspace, GroupOutput* out, EncodeStats* stats) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (auto s = out->Validate(shape, *this); !s.ok()) return s;
  if (params.profile.codec != CodecId::kRaw)
    return absl::InvalidArgumentError("raw: another codec's profile");
  return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);
}

absl::Status RawCodec::CheckGroupHeader(const GroupShape& shape, ByteSpan header) const {
  return header.empty() ? absl::OkStatus() : absl::DataLossError("raw: a group header");
}

absl::Status RawCodec::DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                                  const Codebook* book, MutableByteSpan workspace,
                                  MutableByteSpan values) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (values.size() != shape.tile_bytes()) return absl::InvalidArgumentError("raw: size of the output");
  if (auto s = CheckGroupHeader(shape, header); !s.ok()) return s;
  if (!KnowsMode(mode)) return absl::UnimplementedError("raw: unknown tile mode");
  return DecodeRawTile(payload, values);
}

}  // namespace kvcompd::codec
