// Side information of an intq tile: ranges of its units, scales and zeros from them, and back (FORMAT.md,
// "Codec intq"). Called by codec/intq_codec.cc; pure functions over the caller's memory, any thread.
//
//   if (!FindIntqRanges(tile, values, units.zero, units.max)) return WriteRaw(...);          // NaN or Inf
//   IntqUnitsKind kind = ChooseIntqUnits(tile, units, scales, zeros, &bound_proven);
//   kind = ReadIntqUnits(tile, scales, zeros, units.step, units.zero);
//
// Arrays of floats have kIntqUnitsPadding more elements than the tile has units; what stands there is
// arbitrary.
#ifndef KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_
#define KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "codec/simd/intq_tile.h"

namespace kvcompd::codec {

inline constexpr uint32_t kIntqUnitsPadding = 16;

// Working form of a tile's units, [units] each.
// quantise:   code = min(round((x - zero) * inverse), max_code)
// dequantise: x'   = code * step + zero
struct IntqUnits {
  float* zero = nullptr;     // the smallest value, +0 for -0
  float* max = nullptr;      // the largest value
  float* step = nullptr;     // 0 where all values are equal
  float* inverse = nullptr;  // 1 / step, or 0
};

// Smallest and largest value of every unit; +0 for a smallest value of -0. False: a value is NaN or Inf.
// values: [tokens, channels], any alignment.
bool FindIntqRanges(const IntqTile& tile, const std::byte* values, float* min, float* max);

enum class IntqUnitsKind {
  kInvalid,   // choosing: a step too small or too large; reading: a scale or zero that no encoder writes
  kOrdinary,  // whatever the codes, no value is beyond the largest finite one, and for bf16 none is denormal
  kAny,
};

// Scales and zeros from zero and max: fills step and inverse, and writes the stored forms; arbitrary ones
// where the kind is kInvalid. *bound_proven: IntqBoundIsProven of all units.
// scales: u16 [units]; zeros: elements [units]; any alignment.
IntqUnitsKind ChooseIntqUnits(const IntqTile& tile, const IntqUnits& units, std::byte* scales,
                              std::byte* zeros, bool* bound_proven);

// Whether the quantised values of a unit keep the error bound whatever they are. With M the larger of |min|
// and |max| and s the step, a code is within 1/2 + 2^-14 of (x - zero) / s, as the quotient is at most 256
// and takes three roundings; code * s is exact, and the sum rounds by up to 2^-24 M; a stored step is at most
// 1 + 2^-9 nominal ones, and of those the bound allows (1 + 2^-8) / 2. So s * (1/2 + 2^-14) + 2^-24 M must
// not be over s * (1/2 + 0.00097), and M up to 15000 s is. The rounding to the dtype has its own place in the
// bound.
inline constexpr float kIntqProvenSteps = 8192;
inline bool IntqBoundIsProven(float zero, float max, float step) {
  const float magnitude = std::max(std::fabs(zero), std::fabs(max));
  return step == 0 || magnitude <= step * kIntqProvenSteps;
}

// Stored scales and zeros, checked, as step and zero.
IntqUnitsKind ReadIntqUnits(const IntqTile& tile, const std::byte* scales, const std::byte* zeros,
                            float* step, float* zero);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_
