// Exponents of a tile as codes of one fixed width with escapes, beside the rest of each value as it is: the
// kernels of codec lossless, mode fast (FORMAT.md, "Codec lossless"; after SplitZip, arXiv 2605.01708, but
// with width and base chosen per tile and the escape among the codes, so that no positions are stored).
//
// Called by codec/lossless_fast.cc. Pure functions over the caller's memory; the bytes are the same for every
// instruction set. dtype: not opaque. n: at least 64.
//
//   const uint32_t escapes = EncodeExponentCodes(dtype, values, n, code, plane, fields, escape_list);
//   const bool ok = DecodeExponentCodes(dtype, plane, fields, n, code, escape_list, escapes, values);
#ifndef KVCOMPD_CODEC_SIMD_EXPONENT_CODES_H_
#define KVCOMPD_CODEC_SIMD_EXPONENT_CODES_H_

#include <cstddef>
#include <cstdint>

#include "codec/base/types.h"

namespace kvcompd::codec {

// Codes 0 to escape() - 1 are the exponents from base on; escape() says that the exponent stands in the list.
struct ExponentCode {
  uint8_t base = 0;
  uint8_t width = 1;  // bits of a code: 1 to the exponent's bits less 1; with the side bits at most 7

  constexpr uint32_t escape() const { return (1u << width) - 1; }
};

// Writes past the end of an escape list, in whole vectors.
inline constexpr size_t kEscapeSlackBytes = 64;

// Returns the number of escapes.
uint32_t EncodeExponentCodes(DType dtype, const std::byte* values, uint32_t n, ExponentCode code,
                             std::byte* plane,         // [n] where the type has one
                             std::byte* fields,        // [ceil(n * (width + side bits) / 8)]
                             std::byte* escape_list);  // [n + kEscapeSlackBytes]

// False where the codes have another number of escapes than num_escapes; the values are then void. Every
// exponent that code and list can give must be one of the type.
bool DecodeExponentCodes(DType dtype, const std::byte* plane, const std::byte* fields, uint32_t n,
                         ExponentCode code, const std::byte* escape_list, uint32_t num_escapes,
                         std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_EXPONENT_CODES_H_
