#include "codec/intq_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/float_format.h"
#include "codec/raw_codec.h"
#include "codec/simd/intq_dequantize.h"
#include "codec/simd/intq_quantize.h"
#include "codec/simd/intq_units.h"

namespace kvcompd::codec {
namespace {

constexpr double kSlack = 1.0 + 1.0 / 256;  // of the bound, for arithmetic and 16-bit scales
constexpr uint64_t kAlignment = 64;

// Bytes of a payload in its segment, with the padding to the next one.
constexpr uint64_t Stored(uint64_t bytes) { return AlignUp(bytes, kPayloadAlignment); }

// Floats of one array over a tile's units, whatever the group.
uint64_t UnitElems(const GroupShape& shape) {
  const IntqTile smallest{shape.dtype, shape.tensor, 2, IntqTile::kMinGroup, shape.tokens, shape.channels};
  return AlignUp(smallest.units() + kIntqUnitsPadding, kAlignment / sizeof(float));
}

// Views of a workspace of WorkspaceBytes(shape); it may start anywhere.
IntqUnits CarveUnits(const GroupShape& shape, MutableByteSpan workspace) {
  const auto address = reinterpret_cast<uintptr_t>(workspace.data());
  auto* const first = reinterpret_cast<float*>(workspace.data() + (AlignUp(address, kAlignment) - address));
  const uint64_t elems = UnitElems(shape);
  return {first, first + elems, first + 2 * elems, first + 3 * elems};
}

// Whether the bits of words for which there is no channel are 0.
bool PaddingIsZero(const IntqTile& tile, const std::byte* codes) {
  const uint32_t words = tile.row_words();
  if (words * tile.word_codes() == tile.channels) return true;
  uint32_t excess = 0;
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    for (uint32_t w = 0; w < words; ++w) {
      uint32_t word;
      std::memcpy(&word, codes + (size_t{t} * words + w) * 4, sizeof word);
      const uint32_t codes_of_word = (tile.channels - w + words - 1) / words;  // at least 1
      if (codes_of_word < tile.word_codes()) excess |= word >> (codes_of_word * tile.bits);
    }
  }
  return excess == 0;
}

// The error bound of FORMAT.md, in binary64, for every value of the units for which it is not proven.
bool KeepsBound(const IntqTile& tile, const IntqUnits& units, const std::byte* codes, const std::byte* values,
                const std::byte* decoded) {
  const double rel = 1.0 / tile.max_code();
  const uint32_t words = tile.row_words(), element = ElementBytes(tile.dtype);
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t u = tile.unit(t, c);
      if (IntqBoundIsProven(units.zero[u], units.max[u], units.step[u])) continue;
      const double range = static_cast<double>(units.max[u]) - static_cast<double>(units.zero[u]);
      uint32_t word;
      std::memcpy(&word, codes + (size_t{t} * words + c % words) * 4, sizeof word);
      const auto code = static_cast<float>(word >> (c / words * tile.bits) & tile.max_code());
      const float approx = code * units.step[u] + units.zero[u];
      float x, y;
      const size_t at = (size_t{t} * tile.channels + c) * element;
      FloatsOfValues(tile.dtype, values + at, 1, &x);
      FloatsOfValues(tile.dtype, decoded + at, 1, &y);
      const double error = std::fabs(static_cast<double>(x) - static_cast<double>(y));
      if (error > rel * range / 2 * kSlack + HalfUlp(tile.dtype, approx)) return false;
    }
  }
  return true;
}

enum class Outcome { kCoded, kNonFinite, kBound };

// Writes a payload of tile.payload_bytes(), and its values to `decoded`.
Outcome EncodeTile(const IntqTile& tile, const std::byte* values, const IntqUnits& units, std::byte* decoded,
                   std::byte* payload, double* error_over_r) {
  if (!FindIntqRanges(tile, values, units.zero, units.max)) return Outcome::kNonFinite;
  bool bound_proven = false;
  const IntqUnitsKind kind = ChooseIntqUnits(tile, units, payload + tile.scales_offset(),
                                             payload + tile.zeros_offset(), &bound_proven);
  if (kind == IntqUnitsKind::kInvalid) return Outcome::kBound;
  const bool ordinary = kind == IntqUnitsKind::kOrdinary;
  const float error = QuantizeIntq(tile, values, units, ordinary, payload);
  DequantizeIntq(tile, payload, units.step, units.zero, ordinary, decoded);
  if (!bound_proven && !KeepsBound(tile, units, payload, values, decoded)) return Outcome::kBound;
  *error_over_r = 2.0 * static_cast<double>(error);
  return Outcome::kCoded;
}

}  // namespace

TileMode IntqModeOf(uint32_t bits, uint32_t group) {
  const int number = 1 + 3 * (std::countr_zero(bits) - 1) + (std::countr_zero(group) - 5);
  return static_cast<TileMode>(number);
}

std::optional<IntqTile> IntqTileOf(const GroupShape& shape, TileMode mode) {
  const auto number = static_cast<uint32_t>(mode);
  if (number < 1 || number > 9) return std::nullopt;
  return IntqTile{shape.dtype,  shape.tensor,  2u << (number - 1) / 3, 32u << (number - 1) % 3,
                  shape.tokens, shape.channels};
}

uint64_t IntqCodec::WorkspaceBytes(const GroupShape& shape) const {
  if (shape.dtype == DType::kOpaque) return 0;
  return kAlignment + 4 * sizeof(float) * UnitElems(shape) + shape.tile_bytes();
}

absl::Status IntqCodec::EncodeGroup(const GroupShape& shape, const std::byte* values,
                                    uint64_t head_stride_bytes, const EncodeParams& params,
                                    MutableByteSpan workspace, GroupOutput* out, EncodeStats* stats) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (auto s = out->Validate(shape, *this); !s.ok()) return s;
  const Profile& profile = params.profile;
  if (profile.codec != CodecId::kIntq) return absl::InvalidArgumentError("intq: another codec's profile");
  if (auto s = profile.Validate(); !s.ok()) return s;
  if (shape.dtype == DType::kOpaque) return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("intq: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;

  const TileMode mode = IntqModeOf(profile.bits_of(shape.tensor), profile.group);
  const IntqTile tile = *IntqTileOf(shape, mode);
  // The size does not depend on the values.
  if (Stored(tile.payload_bytes()) >= Stored(shape.tile_bytes())) {
    return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);
  }
  const IntqUnits units = CarveUnits(shape, workspace);
  std::byte* const decoded = workspace.data() + (workspace.size() - shape.tile_bytes());
  EncodeStats group;
  for (uint32_t h = 0; h < shape.heads; ++h) {
    const std::byte* const from = values + h * head_stride_bytes;
    std::byte* const payload = out->payload.data() + uint64_t{h} * out->payload_stride;
    double error_over_r = 0;
    const Outcome outcome = EncodeTile(tile, from, units, decoded, payload, &error_over_r);
    if (outcome == Outcome::kCoded) {
      out->tiles[h] = {.mode = mode,
                       .bytes = tile.payload_bytes(),
                       .decoded_crc = Crc32c(ByteSpan(decoded, shape.tile_bytes()))};
      group.max_error_over_r = std::max(group.max_error_over_r, error_over_r);
    } else {
      std::memcpy(payload, from, shape.tile_bytes());
      out->tiles[h] = {.mode = TileMode::kRaw, .bytes = shape.tile_bytes()};
      ++group.raw_tiles;
      group.nonfinite_tiles += outcome == Outcome::kNonFinite;
      group.bound_tiles += outcome == Outcome::kBound;
    }
    group.payload_bytes += out->tiles[h].bytes;
  }
  out->header_bytes = 0;
  group.tiles = shape.heads;
  group.raw_bytes = uint64_t{shape.heads} * shape.tile_bytes();
  stats->Add(group);
  return absl::OkStatus();
}

absl::Status IntqCodec::CheckGroupHeader(const GroupShape& shape, ByteSpan header) const {
  return header.empty() ? absl::OkStatus() : absl::DataLossError("intq: a group header");
}

absl::Status IntqCodec::DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                                   const Codebook* book, MutableByteSpan workspace,
                                   MutableByteSpan values) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (values.size() != shape.tile_bytes()) return absl::InvalidArgumentError("intq: size of the output");
  if (auto s = CheckGroupHeader(shape, header); !s.ok()) return s;
  if (mode == TileMode::kRaw) return DecodeRawTile(payload, values);
  const std::optional<IntqTile> tile = IntqTileOf(shape, mode);
  if (!tile.has_value()) return absl::UnimplementedError("intq: unknown tile mode");
  if (shape.dtype == DType::kOpaque || Stored(payload.size()) >= Stored(shape.tile_bytes())) {
    return absl::DataLossError("intq: the tile should be raw");
  }
  if (payload.size() != tile->payload_bytes()) return absl::DataLossError("intq: length");
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("intq: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;

  const IntqUnits units = CarveUnits(shape, workspace);
  const IntqUnitsKind kind = ReadIntqUnits(*tile, payload.data() + tile->scales_offset(),
                                           payload.data() + tile->zeros_offset(), units.step, units.zero);
  if (kind == IntqUnitsKind::kInvalid) return absl::DataLossError("intq: a scale or zero out of range");
  if (!PaddingIsZero(*tile, payload.data())) return absl::DataLossError("intq: padding is not 0");
  DequantizeIntq(*tile, payload.data(), units.step, units.zero, kind == IntqUnitsKind::kOrdinary,
                 values.data());
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
