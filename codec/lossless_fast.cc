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
constexpr uint32_t kSampledTokens = 8;

using Histogram = std::array<uint32_t, 256>;

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

constexpr uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

// Four sets of counters: values of one channel have few exponents, and adding to a counter twice in a row
// waits.
template <DType kType>
void CountExponents(const GroupShape& shape, const std::byte* values, Histogram* histogram) {
  std::array<std::array<uint16_t, 256>, 4> counts{};
  const uint32_t stride = (shape.tokens + kSampledTokens - 1) / kSampledTokens;
  for (uint32_t t = 0; t < shape.tokens; t += stride) {
    const std::byte* const row = values + size_t{t} * shape.row_bytes();
    uint32_t c = 0;
    for (; c + 4 <= shape.channels; c += 4) {
      for (uint32_t k = 0; k < 4; ++k) ++counts[k][PartsOf<kType>(LoadElement<kType>(row, c + k)).exponent];
    }
    for (; c < shape.channels; ++c) ++counts[0][PartsOf<kType>(LoadElement<kType>(row, c)).exponent];
  }
  for (uint32_t e = 0; e < 256; ++e) {
    (*histogram)[e] = uint32_t{counts[0][e]} + counts[1][e] + counts[2][e] + counts[3][e];
  }
}

Histogram ExponentHistogram(const GroupShape& shape, const std::byte* values) {
  Histogram histogram;
  switch (shape.dtype) {
    case DType::kFp16:
      CountExponents<DType::kFp16>(shape, values, &histogram);
      break;
    case DType::kFp8E4m3:
      CountExponents<DType::kFp8E4m3>(shape, values, &histogram);
      break;
    case DType::kFp8E5m2:
      CountExponents<DType::kFp8E5m2>(shape, values, &histogram);
      break;
    case DType::kBf16:
    case DType::kOpaque:
      CountExponents<DType::kBf16>(shape, values, &histogram);
      break;
  }
  return histogram;
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
  const Histogram histogram = ExponentHistogram(shape, values);
  const FloatFields fields = FloatFieldsOf(shape.dtype, SignPlace::kRaw);
  const uint32_t exponents = fields.max_exponent() + 1;
  uint32_t low = 0, high = exponents - 1;
  while (histogram[low] == 0) ++low;
  while (histogram[high] == 0) --high;
  std::array<uint32_t, 257> below{};  // [e]: exponents under e
  for (uint32_t e = low; e < exponents; ++e) below[e + 1] = below[e] + histogram[e];
  const uint32_t total = below[exponents];

  ExponentCode best;
  uint32_t best_bits = UINT32_MAX;
  for (uint32_t width = 1; width < fields.exponent_bits; ++width) {
    const uint32_t window = (1u << width) - 1;
    // Bases that begin at an exponent that there is; the largest exponents are the type's last.
    for (uint32_t base = low; base <= high; ++base) {
      const uint32_t first = std::min(base, exponents - window);
      const uint32_t covered = below[first + window] - below[first];
      const uint32_t bits = total * width + 8 * (total - covered);
      if (bits >= best_bits) continue;
      best_bits = bits;
      best = {.base = static_cast<uint8_t>(first), .width = static_cast<uint8_t>(width)};
    }
  }
  return best;
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
  const uint64_t bytes = layout.escapes + escapes + kTrailerBytes;
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
