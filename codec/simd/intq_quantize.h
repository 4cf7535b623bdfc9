// Codes of an intq tile from its values (FORMAT.md, "Codec intq"). Called by codec/intq_codec.cc; a pure
// function over the caller's memory, any thread.
//
//   IntqUnitsKind kind = ChooseIntqUnits(tile, units, scales, zeros, &bound_proven);
//   if (kind == IntqUnitsKind::kInvalid) return WriteRaw(...);
//   float error = QuantizeIntq(tile, values, units, /*ordinary=*/kind == IntqUnitsKind::kOrdinary, codes);
#ifndef KVCOMPD_CODEC_SIMD_INTQ_QUANTIZE_H_
#define KVCOMPD_CODEC_SIMD_INTQ_QUANTIZE_H_

#include <cstddef>

#include "codec/simd/intq_tile.h"
#include "codec/simd/intq_units.h"

namespace kvcompd::codec {

// Returns the largest error of the tile in steps: of the decoded values |x - y| rounded to f32, times the
// unit's inverse, rounded to f32. ordinary: IntqUnitsKind::kOrdinary. values: [tokens, channels]; codes: u32
// [tokens, row_words], written whole; any alignment.
float QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                   std::byte* codes);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_QUANTIZE_H_
