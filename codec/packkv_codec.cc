#include "codec/packkv_codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/float_format.h"
#include "codec/packkv_encoder.h"
#include "codec/packkv_header.h"
#include "codec/packkv_workspace.h"
#include "codec/raw_codec.h"
#include "codec/simd/strip_bits.h"
#include "codec/simd/token_rows.h"

namespace kvcompd::codec {
namespace {

uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

// The profile with the setting that is to be written in place of auto.
Profile Settled(const EncodeParams& params) {
  const PackkvSetting packing = params.profile.Packing(params.packing.value_or(PackkvSetting()));
  Profile profile = params.profile;
  profile.repack = packing.repack;
  profile.pack = packing.pack;
  return profile;
}

// Decodes one tile; lives for one call.
class TileReader {
 public:
  TileReader(const GroupShape& shape, const PackkvHeader& header, const PackkvWorkspace& ws,
             uint64_t payload_bytes, MutableByteSpan values)
      : shape_(shape),
        header_(header),
        grid_(shape.tokens, header.pack),
        stride_(StripStride(shape.channels)),
        full_strip_(header.classes, grid_.strip, grid_.alignment_bits()),
        ws_(ws),
        end_(ws.payload.data() + payload_bytes),
        values_(values) {}

  absl::Status Run() {
    const uint64_t index_bytes = BytesOfBits(uint64_t{shape_.channels} * header_.classes.index_bits());
    const std::byte* index = ws_.payload.data();
    if (static_cast<uint64_t>(end_ - index) < grid_.rows() * index_bytes)
      return Corrupt("packkv tile: class numbers");
    strip_ = index + grid_.rows() * index_bytes;
    for (uint32_t r = 0; r < grid_.rows(); ++r, index += index_bytes) {
      if (auto s = ReadClasses(index, index_bytes); !s.ok()) return s;
      for (uint32_t at = 0; at < grid_.row_tokens(r); at += grid_.strip) {
        const uint32_t tokens = std::min(grid_.strip, grid_.row_tokens(r) - at);
        const uint32_t first = r * grid_.pack + at;
        const absl::Status s =
            tokens == grid_.strip
                ? ReadStrip(first, full_strip_)
                : ReadStrip(first, StripFormat(header_.classes, tokens, grid_.alignment_bits()));
        if (!s.ok()) return s;
      }
    }
    return strip_ == end_ ? absl::OkStatus() : Corrupt("packkv tile: length");
  }

 private:
  absl::Status ReadClasses(const std::byte* index, uint64_t index_bytes) {
    const uint32_t bits = header_.classes.index_bits();
    UnpackClasses(index, bits, shape_.channels, ws_.class_of.data());
    // Where the classes are as many as their numbers can tell apart, no number is wrong.
    if (header_.classes.count != 1u << bits) {
      const uint8_t largest = *std::max_element(ws_.class_of.begin(), ws_.class_of.begin() + shape_.channels);
      if (largest >= header_.classes.count) return Corrupt("packkv tile: a class that is none");
    }
    const uint64_t used = uint64_t{shape_.channels} * bits % 8;
    if (used != 0 && std::to_integer<uint32_t>(index[index_bytes - 1]) >> used != 0) {
      return Corrupt("packkv tile: padding of the class numbers is not 0");
    }
    return absl::OkStatus();
  }

  // The strip that begins at place `first`.
  absl::Status ReadStrip(uint32_t first, const StripFormat& format) {
    const uint64_t bits = StripBits(format, ws_.class_of.data(), shape_.channels), bytes = BytesOfBits(bits);
    if (static_cast<uint64_t>(end_ - strip_) < bytes) return Corrupt("packkv tile: truncated");
    UnpackStrip(format, ws_.class_of.data(), shape_.channels, strip_, ws_.fields.data(), ws_.strip.data());
    if (auto s = CheckPadding(format, bits); !s.ok()) return s;
    if (!DequantizeTokens(shape_.dtype, ws_.strip.data(), stride_, shape_.channels,
                          header_.order.data() + first, format.tokens, ws_.units, header_.symbols,
                          values_.data())) {
      return Corrupt("packkv tile: a code out of the alphabet");
    }
    strip_ += bytes;
    return absl::OkStatus();
  }

  // The bits that stand for no code. Fields have some only where the strip has fewer tokens than others.
  absl::Status CheckPadding(const StripFormat& format, uint64_t bits) const {
    uint64_t at = 0;
    bool zero = bits % 8 == 0 || std::to_integer<uint32_t>(strip_[bits / 8]) >> bits % 8 == 0;
    if (format.tokens < grid_.strip) {
      for (uint32_t c = 0; c < shape_.channels; ++c) {
        const uint32_t k = ws_.class_of[c];
        for (uint64_t bit = at + uint64_t{format.tokens} * format.widths[k]; bit < at + format.field_bits[k];
             ++bit) {
          zero &= (std::to_integer<uint32_t>(strip_[bit / 8]) >> bit % 8 & 1) == 0;
        }
        at += format.field_bits[k];
      }
    }
    return zero ? absl::OkStatus() : Corrupt("packkv tile: padding is not 0");
  }

  const GroupShape& shape_;
  const PackkvHeader& header_;
  const PackGrid grid_;
  const uint64_t stride_;
  const StripFormat full_strip_;
  const PackkvWorkspace& ws_;
  const std::byte* const end_;
  const MutableByteSpan values_;
  const std::byte* strip_ = nullptr;
};

}  // namespace

uint32_t PackkvCodec::GroupHeaderBound(const GroupShape& shape) const {
  return shape.dtype == DType::kOpaque ? 0 : PackkvHeaderBound(shape.tokens);
}

uint64_t PackkvCodec::WorkspaceBytes(const GroupShape& shape) const {
  return shape.dtype == DType::kOpaque ? 0 : PackkvWorkspace::Bytes(shape);
}

absl::Status PackkvCodec::EncodeGroup(const GroupShape& shape, const std::byte* values,
                                      uint64_t head_stride_bytes, const EncodeParams& params,
                                      MutableByteSpan workspace, GroupOutput* out, EncodeStats* stats) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (auto s = out->Validate(shape, *this); !s.ok()) return s;
  if (params.profile.codec != CodecId::kPackkv)
    return absl::InvalidArgumentError("packkv: another codec's profile");
  const Profile profile = Settled(params);
  if (auto s = profile.Validate(); !s.ok()) return s;
  if (profile.packing_is_auto()) return absl::InvalidArgumentError("packkv: a packing that is none");
  if (shape.dtype == DType::kOpaque) return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("packkv: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;
  PackkvGroupEncoder(shape, values, head_stride_bytes, profile, workspace, out).Run(stats);
  return absl::OkStatus();
}

absl::Status PackkvCodec::CheckGroupHeader(const GroupShape& shape, ByteSpan header) const {
  if (header.empty()) return absl::OkStatus();
  if (shape.dtype == DType::kOpaque) return absl::DataLossError("packkv: opaque bytes with a group header");
  std::array<UnitParams, kTileTokens> params;
  return ParsePackkvHeader(shape, header, std::span(params).first(shape.tokens)).status();
}

absl::Status PackkvCodec::DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode,
                                     ByteSpan payload, const Codebook* book, MutableByteSpan workspace,
                                     MutableByteSpan values) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (values.size() != shape.tile_bytes()) return absl::InvalidArgumentError("packkv: size of the output");
  if (mode == TileMode::kRaw) return DecodeRawTile(payload, values);
  if (!KnowsMode(mode)) return absl::UnimplementedError("packkv: unknown tile mode");
  if (shape.dtype == DType::kOpaque || payload.size() >= shape.tile_bytes()) {
    return absl::DataLossError("packkv: the tile should be raw");
  }
  if (header.empty()) return absl::DataLossError("packkv: no group header");
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("packkv: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;

  PackkvWorkspace ws = PackkvWorkspace::Carve(shape, workspace);
  const auto params = ws.params.first(shape.tokens);
  const auto parsed = ParsePackkvHeader(shape, header, params);
  if (!parsed.ok()) return parsed.status();
  for (uint32_t t = 0; t < shape.tokens; ++t) ws.units.SetDecode(t, shape.dtype, params[t]);
  // Kernels read whole words, also behind the last one.
  std::memcpy(ws.payload.data(), payload.data(), payload.size());
  std::memset(ws.payload.data() + payload.size(), 0, kStripOverread);
  return TileReader(shape, *parsed, ws, payload.size(), values).Run();
}

}  // namespace kvcompd::codec
