#include "codec/simd/intq_dequantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/intq_dequantize.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/intq_vectors-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/float_format.h"
#include "codec/simd/targets.h"

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

#if KVCOMPD_INTQ_VECTORS
// Rounds and stores two vectors, one after the other.
template <DType kType, Rounding kRounding, class DF>
HWY_INLINE void StorePair(DF df, hn::Vec<DF> low, hn::Vec<DF> high, ElementOf<kType>* to) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kType == DType::kBf16 && sizeof(low) == 64) {
#if KVCOMPD_NATIVE_BF16
    if constexpr (kRounding == Rounding::kNative) {
      _mm512_storeu_si512(to, NativeBf16Pair(low.raw, high.raw));
      return;
    }
#endif
    if constexpr (kRounding == Rounding::kOrdinary) {
      alignas(64) static constexpr uint16_t kUpperHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                                23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                                45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
      _mm512_storeu_si512(to,
                          _mm512_permutex2var_epi16(OrdinaryBf16(low.raw), _mm512_load_si512(kUpperHalves),
                                                    OrdinaryBf16(high.raw)));
      return;
    }
  }
#endif
  const hn::Rebind<ElementOf<kType>, DF> de;
  hn::StoreU(RoundSum<kType, kRounding>(df, low), de, to);
  hn::StoreU(RoundSum<kType, kRounding>(df, high), de, to + hn::Lanes(df));
}

// x' of codes. code * step is exact, of 8 and 9 bits, so that the fused sum is the same as one with two
// roundings.
template <class DF>
HWY_INLINE hn::Vec<DF> Sum(DF df, hn::Vec<DF> codes, hn::Vec<DF> step, hn::Vec<DF> zero) {
  return hn::MulAdd(codes, step, zero);
}

// The values of the codes in the lowest bits of `words`, of channels c, c + 1, ... below `channels`.
template <DType kType, Rounding kRounding, class DF, class Floats, class Units>
HWY_INLINE void DecodeChannels(DF df, Words<DF> words, const Floats& floats, const Units& units, size_t c,
                               size_t channels, std::byte* row) {
  const hn::Rebind<ElementOf<kType>, DF> de;
  auto* const to = reinterpret_cast<ElementOf<kType>*>(row) + c;
  const auto sum = Sum(df, floats(df, words), units.Step(df, c), units.Zero(df, c));
  const auto elements = RoundSum<kType, kRounding>(df, sum);
  if (HWY_LIKELY(c + hn::Lanes(df) <= channels)) {
    hn::StoreU(elements, de, to);
  } else {
    StoreFirst(elements, de, to, channels - c);
  }
}

template <DType kType, Rounding kRounding, Form kForm, class DF, class Floats, class Units>
HWY_INLINE void DecodeRow(DF df, const RowPlan<DF>& plan, const Floats& floats, const std::byte* codes,
                          const Units& units, std::byte* row) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df), words = plan.words, channels = plan.channels;
  const size_t codes_of_word = 32 / static_cast<size_t>(plan.bits);
  const auto* const from = reinterpret_cast<const uint32_t*>(codes);
  auto* const to = reinterpret_cast<ElementOf<kType>*>(row);
  const auto store_pair = [&](size_t c, Words<DF> low, Words<DF> high) HWY_ATTR {
    const size_t next = Units::kPairShares ? c : c + lanes;
    const auto step = units.Step(df, c), zero = units.Zero(df, c);
    StorePair<kType, kRounding>(df, Sum(df, floats(df, low), step, zero),
                                Sum(df, floats(df, high), Units::kPairShares ? step : units.Step(df, next),
                                    Units::kPairShares ? zero : units.Zero(df, next)),
                                to + c);
  };
  if constexpr (kForm == Form::kPairsOfRepeats) {
    auto v = hn::Shr(LoadRepeated(df, codes, words), plan.first_shifts);
    for (size_t c = 0; c < channels; c += 2 * lanes) {
      const auto next = hn::Shr(v, plan.shift);
      store_pair(c, v, next);
      v = hn::Shr(next, plan.shift);
    }
  } else if constexpr (kForm == Form::kRepeated) {
    auto v = hn::Shr(LoadRepeated(df, codes, words), plan.first_shifts);
    for (size_t c = 0; c < channels; c += lanes) {
      DecodeChannels<kType, kRounding>(df, v, floats, units, c, channels, row);
      v = hn::Shr(v, plan.shift);  // by up to 32, the last time
    }
  } else if constexpr (kForm == Form::kPairsOfShifts) {
    auto v = hn::LoadU(du, from);
    for (size_t k = 0; k < codes_of_word; k += 2) {
      const auto next = hn::ShiftRightSame(v, plan.bits);
      store_pair(k * lanes, v, next);
      v = hn::ShiftRightSame(next, plan.bits);
    }
  } else if constexpr (kForm == Form::kPairsOfVectors) {
    for (size_t w = 0; w < words; w += 2 * lanes) {
      auto low = hn::LoadU(du, from + w), high = hn::LoadU(du, from + w + lanes);
      for (size_t k = 0; k < codes_of_word; ++k) {
        store_pair(k * words + w, low, high);
        low = hn::ShiftRightSame(low, plan.bits);
        high = hn::ShiftRightSame(high, plan.bits);
      }
    }
  } else {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = at + lanes <= words ? at : words - lanes;
      auto v = hn::LoadU(du, from + w);
      for (size_t c = w; c < channels; c += words) {
        DecodeChannels<kType, kRounding>(df, v, floats, units, c, channels, row);
        v = hn::ShiftRightSame(v, plan.bits);
      }
    }
  }
}

// Tokens of K that are decoded, two vectors of channels at a time, before the next two. Runs of more would
// write lines too far from each other for the prefetchers.
constexpr size_t kTokensAtOnce = 8;

// Rows of one run of K by pairs: two vectors of channels through all tokens, with their parameters in
// registers.
template <DType kType, Rounding kRounding, Form kForm, class DF, class Floats>
HWY_INLINE void DecodeChannelRun(DF df, const RowPlan<DF>& plan, const Floats& floats, size_t tokens,
                                 const std::byte* codes, const float* step, const float* zero,
                                 std::byte* values) {
  const size_t lanes = hn::Lanes(df), code_row_bytes = 4 * plan.words;
  const size_t row_bytes = plan.channels * sizeof(ElementOf<kType>);
  for (size_t c = 0; c < plan.channels; c += 2 * lanes) {
    const PairPlace<kForm, DF> place(df, plan, c);
    const auto low_step = hn::LoadU(df, step + c), high_step = hn::LoadU(df, step + c + lanes);
    const auto low_zero = hn::LoadU(df, zero + c), high_zero = hn::LoadU(df, zero + c + lanes);
    const std::byte* row_codes = codes;
    std::byte* row = values;
    for (size_t t = 0; t < tokens; ++t, row_codes += code_row_bytes, row += row_bytes) {
      Words<DF> low, high;
      place.Load(df, row_codes, &low, &high);
      StorePair<kType, kRounding>(df, Sum(df, floats(df, low), low_step, low_zero),
                                  Sum(df, floats(df, high), high_step, high_zero),
                                  reinterpret_cast<ElementOf<kType>*>(row) + c);
    }
  }
}

// The tile by value: the bytes that are written could else be its own.
template <DType kType, Rounding kRounding, Form kForm, bool kRuns, bool kLookUp, class DF>
HWY_NOINLINE void DecodeRows(DF df, const IntqTile tile, const std::byte* codes, const float* step,
                             const float* zero, std::byte* values) {
  const RowPlan<DF> plan(df, tile);
  const CodeFloats<kLookUp, DF> floats(df, tile.bits);
  const size_t code_row_bytes = tile.code_row_bytes(), row_bytes = tile.row_bytes();
  if constexpr (IsPairs(kForm)) {
    if (tile.per_channel()) {
      for (size_t t = 0; t < tile.tokens; t += kTokensAtOnce) {
        const size_t u = t / tile.run() * tile.channels;
        DecodeChannelRun<kType, kRounding, kForm>(
            df, plan, floats, std::min<size_t>(kTokensAtOnce, tile.tokens - t), codes + t * code_row_bytes,
            step + u, zero + u, values + t * row_bytes);
      }
      return;
    }
  }
  ForRows<kRuns, !IsPairs(kForm)>(tile, step, zero, nullptr, [&](size_t t, const auto& units) HWY_ATTR {
    DecodeRow<kType, kRounding, kForm>(df, plan, floats, codes + t * code_row_bytes, units,
                                       values + t * row_bytes);
  });
}

// False: rows that the vectors do not take.
bool DequantizeSimd(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values) {
  return WithRounding(tile.dtype, ordinary, [&]<DType kType, Rounding kRounding>() HWY_ATTR {
    return WithForm(tile, [&](auto df, auto form) HWY_ATTR {
      using DF = decltype(df);
      if constexpr (CanLookUp<DF>(4)) {
        if (CanLookUp<DF>(tile.bits)) {
          return DecodeRows<kType, kRounding, form.form, form.runs, true>(df, tile, codes, step, zero,
                                                                          values);
        }
      }
      DecodeRows<kType, kRounding, form.form, form.runs, false>(df, tile, codes, step, zero, values);
    });
  });
}

#else   // never called
bool DequantizeSimd(const IntqTile&, const std::byte*, const float*, const float*, bool, std::byte*) {
  return false;
}
#endif  // KVCOMPD_INTQ_VECTORS

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace scalar {
namespace {

void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    std::byte* values) {
  const uint32_t words = tile.row_words();
  float approx[kMaxHeadDim];
  uint32_t row[kMaxHeadDim];
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    std::memcpy(row, codes + size_t{t} * 4 * words, 4 * words);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t u = tile.unit(t, c);
      const uint32_t code = row[c % words] >> (c / words * tile.bits) & tile.max_code();
      approx[c] = static_cast<float>(code) * step[u] + zero[u];
    }
    ValuesOfFloats(tile.dtype, approx, tile.channels, values + size_t{t} * tile.row_bytes());
  }
}

}  // namespace
}  // namespace scalar

HWY_EXPORT(DequantizeSimd);

void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values) {
  if (!ScalarOnly() && HWY_DYNAMIC_DISPATCH(DequantizeSimd)(tile, codes, step, zero, ordinary, values))
    return;
  scalar::DequantizeIntq(tile, codes, step, zero, values);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
