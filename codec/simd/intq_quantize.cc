#include "codec/simd/intq_quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/intq_quantize.cc"
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
// The larger of `largest` and |error|.
template <class DF>
HWY_INLINE hn::Vec<DF> MaxAbs(DF df, hn::Vec<DF> largest, hn::Vec<DF> error) {
#if HWY_TARGET <= HWY_AVX3
  constexpr int kLargerMagnitudeWithoutSign = 0x0b;
  if constexpr (sizeof(error) == 64) {
    return hn::Vec<DF>{_mm512_range_ps(largest.raw, error.raw, kLargerMagnitudeWithoutSign)};
  }
#endif
  return hn::Max(largest, hn::Abs(error));
}

// The integer code stands in the low bits of this float sum, rounded half to even, as above 2^23 an f32 has
// no fraction.
constexpr float kIntegerAnchor = 8388608.0f;

template <class DF>
HWY_INLINE hn::Vec<DF> LargestAnchored(DF df, const RowPlan<DF>& plan) {
  return hn::Set(df, kIntegerAnchor + static_cast<float>((1 << plan.bits) - 1));
}

template <class DF>
struct Quantised {
  Words<DF> codes;    // in the lowest bits; above are those of the anchor
  hn::Vec<DF> error;  // x - y
};

// largest: the anchor and the largest code.
template <DType kType, Rounding kRounding, class DF>
HWY_INLINE Quantised<DF> Quantise(DF df, hn::Vec<DF> x, hn::Vec<DF> step, hn::Vec<DF> zero,
                                  hn::Vec<DF> inverse, hn::Vec<DF> largest) {
  const auto anchor = hn::Set(df, kIntegerAnchor);
  const auto anchored = hn::Min(hn::Add(hn::Mul(hn::Sub(x, zero), inverse), anchor), largest);
  const auto sum = hn::MulAdd(hn::Sub(anchored, anchor), step, zero);  // fused as in intq_dequantize.cc
  const auto y = FloatOfElements<kType>(df, RoundSum<kType, kRounding>(df, sum));
  return {hn::BitCast(hn::Rebind<uint32_t, DF>(), anchored), hn::Sub(x, y)};
}

// Rows of one run of K by pairs. The codes' words must be 0 before. Raises *errors.
template <DType kType, Rounding kRounding, Form kForm, class DF>
HWY_INLINE void EncodeChannelRun(DF df, const RowPlan<DF>& plan, size_t tokens, const std::byte* values,
                                 const IntqUnits units, std::byte* codes, hn::Vec<DF>* errors) {
  const size_t lanes = hn::Lanes(df), code_row_bytes = 4 * plan.words;
  const size_t row_bytes = plan.channels * sizeof(ElementOf<kType>);
  const auto mask = hn::Set(hn::Rebind<uint32_t, DF>(), (1u << plan.bits) - 1);
  const auto largest = LargestAnchored(df, plan);
  for (size_t c = 0; c < plan.channels; c += 2 * lanes) {
    const size_t next = c + lanes;
    const PairPlace<kForm, DF> place(df, plan, c);
    const auto low_step = hn::LoadU(df, units.step + c), high_step = hn::LoadU(df, units.step + next);
    const auto low_zero = hn::LoadU(df, units.zero + c), high_zero = hn::LoadU(df, units.zero + next);
    const auto low_inverse = hn::LoadU(df, units.inverse + c),
               high_inverse = hn::LoadU(df, units.inverse + next);
    auto low_error = hn::Zero(df), high_error = hn::Zero(df);
    const std::byte* row = values + c * sizeof(ElementOf<kType>);
    std::byte* row_codes = codes;
    for (size_t t = 0; t < tokens; ++t, row_codes += code_row_bytes, row += row_bytes) {
      const auto low = Quantise<kType, kRounding>(df, LoadAsFloat<kType>(df, row), low_step, low_zero,
                                                  low_inverse, largest);
      const auto high =
          Quantise<kType, kRounding>(df, LoadAsFloat<kType>(df, row + lanes * sizeof(ElementOf<kType>)),
                                     high_step, high_zero, high_inverse, largest);
      place.Store(df, hn::And(low.codes, mask), hn::And(high.codes, mask), row_codes);
      low_error = MaxAbs(df, low_error, low.error);
      high_error = MaxAbs(df, high_error, high.error);
    }
    // Rounding is monotone: the product of the largest error is the largest product.
    *errors = hn::Max(*errors, hn::Max(hn::Mul(low_error, low_inverse), hn::Mul(high_error, high_inverse)));
  }
}

// Ors the codes of channels c, c + 1, ... below `channels` to `words`, whose lowest bits are 0. Raises
// *errors.
template <DType kType, Rounding kRounding, bool kWhole, class DF, class Units>
HWY_INLINE Words<DF> AddChannels(DF df, const RowPlan<DF>& plan, Words<DF> words, const std::byte* row,
                                 const Units& units, size_t c, hn::Vec<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<ElementOf<kType>, DF> de;
  const auto* const from = reinterpret_cast<const ElementOf<kType>*>(row) + c;
  const size_t channels = plan.channels;
  const bool whole = kWhole || c + hn::Lanes(df) <= channels;
  const auto elements = HWY_LIKELY(whole) ? hn::LoadU(de, from) : LoadFirst(de, from, channels - c);
  const auto inverse = units.Inverse(df, c);
  const auto quantised =
      Quantise<kType, kRounding>(df, FloatOfElements<kType>(df, elements), units.Step(df, c),
                                 units.Zero(df, c), inverse, LargestAnchored(df, plan));
  auto error = hn::Mul(quantised.error, inverse);
  auto mask = hn::Set(du, (1u << plan.bits) - 1);
  if (HWY_UNLIKELY(!whole)) {
    const auto inside = hn::FirstN(df, channels - c);
    error = hn::IfThenElseZero(inside, error);
    mask = hn::IfThenElseZero(hn::RebindMask(du, inside), mask);
  }
  *errors = MaxAbs(df, *errors, error);
  return hn::OrAnd(words, quantised.codes, mask);
}

// The codes' words must be 0 before. Raises *errors.
template <DType kType, Rounding kRounding, Form kForm, class DF, class Units>
HWY_INLINE void EncodeRow(DF df, const RowPlan<DF>& plan, const std::byte* row, const Units& units,
                          std::byte* codes, hn::Vec<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df), channels = plan.channels;
  const size_t words = kForm == Form::kPairsOfShifts ? lanes : plan.words;  // constant where it can be
  auto* const to = reinterpret_cast<uint32_t*>(codes);
  const size_t codes_of_word = 32 / static_cast<size_t>(plan.bits);
  constexpr bool kWhole = IsPairs(kForm);
  // The last code ends up highest.
  if constexpr (IsRepeated(kForm)) {
    auto v = hn::Zero(du);
    for (size_t end = (channels + lanes - 1) / lanes * lanes; end != 0; end -= lanes) {
      v = AddChannels<kType, kRounding, kWhole>(df, plan, hn::Shl(v, plan.shift), row, units, end - lanes,
                                                errors);
    }
    OrFolded(du, hn::Shl(v, plan.first_shifts), words, to);
  } else {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = kWhole || at + lanes <= words ? at : words - lanes;
      auto v = hn::Zero(du);
      for (size_t k = codes_of_word; k-- > 0;) {
        const size_t c = k * words + w;
        if (!kWhole && c >= channels) continue;
        v = AddChannels<kType, kRounding, kWhole>(df, plan, hn::ShiftLeftSame(v, plan.bits), row, units, c,
                                                  errors);
      }
      hn::StoreU(v, du, to + w);
    }
  }
}

// The tile by value: the bytes that are written could else be its own.
template <DType kType, Rounding kRounding, Form kForm, bool kRuns, class DF>
HWY_NOINLINE float EncodeRows(DF df, const IntqTile tile, const std::byte* values, const IntqUnits units,
                              std::byte* codes) {
  const RowPlan<DF> plan(df, tile);
  const size_t code_row_bytes = tile.code_row_bytes(), row_bytes = tile.row_bytes();
  auto errors = hn::Zero(df);
  std::memset(codes, 0, tile.scales_offset());
  bool done = false;
  if constexpr (IsPairs(kForm)) {
    for (size_t t = 0, u = 0; tile.per_channel() && t < tile.tokens; t += tile.run(), u += tile.channels) {
      const IntqUnits run{units.zero + u, nullptr, units.step + u, units.inverse + u};
      EncodeChannelRun<kType, kRounding, kForm>(df, plan, std::min<size_t>(tile.run(), tile.tokens - t),
                                                values + t * row_bytes, run, codes + t * code_row_bytes,
                                                &errors);
      done = true;
    }
  }
  if (!done) {
    ForRows<kRuns, !IsPairs(kForm)>(
        tile, units.step, units.zero, units.inverse, [&](size_t t, const auto& row_units) HWY_ATTR {
          EncodeRow<kType, kRounding, kForm>(df, plan, values + t * row_bytes, row_units,
                                             codes + t * code_row_bytes, &errors);
        });
  }
  HWY_ALIGN float lanes[hn::MaxLanes(DF())];
  hn::Store(errors, df, lanes);
  return *std::max_element(lanes, lanes + hn::Lanes(df));
}

// False: rows that the vectors do not take.
bool QuantizeSimd(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                  std::byte* codes, float* error) {
  return WithRounding(tile.dtype, ordinary, [&]<DType kType, Rounding kRounding>() HWY_ATTR {
    return WithForm(tile, [&](auto df, auto form) HWY_ATTR {
      *error = EncodeRows<kType, kRounding, form.form, form.runs>(df, tile, values, units, codes);
    });
  });
}

#else   // never called
bool QuantizeSimd(const IntqTile&, const std::byte*, const IntqUnits&, bool, std::byte*, float*) {
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

// Half to even, for 0 <= v < 2^22: above 2^23 an f32 has no fraction left, so that the addition rounds.
float Round(float v) { return (v + 8388608.0f) - 8388608.0f; }

float QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units, std::byte* codes) {
  const uint32_t words = tile.row_words();
  const auto top = static_cast<float>(tile.max_code());
  float x[kMaxHeadDim], approx[kMaxHeadDim], y[kMaxHeadDim];
  uint32_t row[kMaxHeadDim];
  float worst = 0;
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    FloatsOfValues(tile.dtype, values + size_t{t} * tile.row_bytes(), tile.channels, x);
    std::fill_n(row, words, 0u);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t u = tile.unit(t, c);
      const float rounded = Round((x[c] - units.zero[u]) * units.inverse[u]);
      const float code = rounded < top ? rounded : top;
      approx[c] = code * units.step[u] + units.zero[u];
      row[c % words] |= static_cast<uint32_t>(code) << (c / words * tile.bits);
    }
    RoundFloats(tile.dtype, approx, tile.channels, y);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      worst = std::max(worst, std::fabs(x[c] - y[c]) * units.inverse[tile.unit(t, c)]);
    }
    std::memcpy(codes + size_t{t} * 4 * words, row, 4 * words);
  }
  return worst;
}

}  // namespace
}  // namespace scalar

HWY_EXPORT(QuantizeSimd);

float QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                   std::byte* codes) {
  float error = 0;
  if (!ScalarOnly() && HWY_DYNAMIC_DISPATCH(QuantizeSimd)(tile, values, units, ordinary, codes, &error))
    return error;
  return scalar::QuantizeIntq(tile, values, units, codes);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
