// Quantisation of rows of values that have one scale and zero a token (FORMAT.md, "Quantisation"): the range
// of each token, codes with the check of the error bound, and back.
//
// Called by packkv_encoder.cc and packkv_codec.cc. Thread-safe: pure functions over the caller's memory. The
// arithmetic is codec/quantizer.h's, operation by operation.
//
//   bool finite = RangesOfTokens(dtype, tile, tokens, channels, ranges);
//   bool bounded = QuantizeToken(dtype, row, channels, unit, symbols, codes, &worst);
//   bool known = DequantizeToken(dtype, codes, channels, unit, symbols, row);
#ifndef KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_
#define KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "codec/base/types.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

// One unit of a UnitTable; divisor and limit only for encoding.
struct TokenUnit {
  float divisor = 0;
  float zero = 0;
  float step = 0;
  float base = 0;
  double limit = 0;
};

// values: [tokens, channels]. Sets ranges[0 .. tokens); false where a value is NaN or Inf, and then the
// ranges are of no use.
bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges);

// values: [n]. codes: [n], cut to the alphabet. False where one had to be, or where a value misses the bound.
// *worst is raised to the largest |x-y|.
bool QuantizeToken(DType dtype, const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                   uint8_t* codes, double* worst);

// False where a code is not under `symbols` (2 to 256); then the values are of no use.
bool DequantizeToken(DType dtype, const uint8_t* codes, size_t n, const TokenUnit& unit, uint32_t symbols,
                     std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_
