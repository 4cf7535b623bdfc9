// Rows of 8-bit codes, one a token: what codec packkv asks of them when it orders the tokens of a tile group
// and chooses how its packs are written (FORMAT.md, "Codec packkv").
//
// Called by packkv_order.cc and packkv_encoder.cc. Thread-safe: pure functions over the caller's memory. All
// rows have `columns` codes, a multiple of 64; columns that are none of the tile's hold zeros.
//
//   ExtremesOfRows(rows, num_rows, columns, low, high);
//   AddPackCosts(tile, columns, tokens, num_tokens, low, high, costs);
#ifndef KVCOMPD_CODEC_SIMD_CODE_ROWS_H_
#define KVCOMPD_CODEC_SIMD_CODE_ROWS_H_

#include <cstddef>
#include <cstdint>

namespace kvcompd::codec {

// Smallest and largest code of each column over rows[0 .. num_rows), num_rows at least 1.
void ExtremesOfRows(const uint8_t* const* rows, size_t num_rows, size_t columns, uint8_t* low, uint8_t* high);

// Takes the row into the extremes of each column.
void WidenExtremes(const uint8_t* row, size_t columns, uint8_t* low, uint8_t* high);

// For each i: costs[i] += sum over the columns of the bits of (high - low), if row tokens[i] of `tile`
// [64, columns] were taken into the extremes. bits(n): those of n as a binary number, 0 of 0.
void AddPackCosts(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* low, const uint8_t* high, uint64_t* costs);

// sums[c] += row[c], or -= where `subtract`. Up to 64 rows of codes fit.
void AddToSums(const uint8_t* row, size_t columns, bool subtract, uint16_t* sums);

// For each i: distances[i] += sum over the columns of |row tokens[i] - mean|, where mean is the sum's
// quotient by num_tokens (1 to 64), halves up.
void AddDistancesToMean(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                        const uint16_t* sums, uint8_t* mean_scratch, uint64_t* distances);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_CODE_ROWS_H_
