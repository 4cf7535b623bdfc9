// Side information of an intq tile: ranges of its units, scales and zeros from them, and back (FORMAT.md,
// "Codec intq"). Called by codec/intq_codec.cc; pure functions over the caller's memory, any thread.
//
//   if (!FindIntqRanges(tile, values, units.zero, units.max)) return WriteRaw(...);          // NaN or Inf
//   if (!ChooseIntqUnits(tile, units, scales, zeros)) return WriteRaw(...);                  // out of range
//   IntqUnitsKind kind = ReadIntqUnits(tile, scales, zeros, units.step, units.zero);
//
// Arrays of floats have kIntqUnitsPadding more elements than the tile has units; what stands there is
// arbitrary.
#ifndef KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_
#define KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_

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

// Scales and zeros from zero and max: fills step and inverse, and writes the stored forms. False where a unit
// cannot be quantised, as its step is too small or too large; what is written is then arbitrary.
// scales: u16 [units]; zeros: elements [units]; any alignment.
bool ChooseIntqUnits(const IntqTile& tile, const IntqUnits& units, std::byte* scales, std::byte* zeros);

enum class IntqUnitsKind {
  kInvalid,   // a scale or zero that no encoder writes
  kOrdinary,  // whatever the codes, no value is beyond the largest finite one, and for bf16 none is denormal
  kAny,
};
// Stored scales and zeros, checked, as step and zero.
IntqUnitsKind ReadIntqUnits(const IntqTile& tile, const std::byte* scales, const std::byte* zeros,
                            float* step, float* zero);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_UNITS_H_
