// The built-in tables of codec lossless, mode dense: how sign and exponent of a channel's values are
// distributed, for normal distributions of four means, in units of their width, and two widths an octave
// (FORMAT.md, "Codec lossless"). Any width, and negative means, follow from the channel's top and flip.
//
// Called by lossless_dense.cc. Constants; any thread.
//
//   const RansTables& tables = ExponentClassTables();            // a context for each of kExponentClasses
//   const uint8_t* costs = ExponentClassCosts(shape);            // [2, 32]: of both widths
#ifndef KVCOMPD_CODEC_EXPONENT_CLASSES_H_
#define KVCOMPD_CODEC_EXPONENT_CLASSES_H_

#include <cstdint>
#include <span>

#include "codec/rans.h"
#include "codec/simd/exponent_symbols.h"

namespace kvcompd::codec {

inline constexpr uint32_t kExponentShapes = 4;                     // means of 0, 1/2, 1 and 2 widths
inline constexpr uint32_t kExponentClasses = 2 * kExponentShapes;  // shape * 2 + narrow
inline constexpr uint32_t kExponentProbBits = 10;
inline constexpr uint32_t kCostUnits = 8;  // costs are in eighths of a bit

const RansTables& ExponentClassTables();

// [class, symbol], for FORMAT.md's test.
std::span<const uint16_t> ExponentClassFrequencies();

// Bits of a shape's symbols, in units of 1 / kCostUnits, escapes with their byte in the list: [narrow,
// symbol].
const uint8_t* ExponentClassCosts(uint32_t shape);

// Mean depth of a symbol of the shape's wide class, times 1 << kExponentProbBits.
uint32_t MeanDepth(uint32_t shape);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_EXPONENT_CLASSES_H_
