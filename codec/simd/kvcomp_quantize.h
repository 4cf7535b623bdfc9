// The quantiser of codec kvcomp over whole tiles: extremes of units, then codes, decoded values and the check
// of the error bound in one pass (FORMAT.md, "Quantisation" and "Error bound"). Gives what QuantizeRow(),
// DequantizeRow() and CheckRow() of codec/quantizer.h give, bit for bit, and the same largest error.
//
// Called by kvcomp_encoder.cc. Pure functions over the caller's memory; any thread whose floating-point
// environment CheckFloatEnvironment() takes. Pointers need no alignment. dtype: not opaque.
//
//   bool finite = RangesOfTokens(dtype, tile, tokens, channels, ranges);
//   ... ranges to units by ChooseUnitParams() and UnitTable::SetEncode() ...
//   bool fits = QuantizeTile(dtype, job, &max_error_over_r);
//
// How a division is spared: t = x * (1 / step) differs from the quotient q that the format asks for by less
// than |q| * 2^-22, so both round to the same integer unless t is that close to the middle of two; only
// vectors with such a value divide. How the bound is checked without doubles: x - y is rounded once, so a
// value whose error in f32 stays below the limit by 2^-20 of it cannot miss; only the others are computed as
// the format says.
#ifndef KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_H_
#define KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_H_

#include <cstdint>

#include "codec/base/types.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

// Extremes of a tile, [tokens, channels]: of all of it, of each token, of each channel. False where a value
// is NaN or Inf; the ranges then hold anything. -0 may stand for +0.
bool RangeOfTile(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels, UnitRange* range);
bool RangesOfTokens(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels,
                    UnitRange* ranges);
bool RangesOfChannels(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels,
                      UnitRange* ranges);

struct QuantizeJob {
  const std::byte* values = nullptr;  // [tokens, channels], finite, within the ranges of their units
  uint32_t tokens = 0;
  uint32_t channels = 0;
  uint32_t symbols = 0;
  bool strict = false;
  UnitsOfRow units_of_row = UnitsOfRow::kOne;
  uint32_t unit_step = 0;        // kOne: row t has unit t * unit_step
  UnitTable units;               // `doubt` is scratch
  uint8_t* codes = nullptr;      // [tokens, channels]
  std::byte* decoded = nullptr;  // [tokens, channels], y
};

// False where a code is out of the alphabet or a value misses the bound; the output then holds anything, and
// *max_error_over_r what it held. Else raises *max_error_over_r to the largest |x - y| / r of the tile, over
// units with r > 0, where that is larger.
bool QuantizeTile(DType dtype, const QuantizeJob& job, double* max_error_over_r);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_H_
