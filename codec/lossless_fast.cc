#include "codec/lossless_fast.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/bit_io.h"
#include "codec/simd/float_fields.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kTrailerBytes = 2;  // base, width
constexpr uint32_t kSampledTokens = 4;

using Histogram = std::array<uint32_t, 256>;

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

constexpr uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

// Four counters an exponent: values of one channel have few exponents, and adding to a counter twice in a row
// waits.
struct ExponentCounts {
  uint64_t of[256];  // four of 16 bits each; a tile's sampled tokens have at most 4 * 576 values

  uint32_t total(uint32_t exponent) const {
    const uint64_t pairs = of[exponent] + (of[exponent] >> 32);
    return static_cast<uint32_t>(pairs + (pairs >> 16)) & 0xffff;
  }
};

template <DType kType>
void CountExponents(const GroupShape& shape, const std::byte* values, ExponentCounts* counts) {
  auto* const of = reinterpret_cast<unsigned char*>(counts->of);
  const auto add = [of](const std::byte* row, uint32_t c, uint32_t k) {
    unsigned char* const at = of + 8 * PartsOf<kType>(LoadElement<kType>(row, c)).exponent + 2 * k;
    uint16_t count;
    std::memcpy(&count, at, sizeof count);
    ++count;
    std::memcpy(at, &count, sizeof count);
  };
  const uint32_t stride = (shape.tokens + kSampledTokens - 1) / kSampledTokens;
  // Not the first token, whose values may be like no other's (an attention sink).
  for (uint32_t t = stride / 2; t < shape.tokens; t += stride) {
    const std::byte* const row = values + size_t{t} * shape.row_bytes();
    uint32_t c = 0;
    for (; c + 4 <= shape.channels; c += 4) {
      for (uint32_t k = 0; k < 4; ++k) add(row, c + k, k);
    }
    for (; c < shape.channels; ++c) add(row, c, c % 4);
  }
}

void CountExponents(const GroupShape& shape, const std::byte* values, ExponentCounts* counts) {
  switch (shape.dtype) {
    case DType::kFp16:
      return CountExponents<DType::kFp16>(shape, values, counts);
    case DType::kFp8E4m3:
      return CountExponents<DType::kFp8E4m3>(shape, values, counts);
    case DType::kFp8E5m2:
      return CountExponents<DType::kFp8E5m2>(shape, values, counts);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  CountExponents<DType::kBf16>(shape, values, counts);
}

// Where the parts of a payload stand.
struct Layout {
  Layout(const GroupShape& shape, ExponentCode code) {
    const FloatFields fields = FloatFieldsOf(shape.dtype, SignPlace::kRaw);
    const uint64_t n = uint64_t{shape.tokens} * shape.channels;
    plane_bytes = fields.plane ? n : 0;
    field_bits = n * (code.width + fields.side_bits);
    escapes = plane_bytes + BytesOfBits(field_bits);
  }
  uint64_t plane_bytes = 0;
  uint64_t field_bits = 0;
  uint64_t escapes = 0;  // offset of the list
};

}  // namespace

ExponentCode ChooseExponentCode(const GroupShape& shape, const std::byte* values) {
  ExponentCounts counts{};
  CountExponents(shape, values, &counts);
  const FloatFields fields = FloatFieldsOf(shape.dtype, SignPlace::kRaw);
  uint32_t low = 0, high = fields.max_exponent();
  while (counts.of[low] == 0) ++low;
  while (counts.of[high] == 0) --high;
  const uint32_t range = high - low + 1;
  std::array<uint32_t, 512> below;  // [i]: sampled exponents under low + i; all of them from range on
  below[0] = 0;
  for (uint32_t i = 0; i < range; ++i) below[i + 1] = below[i] + counts.total(low + i);
  const uint32_t total = below[range];
  std::fill_n(&below[range + 1], 255, total);

  ExponentCode best;
  uint32_t best_bits = UINT32_MAX;
  for (uint32_t width = 1; width < fields.exponent_bits; ++width) {
    const uint32_t window = (1u << width) - 1;
    uint32_t covered = 0;
    for (uint32_t i = 0; i < range; ++i) covered = std::max(covered, below[i + window] - below[i]);
    const uint32_t bits = total * width + 8 * (total - covered);
    if (bits < best_bits) {
      uint32_t first = 0;
      while (below[first + window] - below[first] != covered) ++first;
      best_bits = bits;
      // The last code must be an exponent of the type.
      best = {.base = static_cast<uint8_t>(std::min(low + first, fields.max_exponent() + 1 - window)),
              .width = static_cast<uint8_t>(width)};
    }
    if (window >= range) break;  // wider codes save no escape
  }
  return best;
}

uint64_t LosslessFastBytes(const GroupShape& shape, ExponentCode code, uint32_t escapes) {
  return Layout(shape, code).escapes + escapes + kTrailerBytes;
}

uint64_t LosslessFastWorkspaceBytes(const GroupShape& shape) {
  return uint64_t{shape.tokens} * shape.channels + kEscapeSlackBytes;
}

uint32_t EncodeLosslessFast(const GroupShape& shape, const std::byte* values, MutableByteSpan workspace,
                            MutableByteSpan out) {
  const ExponentCode code = ChooseExponentCode(shape, values);
  const Layout layout(shape, code);
  std::byte* const list = workspace.data();
  const uint32_t escapes = EncodeExponentCodes(shape.dtype, values, shape.tokens * shape.channels, code,
                                               out.data(), out.data() + layout.plane_bytes, list);
  const uint64_t bytes = LosslessFastBytes(shape, code, escapes);
  if (AlignUp(bytes, kPayloadAlignment) >= AlignUp(shape.tile_bytes(), kPayloadAlignment)) return 0;
  std::memcpy(out.data() + layout.escapes, list, escapes);
  out[bytes - 2] = std::byte{code.base};
  out[bytes - 1] = std::byte{code.width};
  return static_cast<uint32_t>(bytes);
}

absl::Status DecodeLosslessFast(const GroupShape& shape, ByteSpan payload, MutableByteSpan values) {
  if (payload.size() < kTrailerBytes) return Corrupt("lossless fast tile: length");
  const ExponentCode code{.base = static_cast<uint8_t>(payload[payload.size() - 2]),
                          .width = static_cast<uint8_t>(payload[payload.size() - 1])};
  const FloatFields fields = FloatFieldsOf(shape.dtype, SignPlace::kRaw);
  if (code.width < 1 || code.width >= fields.exponent_bits ||
      code.base + code.escape() - 1 > fields.max_exponent()) {
    return Corrupt("lossless fast tile: base or width");
  }
  const Layout layout(shape, code);
  if (payload.size() < layout.escapes + kTrailerBytes) return Corrupt("lossless fast tile: length");
  const uint64_t field_bytes = layout.escapes - layout.plane_bytes;
  if (!PaddingIsZero(payload.subspan(layout.plane_bytes, field_bytes), layout.field_bits)) {
    return Corrupt("lossless fast tile: padding");
  }
  const auto escapes = static_cast<uint32_t>(payload.size() - layout.escapes - kTrailerBytes);
  const ByteSpan list = payload.subspan(layout.escapes, escapes);
  std::byte largest{0};
  for (const std::byte e : list) largest = std::max(largest, e);
  if (static_cast<uint32_t>(largest) > fields.max_exponent()) {
    return Corrupt("lossless fast tile: an exponent that the type does not have");
  }
  if (!DecodeExponentCodes(shape.dtype, payload.data(), payload.data() + layout.plane_bytes,
                           shape.tokens * shape.channels, code, list.data(), escapes, values.data())) {
    return Corrupt("lossless fast tile: number of escapes");
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
