// Codes of an intq tile from its values, and values from its codes (FORMAT.md, "Codec intq"). Called by
// codec/intq_codec.cc; pure functions over the caller's memory, any thread.
//
//   const bool ordinary = kind == IntqUnitsKind::kOrdinary;
//   const float error = QuantizeIntq(tile, values, units, ordinary, codes);
//   DequantizeIntq(tile, codes, units.step, units.zero, ordinary, values);
#ifndef KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_
#define KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_

#include <cstddef>

#include "codec/simd/intq_tile.h"
#include "codec/simd/intq_units.h"

namespace kvcompd::codec {

// Codes of the values. Returns the largest error of the tile in steps: of the decoded values |x - y| rounded
// to f32, times the unit's inverse, rounded to f32. ordinary: IntqUnitsKind::kOrdinary. values: [tokens,
// channels]; codes: u32 [tokens, row_words], written whole; any alignment.
float QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                   std::byte* codes);

// Values of any codes. step, zero: [units], see IntqUnits. values: [tokens, channels].
void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_ROWS_H_
