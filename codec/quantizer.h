// The error-bounded quantiser of codec kvcomp: unit parameters, rows of codes, and the check of the bound
// (FORMAT.md, "Codec kvcomp" and "Error bound").
//
// Called by kvcomp_encoder.cc and kvcomp_codec.cc. Pure functions over the caller's memory.
//
//   std::optional<UnitParams> params = ChooseUnitParams(dtype, range, rel, strict);   // none: write raw
//   units.SetEncode(0, dtype, *params, symbols, radius, strict);
//   bool fits = QuantizeRow<UnitsOfRow::kOne>(x, n, units, 0, symbols, codes);
//
// How it follows KVComp (arXiv 2509.00579, section on relative quantisation): the same step and zero point
// per unit. Deviations: a scale of 16 bits rounded toward zero, so that the bound holds; constant units; the
// decoded value is checked in the stored type; whatever misses goes raw.
#ifndef KVCOMPD_CODEC_QUANTIZER_H_
#define KVCOMPD_CODEC_QUANTIZER_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "codec/base/types.h"

namespace kvcompd::codec {

inline constexpr int32_t kMaxZero = 1 << 21;  // keeps every intermediate integer exact in fp32

// A unit's side information as stored. scale: the upper 16 bits of a positive normal fp32, or 0 for a
// constant unit, whose value's bits are then in `zero`, sign-extended from 16 bits.
struct UnitParams {
  uint16_t scale = 0;
  int32_t zero = 0;
};

// Extremes of the values of a unit; empty at first.
struct UnitRange {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();

  bool empty() const { return min > max; }
  void Add(const UnitRange& other) {
    min = other.min < min ? other.min : min;
    max = other.max > max ? other.max : max;
  }
  void Add(const float* values, size_t n);
};

// r of the error bound: rel * range / 2.
double RadiusOf(const UnitRange& range, double rel);
// None where the unit cannot be quantised (its step underflows, or its zero is out of range). An empty range
// gives a constant unit of 0. strict: the step leaves room for the rounding to the type, where that is not
// too much.
std::optional<UnitParams> ChooseUnitParams(DType dtype, const UnitRange& range, double rel, bool strict);
// False: parameters that no encoder writes.
bool ValidUnitParams(DType dtype, const UnitParams& params);

// Working form of n units, structure of arrays over the caller's memory.
// quantise:   code = round(x / divisor) - zero
// dequantise: x'   = (code + zero) * step + base          (one of the last two terms is 0)
struct UnitTable {
  float* divisor = nullptr;  // step; +Inf for a constant unit, so that every value becomes the middle code
  float* zero = nullptr;
  float* step = nullptr;     // 0 for a constant unit
  float* base = nullptr;     // 0, or the value of a constant unit
  double* radius = nullptr;  // r
  double* limit = nullptr;   // bound without its ulp term
  double* worst = nullptr;   // max |x-y| so far

  // Of codec/simd/kvcomp_quantize.h.
  float* reciprocal = nullptr;  // 1 / divisor
  float* clear = nullptr;  // how far x * reciprocal may be from an integer to surely round to the quotient's
  float* doubt = nullptr;  // scratch: |x-y| up to this needs no second look

  // For encode: all arrays. symbols: the alphabet.
  void SetEncode(size_t i, DType dtype, const UnitParams& params, uint32_t symbols, double r, bool strict);
  // For decode: zero, step and base only.
  void SetDecode(size_t i, DType dtype, const UnitParams& params);
};

// Whether a row of channels has one unit (block, token) or one a channel.
enum class UnitsOfRow { kOne, kPerChannel };

// Quantises x[0..n) with unit `u` (kOne), or units u, u+1, ... False where a code is out of the alphabet
// (codes are then clamped).
template <UnitsOfRow kUnits>
bool QuantizeRow(const float* x, size_t n, const UnitTable& units, size_t u, uint32_t symbols,
                 uint8_t* codes);

template <UnitsOfRow kUnits>
void DequantizeRow(const uint8_t* codes, size_t n, const UnitTable& units, size_t u, float* out);

// Compares x with its decoded values y, where x_approx is x' before rounding to the type. False where a value
// misses the bound. Raises `worst` of the units.
template <UnitsOfRow kUnits>
bool CheckRow(DType dtype, const float* x, const float* x_approx, const float* y, size_t n, bool strict,
              const UnitTable& units, size_t u);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_QUANTIZER_H_
