#include "codec/simd/code_rows.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/code_rows.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "codec/simd/targets.h"
#include "hwy/highway.h"

#ifndef KVCOMPD_CODEC_SIMD_CODE_ROWS_SCALAR_
#define KVCOMPD_CODEC_SIMD_CODE_ROWS_SCALAR_
namespace kvcompd::codec {
namespace scalar {
namespace {

void ExtremesOfRows(const uint8_t* const* rows, size_t num_rows, size_t columns, uint8_t* low,
                    uint8_t* high) {
  for (size_t c = 0; c < columns; ++c) {
    low[c] = high[c] = rows[0][c];
    for (size_t r = 1; r < num_rows; ++r) {
      low[c] = std::min(low[c], rows[r][c]);
      high[c] = std::max(high[c], rows[r][c]);
    }
  }
}

void AddPackCosts(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* low, const uint8_t* high, uint64_t* costs) {
  for (size_t i = 0; i < num_tokens; ++i) {
    const uint8_t* const row = tile + tokens[i] * columns;
    for (size_t c = 0; c < columns; ++c) {
      const auto range = static_cast<uint32_t>(std::max(row[c], high[c]) - std::min(row[c], low[c]));
      costs[i] += static_cast<uint64_t>(std::bit_width(range));
    }
  }
}

void AddDistances(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* mean, uint64_t* distances) {
  for (size_t i = 0; i < num_tokens; ++i) {
    const uint8_t* const row = tile + tokens[i] * columns;
    for (size_t c = 0; c < columns; ++c) distances[i] += static_cast<uint64_t>(std::abs(row[c] - mean[c]));
  }
}

}  // namespace
}  // namespace scalar
}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_CODE_ROWS_SCALAR_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR
using namespace scalar;  // NOLINT(google-build-using-namespace): what stands above, under this target's name
#else
namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::CappedTag<uint8_t, 64>;  // columns are a multiple of its lanes
using V8 = hn::Vec<D8>;
using D64 = hn::Repartition<uint64_t, D8>;

HWY_INLINE V8 LoadRow(const uint8_t* at) { return hn::LoadU(D8(), at); }

void ExtremesOfRows(const uint8_t* const* rows, size_t num_rows, size_t columns, uint8_t* low,
                    uint8_t* high) {
  for (size_t c = 0; c < columns; c += hn::Lanes(D8())) {
    V8 lo = LoadRow(rows[0] + c), hi = lo;
    for (size_t r = 1; r < num_rows; ++r) {
      const V8 row = LoadRow(rows[r] + c);
      lo = hn::Min(lo, row);
      hi = hn::Max(hi, row);
    }
    hn::StoreU(lo, D8(), low + c);
    hn::StoreU(hi, D8(), high + c);
  }
}

// Bits of each lane's number.
HWY_INLINE V8 BitsOfEach(V8 v) {
  const D8 d;
  const hn::Repartition<uint16_t, D8> d16;
  alignas(16) static constexpr uint8_t kLow[16] = {0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4};
  alignas(16) static constexpr uint8_t kHigh[16] = {0, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8};
  const V8 nibble = hn::Set(d, 15);
  const V8 upper = hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(d16, v))), nibble);
  return hn::Max(hn::TableLookupBytes(hn::LoadDup128(d, kLow), hn::And(v, nibble)),
                 hn::TableLookupBytes(hn::LoadDup128(d, kHigh), upper));
}

void AddPackCosts(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* low, const uint8_t* high, uint64_t* costs) {
  for (size_t i = 0; i < num_tokens; ++i) {
    const uint8_t* const row = tile + tokens[i] * columns;
    auto sums = hn::Zero(D64());
    for (size_t c = 0; c < columns; c += hn::Lanes(D8())) {
      const V8 code = LoadRow(row + c);
      const V8 range = hn::Sub(hn::Max(code, LoadRow(high + c)), hn::Min(code, LoadRow(low + c)));
      sums = hn::Add(sums, hn::SumsOf8(BitsOfEach(range)));
    }
    costs[i] += hn::GetLane(hn::SumOfLanes(D64(), sums));
  }
}

void AddDistances(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* mean, uint64_t* distances) {
  for (size_t i = 0; i < num_tokens; ++i) {
    const uint8_t* const row = tile + tokens[i] * columns;
    auto sums = hn::Zero(D64());
    for (size_t c = 0; c < columns; c += hn::Lanes(D8())) {
      const V8 code = LoadRow(row + c), m = LoadRow(mean + c);
      sums = hn::Add(sums, hn::SumsOf8(hn::Sub(hn::Max(code, m), hn::Min(code, m))));
    }
    distances[i] += hn::GetLane(hn::SumOfLanes(D64(), sums));
  }
}

#endif  // HWY_TARGET == HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
HWY_EXPORT(ExtremesOfRows);
HWY_EXPORT(AddPackCosts);
HWY_EXPORT(AddDistances);

void ExtremesOfRows(const uint8_t* const* rows, size_t num_rows, size_t columns, uint8_t* low,
                    uint8_t* high) {
  if (ScalarOnly()) return scalar::ExtremesOfRows(rows, num_rows, columns, low, high);
  HWY_DYNAMIC_DISPATCH(ExtremesOfRows)(rows, num_rows, columns, low, high);
}

void WidenExtremes(const uint8_t* row, size_t columns, uint8_t* low, uint8_t* high) {
  for (size_t c = 0; c < columns; ++c) {
    low[c] = std::min(low[c], row[c]);
    high[c] = std::max(high[c], row[c]);
  }
}

void AddPackCosts(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                  const uint8_t* low, const uint8_t* high, uint64_t* costs) {
  if (ScalarOnly()) return scalar::AddPackCosts(tile, columns, tokens, num_tokens, low, high, costs);
  HWY_DYNAMIC_DISPATCH(AddPackCosts)(tile, columns, tokens, num_tokens, low, high, costs);
}

void AddToSums(const uint8_t* row, size_t columns, bool subtract, uint16_t* sums) {
  const int sign = subtract ? -1 : 1;
  for (size_t c = 0; c < columns; ++c) sums[c] = static_cast<uint16_t>(sums[c] + sign * row[c]);
}

void AddDistancesToMean(const uint8_t* tile, size_t columns, const uint8_t* tokens, size_t num_tokens,
                        const uint16_t* sums, uint8_t* mean_scratch, uint64_t* distances) {
  // (2 s + n) / 2n by a product: with x = 2 s + n <= 511 n and m = ceil(2^22 / 2n), x * m >> 22 is exact
  // because x * (2n * m - 2^22) < 511 n * 2n < 2^22, and fits 32 bits.
  const auto n = static_cast<uint32_t>(num_tokens);
  const uint32_t inverse = ((1u << 22) + 2 * n - 1) / (2 * n);
  for (size_t c = 0; c < columns; ++c) {
    mean_scratch[c] = static_cast<uint8_t>((2u * sums[c] + n) * inverse >> 22);
  }
  if (ScalarOnly()) return scalar::AddDistances(tile, columns, tokens, num_tokens, mean_scratch, distances);
  HWY_DYNAMIC_DISPATCH(AddDistances)(tile, columns, tokens, num_tokens, mean_scratch, distances);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
