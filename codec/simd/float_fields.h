// The parts of a floating-point element as codec lossless writes them (FORMAT.md, "Codec lossless"): the
// exponent, which is coded, and what stands beside it as it is, a byte of plane and a few side bits.
//
// Called by the kernels exponent_codes and exponent_symbols, and by the codec for sizes. Pure functions.
//
//   constexpr FloatFields f = FloatFieldsOf(DType::kFp16, SignPlace::kRaw);   // plane, 3 side bits
//   const FloatParts p = PartsOf<DType::kFp16>(bits);                         // exponent, sign, mantissa
#ifndef KVCOMPD_CODEC_SIMD_FLOAT_FIELDS_H_
#define KVCOMPD_CODEC_SIMD_FLOAT_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec/base/types.h"
#include "codec/float_format.h"

namespace kvcompd::codec {

// Whether the sign stands beside the mantissa or is coded with the exponent.
enum class SignPlace { kRaw, kCoded };

struct FloatFields {
  uint32_t exponent_bits;
  bool plane;          // 8 bits of an element stand in a plane of bytes
  uint32_t side_bits;  // in a bit string; 0 to 7

  constexpr uint32_t max_exponent() const { return (1u << exponent_bits) - 1; }
};

constexpr FloatFields FloatFieldsOf(DType dtype, SignPlace sign) {
  const auto mantissa = static_cast<uint32_t>(FloatFormatOf(dtype).man_bits);
  const uint32_t rest = mantissa + (sign == SignPlace::kRaw ? 1 : 0);
  return {.exponent_bits = 8 * ElementBytes(dtype) - 1 - mantissa,
          .plane = rest >= 8,
          .side_bits = rest >= 8 ? rest - 8 : rest};
}

struct FloatParts {
  uint32_t exponent;
  uint32_t sign;
  uint32_t mantissa;
};

template <DType kType>
constexpr FloatParts PartsOf(uint32_t bits) {
  constexpr FloatFormat kFormat = FloatFormatOf(kType);
  return {.exponent = (bits & (kFormat.sign - 1)) >> kFormat.man_bits,
          .sign = (bits & kFormat.sign) != 0 ? 1u : 0u,
          .mantissa = bits & ((1u << kFormat.man_bits) - 1)};
}
template <DType kType>
constexpr uint32_t BitsOfParts(const FloatParts& parts) {
  constexpr FloatFormat kFormat = FloatFormatOf(kType);
  return (parts.sign != 0 ? kFormat.sign : 0) | parts.exponent << kFormat.man_bits | parts.mantissa;
}

// Plane byte and side bits with a raw sign: bf16's plane is mantissa and, below it, the sign; fp16's the
// lower 8 bits of the mantissa, with sign and upper bits at the side; fp8 has no plane, its sign is above.
template <DType kType>
constexpr uint32_t RawSignPlane(const FloatParts& parts) {
  return kType == DType::kBf16 ? parts.mantissa << 1 | parts.sign : parts.mantissa & 0xff;
}
template <DType kType>
constexpr uint32_t RawSignSide(const FloatParts& parts) {
  if constexpr (kType == DType::kBf16) return 0;
  if constexpr (kType == DType::kFp16) return parts.sign << 2 | parts.mantissa >> 8;
  return parts.sign << FloatFormatOf(kType).man_bits | parts.mantissa;
}

template <DType kType>
constexpr uint32_t BitsOfRawSign(uint32_t exponent, uint32_t plane, uint32_t side) {
  if constexpr (kType == DType::kBf16) {
    return BitsOfParts<kType>({.exponent = exponent, .sign = plane & 1, .mantissa = plane >> 1});
  }
  constexpr uint32_t kSideMantissa = FloatFormatOf(kType).man_bits % 8;
  const uint32_t upper = side & ((1u << kSideMantissa) - 1);
  const uint32_t mantissa = kType == DType::kFp16 ? upper << 8 | plane : upper;
  return BitsOfParts<kType>({.exponent = exponent, .sign = side >> kSideMantissa, .mantissa = mantissa});
}

// One element as it stands in a tile.
template <DType kType>
inline uint32_t LoadElement(const std::byte* values, size_t i) {
  uint16_t bits = 0;
  std::memcpy(&bits, values + i * ElementBytes(kType), ElementBytes(kType));
  return bits;
}
template <DType kType>
inline void StoreElement(uint32_t bits, std::byte* values, size_t i) {
  std::memcpy(values + i * ElementBytes(kType), &bits, ElementBytes(kType));  // little-endian
}

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_FLOAT_FIELDS_H_
