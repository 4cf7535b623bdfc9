// Codes of an intq tile from its values, and values from its codes (FORMAT.md, "Codec intq"). Called by
// codec/intq_codec.cc; pure functions over the caller's memory, any thread.
//
//   const IntqErrors errors = QuantizeIntq(tile, values, units, codes);
//   if (errors.approx > kIntqApproxLimit) CheckExactly(...);
//   DequantizeIntq(tile, codes, step, zero, /*ordinary=*/kind == IntqUnitsKind::kOrdinary, values);
#ifndef KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_
#define KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_

#include <cstddef>

#include "codec/simd/intq_tile.h"
#include "codec/simd/intq_units.h"

namespace kvcompd::codec {

// Largest errors of a tile in steps: of each value |x - x'| and |x - y| rounded to f32, times the unit's
// inverse, rounded to f32.
struct IntqErrors {
  float approx = 0;   // of x', before it is rounded to the dtype
  float decoded = 0;  // of y
};

// Where no approx error is larger, all values keep the error bound. In nominal steps, range / max_code, the
// bound allows (1 + 2^-8) / 2 and the rounding to the dtype; a stored step is up to 2^-9 larger than the
// nominal one, and 2^-12 is more than what the arithmetic of the errors loses.
inline constexpr float kIntqApproxLimit =
    static_cast<float>(0.5 * (1 + 0x1p-8) * (1 - 0x1p-9) * (1 - 0x1p-12));

// values: [tokens, channels]; codes: u32 [tokens, row_words], written whole; any alignment.
IntqErrors QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units,
                        std::byte* codes);

// step, zero: [units], see IntqUnits. ordinary: IntqUnitsKind::kOrdinary. values: [tokens, channels].
void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_
