#include "codec/lossless_codec.h"

#include <algorithm>
#include <cstring>

#include "codec/base/crc32c.h"
#include "codec/lossless_dense.h"
#include "codec/lossless_fast.h"
#include "codec/raw_codec.h"

namespace kvcompd::codec {
namespace {

bool IsRawAnyway(const GroupShape& shape) {
  return shape.dtype == DType::kOpaque || shape.tokens * shape.channels < kLosslessMinValues;
}

}  // namespace

uint64_t LosslessCodec::WorkspaceBytes(const GroupShape& shape) const {
  if (IsRawAnyway(shape)) return 0;
  return std::max(LosslessFastWorkspaceBytes(shape), LosslessDenseWorkspaceBytes(shape));
}

absl::Status LosslessCodec::EncodeGroup(const GroupShape& shape, const std::byte* values,
                                        uint64_t head_stride_bytes, const EncodeParams& params,
                                        MutableByteSpan workspace, GroupOutput* out,
                                        EncodeStats* stats) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (auto s = out->Validate(shape, *this); !s.ok()) return s;
  if (params.profile.codec != CodecId::kLossless)
    return absl::InvalidArgumentError("lossless: another codec's profile");
  if (auto s = params.profile.Validate(); !s.ok()) return s;
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("lossless: workspace too small");
  if (IsRawAnyway(shape)) return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);

  EncodeStats group;
  for (uint32_t h = 0; h < shape.heads; ++h) {
    const std::byte* const tile = values + h * head_stride_bytes;
    const MutableByteSpan payload =
        out->payload.subspan(uint64_t{h} * out->payload_stride, shape.tile_bytes());
    TileMode mode = TileMode::kRaw;
    uint32_t bytes = 0;
    if (params.profile.mode == LosslessMode::kDense) {
      bytes = EncodeLosslessDense(shape, tile, workspace, payload);
      if (bytes != 0) mode = kLosslessDense;
    }
    if (bytes == 0) {
      bytes = EncodeLosslessFast(shape, tile, workspace, payload);
      if (bytes != 0) mode = kLosslessFast;
    }
    if (bytes != 0) {
      // Every value comes back, so that nothing need be decoded for its CRC.
      out->tiles[h] = {.mode = mode, .bytes = bytes, .decoded_crc = Crc32c({tile, shape.tile_bytes()})};
    } else {
      bytes = shape.tile_bytes();
      std::memcpy(payload.data(), tile, bytes);
      ++group.raw_tiles;
      out->tiles[h] = {.mode = TileMode::kRaw, .bytes = bytes};
    }
    group.payload_bytes += bytes;
  }
  out->header_bytes = 0;
  group.tiles = shape.heads;
  group.raw_bytes = uint64_t{shape.heads} * shape.tile_bytes();
  stats->Add(group);
  return absl::OkStatus();
}

absl::Status LosslessCodec::CheckGroupHeader(const GroupShape& shape, ByteSpan header) const {
  return header.empty() ? absl::OkStatus() : absl::DataLossError("lossless: a group header");
}

absl::Status LosslessCodec::DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode,
                                       ByteSpan payload, const Codebook* book, MutableByteSpan workspace,
                                       MutableByteSpan values) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (values.size() != shape.tile_bytes()) return absl::InvalidArgumentError("lossless: size of the output");
  if (auto s = CheckGroupHeader(shape, header); !s.ok()) return s;
  if (mode == TileMode::kRaw) return DecodeRawTile(payload, values);
  if (!KnowsMode(mode)) return absl::UnimplementedError("lossless: unknown tile mode");
  if (IsRawAnyway(shape) || payload.size() >= shape.tile_bytes()) {
    return absl::DataLossError("lossless: the tile should be raw");
  }
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("lossless: workspace too small");
  if (mode == kLosslessFast) return DecodeLosslessFast(shape, payload, values);
  return DecodeLosslessDense(shape, payload, workspace, values);
}

}  // namespace kvcompd::codec
