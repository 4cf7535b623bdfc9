// Codes of a kvcomp tile to values: x' = (code + zero) * step + base, rounded to the element type (FORMAT.md,
// "Quantisation"). Bit for bit what DequantizeRow() and ValuesOfFloats() give; with one unit a row, each
// code's value is computed once and then looked up in registers where the instruction set can.
//
// Called by kvcomp_codec.cc. Pure function over the caller's memory; any thread whose floating-point
// environment CheckFloatEnvironment() takes.
//
//   DequantizeTile(shape.dtype, {rows, tokens, channels, symbols}, UnitsOfRow::kOne, /*unit_step=*/0, units,
//   out);
#ifndef KVCOMPD_CODEC_SIMD_KVCOMP_DEQUANTIZE_H_
#define KVCOMPD_CODEC_SIMD_KVCOMP_DEQUANTIZE_H_

#include <cstdint>

#include "codec/base/types.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

struct CodeTile {
  const uint8_t* const* rows = nullptr;  // [tokens] of [channels] codes, each followed by 64 readable bytes
  uint32_t tokens = 0;
  uint32_t channels = 0;
  uint32_t symbols = 0;  // every code is under it
};

// kOne: row t has unit t * unit_step (0 or 1). kPerChannel: channel c has unit c. out: [tokens, channels]
// elements; any alignment, and nothing outside is written. dtype: not opaque.
void DequantizeTile(DType dtype, const CodeTile& tile, UnitsOfRow units_of_row, uint32_t unit_step,
                    const UnitTable& units, std::byte* out);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_KVCOMP_DEQUANTIZE_H_
