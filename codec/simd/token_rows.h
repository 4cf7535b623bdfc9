// Quantisation of rows of values that have one scale and zero a token (FORMAT.md, "Quantisation"): the range
// of each token, codes with the check of the error bound, and back.
//
// Called by packkv_encoder.cc and packkv_codec.cc. Thread-safe: pure functions over the caller's memory. The
// arithmetic is codec/quantizer.h's, operation by operation.
//
//   bool finite = RangesOfTokens(dtype, tile, tokens, channels, ranges);
//   bool bounded = QuantizeTokens(dtype, tile, tokens, channels, units, symbols, codes, stride, worst);
//   bool known = DequantizeTokens(dtype, strip, stride, channels, order, 8, units, symbols, tile);
#ifndef KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_
#define KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "codec/base/types.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

// values: [tokens, channels]. Sets ranges[0 .. tokens); false where a value is NaN or Inf, and then the
// ranges are of no use.
bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges);

// values: [tokens, channels], finite, token t of unit t. codes: [tokens, stride], the columns behind the
// channels 0. worst: [tokens], set to the largest |x-y|. False where a code is not under `symbols` or a value
// misses the bound; then codes and errors are of no use.
bool QuantizeTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels,
                    const UnitTable& units, uint32_t symbols, uint8_t* codes, size_t stride, double* worst);

// codes: [num_tokens, stride]; row i becomes row tokens[i] of `values`, [.., channels], by that token's unit.
// False where a code is not under `symbols` (2 to 256); then the values are of no use.
bool DequantizeTokens(DType dtype, const uint8_t* codes, size_t stride, size_t channels,
                      const uint8_t* tokens, size_t num_tokens, const UnitTable& units, uint32_t symbols,
                      std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_TOKEN_ROWS_H_
