// Values of an intq tile from its codes (FORMAT.md, "Codec intq"). Called by codec/intq_codec.cc; a pure
// function over the caller's memory, any thread.
//
//   IntqUnitsKind kind = ReadIntqUnits(tile, scales, zeros, step, zero);
//   if (kind == IntqUnitsKind::kInvalid) return absl::DataLossError(...);
//   DequantizeIntq(tile, codes, step, zero, /*ordinary=*/kind == IntqUnitsKind::kOrdinary, values);
#ifndef KVCOMPD_CODEC_SIMD_INTQ_DEQUANTIZE_H_
#define KVCOMPD_CODEC_SIMD_INTQ_DEQUANTIZE_H_

#include <cstddef>

#include "codec/simd/intq_tile.h"

namespace kvcompd::codec {

// Any codes. step, zero: [units], see IntqUnits. ordinary: IntqUnitsKind::kOrdinary. codes: u32 [tokens,
// row_words]; values: [tokens, channels]; any alignment.
void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_DEQUANTIZE_H_
