#include "codec/exponent_classes.h"

#include <array>

namespace kvcompd::codec {
namespace {

// Of d = 0 to 15 below the top, + and - each: a mixture of normal distributions of 0.8, 1 and 1.2 times the
// width, weighed 1:2:1, times 1024, at least 1. The width is 2^(1/4), or 2^(-1/4) in the narrow classes,
// where the top is the exponent of 4 to 8.
constexpr std::array<uint16_t, kExponentClasses* kExponentSymbols> kFrequencies = {
    1,   1,  48,  48, 153, 153, 140, 140, 82,  82, 43,  43, 21,  21, 10,  10,  5,   5,   2,   2,   2,   2,
    1,   1,  1,   1,  1,   1,   1,   1,   1,   1,  1,   1,  10,  10, 107, 107, 160, 160, 110, 110, 60,  60,
    30,  30, 15,  15, 8,   8,   4,   4,   2,   2,  1,   1,  1,   1,  1,   1,   1,   1,   1,   1,   3,   1,
    116, 16, 252, 74, 172, 88,  85,  60,  41,  34, 19,  18, 9,   9,  5,   4,   3,   2,   2,   1,   1,   1,
    1,   1,  1,   1,  1,   1,   1,   1,   1,   1,  32,  3,  214, 44, 224, 90,  123, 76,  59,  46,  28,  25,
    13,  13, 6,   6,  3,   3,   2,   2,   1,   1,  1,   1,  1,   1,  1,   1,   1,   1,   11,  1,   238, 5,
    327, 30, 161, 44, 67,  34,  29,  21,  13,  11, 6,   6,  3,   3,  1,   1,   1,   1,   1,   1,   1,   1,
    1,   1,  1,   1,  1,   1,   1,   1,   85,  1,  347, 15, 242, 40, 104, 41,  44,  27,  20,  15,  9,   8,
    4,   4,  2,   2,  1,   1,   1,   1,   1,   1,  1,   1,  1,   1,  1,   1,   87,  1,   549, 1,   254, 3,
    64,  6,  19,  6,  7,   4,   3,   2,   1,   1,  1,   1,  1,   1,  1,   1,   1,   1,   1,   1,   1,   1,
    1,   1,  1,   1,  4,   1,   351, 1,   451, 1,  127, 5,  34,  6,  12,  5,   4,   3,   2,   1,   1,   1,
    1,   1,  1,   1,  1,   1,   1,   1,   1,   1,  1,   1,  1,   1,
};

struct Costs {
  uint8_t of[kExponentShapes][2 * kExponentSymbols];
};

Costs MakeCosts() {
  Costs costs;
  for (uint32_t c = 0; c < kExponentClasses; ++c) {
    for (uint32_t s = 0; s < kExponentSymbols; ++s) {
      const uint32_t bits256 = RansCost256(kFrequencies[c * kExponentSymbols + s], kExponentProbBits);
      const uint32_t cost = (bits256 + 128 / kCostUnits) / (256 / kCostUnits);
      const uint32_t escape = s / 2 == kEscapeDepth ? 8 * kCostUnits : 0;
      costs.of[c / 2][c % 2 * kExponentSymbols + s] = static_cast<uint8_t>(cost + escape);
    }
  }
  return costs;
}

}  // namespace

const RansTables& ExponentClassTables() {
  // Never destroyed: other threads may outlive main.
  static const RansTables* const tables =
      new RansTables(RansTables::FromFrequencies(kExponentProbBits, kExponentSymbols, kFrequencies).value());
  return *tables;
}

std::span<const uint16_t> ExponentClassFrequencies() { return kFrequencies; }

const uint8_t* ExponentClassCosts(uint32_t shape) {
  static const Costs costs = MakeCosts();
  return costs.of[shape];
}

uint32_t MeanDepth(uint32_t shape) {
  uint32_t sum = 0;
  for (uint32_t s = 0; s < kExponentSymbols; ++s)
    sum += s / 2 * kFrequencies[2 * shape * kExponentSymbols + s];
  return sum;
}

}  // namespace kvcompd::codec
