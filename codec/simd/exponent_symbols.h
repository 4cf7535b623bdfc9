// Sign and exponent as one of 32 symbols relative to a channel's largest usual exponent, its top: the kernels
// of codec lossless, mode dense, around the entropy coder (FORMAT.md, "Codec lossless").
//
// Called by codec/lossless_dense.cc. Pure functions over the caller's memory; the bytes are the same for
// every instruction set. dtype: not opaque. n: at least 64.
//
//   SplitExponents(dtype, values, n, exponents, signs, plane, fields);
//   const uint32_t escapes = ExponentSymbols(exponents, signs, n, channels, symbols, list);
//   const bool ok = DecodeExponentSymbols(dtype, symbols, n, channels, plane, fields, list, escapes, values);
#ifndef KVCOMPD_CODEC_SIMD_EXPONENT_SYMBOLS_H_
#define KVCOMPD_CODEC_SIMD_EXPONENT_SYMBOLS_H_

#include <cstddef>
#include <cstdint>

#include "codec/base/types.h"

namespace kvcompd::codec {

// Symbol 2 d + s: d is how far the exponent is below the top, s the sign (with the channel's flip). Where it
// is not 0 to 14 below, d is 15 and the exponent stands in the escape list.
inline constexpr uint32_t kExponentSymbols = 32;
inline constexpr uint32_t kEscapeDepth = 15;

// Bytes after an array that kernels read or write in whole vectors.
inline constexpr size_t kVectorSlackBytes = 64;

// Of each channel, [period + kVectorSlackBytes], cyclically: element i's are those of i % period.
struct ExponentChannels {
  const uint8_t* tops;
  // Bit 0: flip, the sign is inverted. Bit 5: the second half of a cost table (CostsOfSymbols).
  const uint8_t* bits;
  uint32_t period;  // 1 or more
};

// Takes elements apart.
void SplitExponents(DType dtype, const std::byte* values, uint32_t n,
                    uint8_t* exponents,  // [n + kVectorSlackBytes]
                    uint8_t* signs,      // [n + kVectorSlackBytes], 0 or 1
                    std::byte* plane,    // [n] where the type has one
                    std::byte* fields);  // [ceil(n * side bits / 8) + kVectorSlackBytes]

// sums[c]: costs[symbol | bits[c] & 32] of channel c's values. exponents, signs: [tokens, channels], to 64
// tokens, with slack as above. costs: [64].
void CostsOfSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t tokens, uint32_t channels,
                    const ExponentChannels& of, const uint8_t* costs,
                    uint32_t* sums);  // [channels]

// Returns the number of escapes.
uint32_t ExponentSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t n,
                         const ExponentChannels& of,
                         uint8_t* symbols,         // [n + kVectorSlackBytes]
                         std::byte* escape_list);  // [n + kVectorSlackBytes]

// symbols: under kExponentSymbols. fields: with kVectorSlackBytes readable after them. False where the
// symbols have another number of escapes than num_escapes, or an exponent is none of the type; the values are
// then void.
bool DecodeExponentSymbols(DType dtype, const uint8_t* symbols, uint32_t n, const ExponentChannels& of,
                           const std::byte* plane, const std::byte* fields, const std::byte* escape_list,
                           uint32_t num_escapes, std::byte* values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_EXPONENT_SYMBOLS_H_
