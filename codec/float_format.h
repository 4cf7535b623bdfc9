// The four floating-point element types, exactly: bits to fp32, fp32 to bits, what is finite, one ulp.
//
// Called by the quantiser and by tests. Integer arithmetic only where a value is rounded, so that every
// backend gives the same bits (FORMAT.md, "Determinism"). Pure functions, any thread. kOpaque is no float:
// it is never passed here.
//
//   float x = FloatOfBits(DType::kBf16, 0x3f80);       // 1.0f
//   uint16_t y = BitsOfFloat(DType::kFp16, 1e6f);      // 0x7bff: saturated, never Inf
//   FloatsOfValues(dtype, tile, n, floats);            // n elements, little-endian, unaligned
#ifndef KVCOMPD_CODEC_FLOAT_FORMAT_H_
#define KVCOMPD_CODEC_FLOAT_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "codec/base/types.h"

namespace kvcompd::codec {

// A binary float of 1 sign bit, `exp_bits` exponent and `man_bits` fraction bits.
struct FloatFormat {
  int man_bits;
  int min_exp;          // of the smallest normal number
  uint32_t max_finite;  // its bits; what stands above (sign aside) is Inf or NaN
  uint32_t quiet_nan;
  uint32_t sign;  // the sign bit's mask

  constexpr int max_exp() const { return static_cast<int>(max_finite >> man_bits) + min_exp - 1; }
};

constexpr FloatFormat FloatFormatOf(DType dtype) {
  switch (dtype) {
    case DType::kFp16:
      return {.man_bits = 10, .min_exp = -14, .max_finite = 0x7bff, .quiet_nan = 0x7e00, .sign = 0x8000};
    case DType::kFp8E4m3:  // OCP: no Inf, and one NaN of each sign
      return {.man_bits = 3, .min_exp = -6, .max_finite = 0x7e, .quiet_nan = 0x7f, .sign = 0x80};
    case DType::kFp8E5m2:
      return {.man_bits = 2, .min_exp = -14, .max_finite = 0x7b, .quiet_nan = 0x7e, .sign = 0x80};
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return {.man_bits = 7, .min_exp = -126, .max_finite = 0x7f7f, .quiet_nan = 0x7fc0, .sign = 0x8000};
}

constexpr bool IsFinite(DType dtype, uint32_t bits) {
  const FloatFormat f = FloatFormatOf(dtype);
  return (bits & (f.sign - 1)) <= f.max_finite;
}

// The value, exactly. Not for Inf and NaN of fp16 and fp8 (see IsFinite): those give some finite number.
constexpr float FloatOfBits(DType dtype, uint32_t bits) {
  if (dtype == DType::kBf16) return std::bit_cast<float>(bits << 16);
  const FloatFormat f = FloatFormatOf(dtype);
  const uint32_t magnitude = bits & (f.sign - 1);
  const uint32_t sign = (bits & f.sign) ? 0x80000000u : 0;
  // A denormal is its fraction times the smallest one: both exact in fp32, and so is the product.
  const float smallest = std::bit_cast<float>(static_cast<uint32_t>(127 + f.min_exp - f.man_bits) << 23);
  const uint32_t denormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * smallest);
  const uint32_t normal =
      (magnitude << (23 - f.man_bits)) + (static_cast<uint32_t>(127 + f.min_exp - 1) << 23);
  return std::bit_cast<float>(sign | ((magnitude >> f.man_bits) == 0 ? denormal : normal));
}

// Rounds half to even; denormals are kept; anything beyond the largest finite value, Inf too, becomes that
// value with its sign. NaN gives the format's quiet NaN. Selects instead of branches, for the vectoriser.
constexpr uint16_t BitsOfFloat(DType dtype, float value) {
  const FloatFormat f = FloatFormatOf(dtype);
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 31) ? f.sign : 0;
  const uint32_t unsigned_magnitude = bits & 0x7fffffffu;
  const auto magnitude = static_cast<int32_t>(unsigned_magnitude);  // signed: the comparisons are cheaper
  // Drops the low bits of the fraction; a carry into the exponent is right, too.
  const int shift = 23 - f.man_bits;
  const uint32_t half_even = (1u << (shift - 1)) - 1 + ((unsigned_magnitude >> shift) & 1);
  const int32_t bias = (127 + f.min_exp - 1) << f.man_bits;
  int32_t rounded = static_cast<int32_t>((unsigned_magnitude + half_even) >> shift) - bias;
  if (bias != 0) {
    // Denormal results: beside this number, one step of fp32 is the smallest denormal, so the addition
    // rounds.
    const uint32_t anchor = static_cast<uint32_t>(127 + f.min_exp - f.man_bits + 23) << 23;
    const float sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(anchor);
    const auto denormal = static_cast<int32_t>(std::bit_cast<uint32_t>(sum) - anchor);
    rounded = magnitude < (127 + f.min_exp) << 23 ? denormal : rounded;
  }
  const auto max_finite = static_cast<int32_t>(f.max_finite);
  rounded = rounded < max_finite ? rounded : max_finite;
  rounded = magnitude > 0x7f800000 ? static_cast<int32_t>(f.quiet_nan) : rounded;
  return static_cast<uint16_t>(static_cast<uint32_t>(rounded) | sign);
}

// FORMAT.md's ulp: the distance of neighbouring values of the type in the binade of `value`, at least that of
// the denormals, at most that of the largest binade.
constexpr double Ulp(DType dtype, double value) {
  const FloatFormat f = FloatFormatOf(dtype);
  int exp = static_cast<int>((std::bit_cast<uint64_t>(value) >> 52) & 0x7ff) - 1023;
  if (exp < f.min_exp) exp = f.min_exp;
  if (exp > f.max_exp()) exp = f.max_exp();
  return std::bit_cast<double>(static_cast<uint64_t>(1023 + exp - f.man_bits) << 52);
}

// Half of it.
constexpr double HalfUlp(DType dtype, float value) {
  const FloatFormat f = FloatFormatOf(dtype);
  int exp = static_cast<int>((std::bit_cast<uint32_t>(value) >> 23) & 0xff) - 127;
  if (exp < f.min_exp) exp = f.min_exp;
  if (exp > f.max_exp()) exp = f.max_exp();
  return std::bit_cast<double>(static_cast<uint64_t>(1023 + exp - f.man_bits - 1) << 52);
}

// Arrays. `values` are n elements as they stand in a tile: little-endian, any alignment.
bool AllFinite(DType dtype, const std::byte* values, size_t n);
void FloatsOfValues(DType dtype, const std::byte* values, size_t n, float* out);
void ValuesOfFloats(DType dtype, const float* in, size_t n, std::byte* values);
// Each value rounded to the type and back, in place of out (may be `in`).
void RoundFloats(DType dtype, const float* in, size_t n, float* out);

// FAILED_PRECONDITION where this thread does not round to nearest, or takes denormals for zero (some engines
// set that): the codecs would then write other bytes than they should.
absl::Status CheckFloatEnvironment();

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_FLOAT_FORMAT_H_
