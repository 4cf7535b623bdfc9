#include "codec/simd/kvcomp_quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/kvcomp_quantize.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/float_convert-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>

#include "codec/float_format.h"

#ifndef KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_
#define KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_
namespace kvcompd::codec {

// Errors of a unit up to this, as f32, neither miss the bound nor raise the largest error over r.
inline float DoubtfulAbove(const UnitTable& units, size_t u, double max_error_over_r) {
  // An error in f32 is off by 2^-24 of it, so a limit that is lower by 2^-20 of it leaves no doubt below.
  const double limit = std::min(units.limit[u], max_error_over_r * units.radius[u]) * (1.0 - 0x1p-20);
  const auto nearest = static_cast<float>(std::min(limit, 0x1p127));
  return static_cast<double>(nearest) <= limit ? nearest : std::nextafterf(nearest, 0.0f);
}

// The exact check of one value, as CheckRow() does it.
inline bool CheckValue(DType dtype, float x, float x_approx, float y, bool strict, const UnitTable& units,
                       size_t u, double* max_error_over_r) {
  const double error = std::fabs(static_cast<double>(x) - static_cast<double>(y));
  const double bound = units.limit[u];
  if (error > bound && (strict || error > bound + HalfUlp(dtype, x_approx))) return false;
  if (units.radius[u] > 0) *max_error_over_r = std::max(*max_error_over_r, error / units.radius[u]);
  return true;
}

}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

template <typename Fn>
HWY_INLINE auto WithType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kFp16:
      return fn.template operator()<DType::kFp16>();
    case DType::kFp8E4m3:
      return fn.template operator()<DType::kFp8E4m3>();
    case DType::kFp8E5m2:
      return fn.template operator()<DType::kFp8E5m2>();
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return fn.template operator()<DType::kBf16>();
}

template <DType kType>
bool RowRanges(const std::byte* values, uint32_t rows, uint32_t columns, UnitRange* ranges) {
  for (uint32_t row = 0; row < rows; ++row) {
    const KeyRange<kType> keys = RangeOfRow<kType>(values, columns);
    if (!keys.finite()) return false;
    ranges[row] = {.min = FloatOfKey<kType>(keys.min), .max = FloatOfKey<kType>(keys.max)};
    values += columns * sizeof(ElementOf<kType>);
  }
  return true;
}

template <DType kType>
bool ColumnRanges(const std::byte* values, uint32_t rows, uint32_t columns, UnitRange* ranges) {
  KeyOf<kType> mins[kMaxHeadDim], maxs[kMaxHeadDim];
  if (!RangesOfColumns<kType>(values, rows, columns * sizeof(ElementOf<kType>), columns, mins, maxs)) {
    return false;
  }
  for (uint32_t c = 0; c < columns; ++c) {
    ranges[c] = {.min = FloatOfKey<kType>(mins[c]), .max = FloatOfKey<kType>(maxs[c])};
  }
  return true;
}

// Half to even for |v| < 2^22, never -0.
template <class DF>
HWY_INLINE hn::Vec<DF> RoundHalfEven(DF df, hn::Vec<DF> v) {
  const auto shift = hn::Set(df, 12582912.0f);  // 1.5 * 2^23: above 2^23 an f32 has no fraction left
  return hn::Sub(hn::Add(v, shift), shift);
}

// The units of one vector of values.
template <class DF>
struct UnitVectors {
  hn::Vec<DF> divisor, reciprocal, clear, zero, step, base, doubt;

  HWY_INLINE void SetAll(DF df, const UnitTable& units, size_t u) {
    divisor = hn::Set(df, units.divisor[u]);
    reciprocal = hn::Set(df, units.reciprocal[u]);
    clear = hn::Set(df, units.clear[u]);
    zero = hn::Set(df, units.zero[u]);
    step = hn::Set(df, units.step[u]);
    base = hn::Set(df, units.base[u]);
    doubt = hn::Set(df, units.doubt[u]);
  }
  HWY_INLINE void Load(DF df, const UnitTable& units, size_t u) {
    divisor = hn::LoadU(df, units.divisor + u);
    reciprocal = hn::LoadU(df, units.reciprocal + u);
    clear = hn::LoadU(df, units.clear + u);
    zero = hn::LoadU(df, units.zero + u);
    step = hn::LoadU(df, units.step + u);
    base = hn::LoadU(df, units.base + u);
    doubt = hn::LoadU(df, units.doubt + u);
  }
};

// The integers that x / divisor rounds to.
template <class DF>
HWY_INLINE hn::Vec<DF> RoundedQuotients(DF df, hn::Vec<DF> x, const UnitVectors<DF>& units) {
  const auto t = hn::Mul(x, units.reciprocal);
  const auto rounded = RoundHalfEven(df, t);
  const auto clear = hn::Lt(hn::Abs(hn::Sub(t, rounded)), units.clear);
  if (HWY_LIKELY(hn::AllTrue(df, clear))) return rounded;
  return RoundHalfEven(df, hn::Div(x, units.divisor));
}

// Checks the values of a vector whose f32 error leaves doubt, and then asks for more before it doubts again.
// u: of the first lane.
template <class DF>
HWY_NOINLINE bool CheckDoubtful(DF df, DType dtype, hn::Vec<DF> x, hn::Vec<DF> x_approx, hn::Vec<DF> y,
                                const QuantizeJob& job, size_t u, size_t unit_lanes, double* max_error) {
  constexpr size_t kLanes = hn::MaxLanes(df);
  HWY_ALIGN float xs[kLanes], approx[kLanes], ys[kLanes];
  hn::Store(x, df, xs);
  hn::Store(x_approx, df, approx);
  hn::Store(y, df, ys);
  for (size_t k = 0; k < hn::Lanes(df); ++k) {
    const size_t unit = u + (unit_lanes == 1 ? 0 : k);
    if (std::fabs(xs[k] - ys[k]) <= job.units.doubt[unit]) continue;
    if (!CheckValue(dtype, xs[k], approx[k], ys[k], job.strict, job.units, unit, max_error)) return false;
  }
  for (size_t k = 0; k < unit_lanes; ++k)
    job.units.doubt[u + k] = DoubtfulAbove(job.units, u + k, *max_error);
  return true;
}

// df: at most as many lanes as there are channels.
template <DType kType, UnitsOfRow kUnits, class DF>
bool QuantizeRows(DF df, const QuantizeJob& job, double* max_error_over_r) {
  constexpr bool kOne = kUnits == UnitsOfRow::kOne;
  const hn::Rebind<ElementOf<kType>, DF> de;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<uint8_t, DF> d8;
  const size_t lanes = hn::Lanes(df), channels = job.channels;
  double max_error = *max_error_over_r;
  UnitVectors<DF> units;
  auto largest = hn::Zero(df);  // code
  if (!kOne) {
    for (size_t c = 0; c < channels; ++c) job.units.doubt[c] = DoubtfulAbove(job.units, c, max_error);
  }
  for (size_t t = 0; t < job.tokens; ++t) {
    const auto* const in = reinterpret_cast<const ElementOf<kType>*>(job.values) + t * channels;
    auto* const out = reinterpret_cast<ElementOf<kType>*>(job.decoded) + t * channels;
    uint8_t* const codes = job.codes + t * channels;
    const size_t unit = t * job.unit_step;
    if (kOne) {
      job.units.doubt[unit] = DoubtfulAbove(job.units, unit, max_error);
      units.SetAll(df, job.units, unit);
    }
    for (size_t i = 0; i < channels; i += lanes) {
      const size_t c = std::min(i, channels - lanes);  // what the last vector has twice comes out the same
      if (!kOne) units.Load(df, job.units, c);
      const auto x = FloatOfElements<kType>(df, hn::LoadU(de, in + c));
      const auto quotient = RoundedQuotients(df, x, units);
      // Not below 0: a unit's zero is the rounded quotient of its least value.
      const auto code = hn::Sub(quotient, units.zero);
      largest = hn::Max(largest, code);
      hn::StoreU(hn::U8FromU32(hn::BitCast(hn::Rebind<uint32_t, DF>(), hn::ConvertTo(di, code))), d8,
                 codes + c);
      // (code + zero) is the quotient again, and exact.
      const auto x_approx = hn::Add(hn::Mul(quotient, units.step), units.base);
      const auto elements = ElementsOfFloat<kType>(df, x_approx);
      hn::StoreU(elements, de, out + c);
      const auto y = FloatOfElements<kType>(df, elements);
      const auto doubtful = hn::Gt(hn::Abs(hn::Sub(x, y)), units.doubt);
      if (HWY_UNLIKELY(!hn::AllFalse(df, doubtful))) {
        if (!CheckDoubtful(df, kType, x, x_approx, y, job, kOne ? unit : c, kOne ? 1 : lanes, &max_error)) {
          return false;
        }
        if (kOne) units.doubt = hn::Set(df, job.units.doubt[unit]);
      }
    }
  }
  if (hn::GetLane(hn::MaxOfLanes(df, largest)) > static_cast<float>(job.symbols - 1)) return false;
  *max_error_over_r = max_error;
  return true;
}

template <DType kType, class DF>
bool QuantizeUnits(DF df, const QuantizeJob& job, double* max_error_over_r) {
  if (job.units_of_row == UnitsOfRow::kOne) {
    return QuantizeRows<kType, UnitsOfRow::kOne>(df, job, max_error_over_r);
  }
  return QuantizeRows<kType, UnitsOfRow::kPerChannel>(df, job, max_error_over_r);
}

bool QuantizeSimd(DType dtype, const QuantizeJob& job, double* max_error_over_r) {
  return WithType(dtype, [&]<DType kType>() HWY_ATTR {
    const hn::ScalableTag<float> df;
    static_assert(kMinHeadDim >= 8);
    if (job.channels < hn::Lanes(df)) {
      return QuantizeUnits<kType>(hn::CappedTag<float, 8>(), job, max_error_over_r);
    }
    return QuantizeUnits<kType>(df, job, max_error_over_r);
  });
}

bool RowRangesSimd(DType dtype, const std::byte* tile, uint32_t rows, uint32_t columns, UnitRange* ranges) {
  return WithType(dtype,
                  [&]<DType kType>() HWY_ATTR { return RowRanges<kType>(tile, rows, columns, ranges); });
}
bool ColumnRangesSimd(DType dtype, const std::byte* tile, uint32_t rows, uint32_t columns,
                      UnitRange* ranges) {
  return WithType(dtype,
                  [&]<DType kType>() HWY_ATTR { return ColumnRanges<kType>(tile, rows, columns, ranges); });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace {
HWY_EXPORT(QuantizeSimd);
HWY_EXPORT(RowRangesSimd);
HWY_EXPORT(ColumnRangesSimd);
}  // namespace

bool RangeOfTile(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels, UnitRange* range) {
  return HWY_DYNAMIC_DISPATCH(RowRangesSimd)(dtype, tile, 1, tokens * channels, range);
}
bool RangesOfTokens(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels,
                    UnitRange* ranges) {
  return HWY_DYNAMIC_DISPATCH(RowRangesSimd)(dtype, tile, tokens, channels, ranges);
}
bool RangesOfChannels(DType dtype, const std::byte* tile, uint32_t tokens, uint32_t channels,
                      UnitRange* ranges) {
  return HWY_DYNAMIC_DISPATCH(ColumnRangesSimd)(dtype, tile, tokens, channels, ranges);
}

bool QuantizeTile(DType dtype, const QuantizeJob& job, double* max_error_over_r) {
  return HWY_DYNAMIC_DISPATCH(QuantizeSimd)(dtype, job, max_error_over_r);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
