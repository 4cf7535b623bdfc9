#include "codec/simd/kvcomp_quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/kvcomp_quantize.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/element_lookup-inl.h"
#include "codec/simd/float_convert-inl.h"
// clang-format on

#include <algorithm>
#include <cmath>

#include "codec/float_format.h"

#ifndef KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_
#define KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_
namespace kvcompd::codec {
namespace {

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

}  // namespace
}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_KVCOMP_QUANTIZE_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace {  // other kernels have functions of these names

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

#if HWY_TARGET <= HWY_AVX3

// bf16 with one unit a row: 32 values at a time, as the even and the odd ones of a vector of elements, each
// with zeros below, which makes them f32. The decoded elements come from a table of the codes' values.
template <uint32_t kSymbols>
class Bf16RowQuantizer {
 public:
  explicit HWY_INLINE Bf16RowQuantizer(const QuantizeJob& job, double max_error)
      : job_(job), max_error_(max_error) {}

  HWY_INLINE void SetUnit(size_t unit) {
    const hn::ScalableTag<float> df;
    const hn::Rebind<uint16_t, decltype(df)> d16;
    unit_ = unit;
    job_.units.doubt[unit] = DoubtfulAbove(job_.units, unit, max_error_);
    units_.SetAll(df, job_.units, unit);
    HWY_ALIGN uint16_t values[kSymbols];
    for (uint32_t s = 0; s < kSymbols; s += 16) {
      const auto code = hn::Iota(df, static_cast<float>(s));
      const auto value = hn::Add(hn::Mul(hn::Add(code, units_.zero), units_.step), units_.base);
      hn::Store(ElementsOfFloat<DType::kBf16>(df, value), d16, values + s);
    }
    table_ = TableOf16<kSymbols>(values);
    zero_ = _mm512_set1_epi16(static_cast<int16_t>(static_cast<int32_t>(job_.units.zero[unit])));
  }

  // Elements [at, at + 32). False where a value misses the bound.
  HWY_INLINE bool Quantize(size_t at) {
    const hn::ScalableTag<float> df;
    const __m512i elements = _mm512_loadu_si512(reinterpret_cast<const uint16_t*>(job_.values) + at);
    const F even = EvenOf(elements), odd = OddOf(elements);
    // The rounding constant is left in: the low bits of the sum are those of the integer.
    const F shift = hn::Set(df, 12582912.0f);
    const F t_even = hn::Mul(even, units_.reciprocal), t_odd = hn::Mul(odd, units_.reciprocal);
    F sum_even = hn::Add(t_even, shift), sum_odd = hn::Add(t_odd, shift);
    const F off =
        LargerOf(hn::Sub(t_even, hn::Sub(sum_even, shift)), hn::Sub(t_odd, hn::Sub(sum_odd, shift)));
    if (HWY_UNLIKELY(!hn::AllTrue(df, hn::Lt(off, units_.clear)))) {
      sum_even = hn::Add(hn::Div(even, units_.divisor), shift);
      sum_odd = hn::Add(hn::Div(odd, units_.divisor), shift);
    }
    const __m512i low = _mm512_set1_epi32(0xffff);
    const __m512i integers = _mm512_or_si512(_mm512_and_si512(_mm512_castps_si512(sum_even.raw), low),
                                             _mm512_slli_epi32(_mm512_castps_si512(sum_odd.raw), 16));
    const __m512i codes = _mm512_sub_epi16(integers, zero_);
    largest_ = _mm512_max_epu16(largest_, codes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(job_.codes + at), _mm512_cvtepi16_epi8(codes));
    const __m512i decoded = table_(codes);
    _mm512_storeu_si512(reinterpret_cast<uint16_t*>(job_.decoded) + at, decoded);
    const F y_even = EvenOf(decoded), y_odd = OddOf(decoded);
    const F error = LargerOf(hn::Sub(even, y_even), hn::Sub(odd, y_odd));
    if (HWY_LIKELY(hn::AllTrue(df, hn::Le(error, units_.doubt)))) return true;
    return Check(even, hn::Sub(sum_even, shift), y_even) && Check(odd, hn::Sub(sum_odd, shift), y_odd);
  }

  bool InAlphabet() const {
    return _mm512_cmpgt_epu16_mask(largest_, _mm512_set1_epi16(static_cast<int16_t>(job_.symbols - 1))) == 0;
  }
  double max_error() const { return max_error_; }

 private:
  using F = hn::Vec<hn::ScalableTag<float>>;
  static HWY_INLINE F EvenOf(__m512i elements) {
    return F{_mm512_castsi512_ps(_mm512_slli_epi32(elements, 16))};
  }
  static HWY_INLINE F OddOf(__m512i elements) {
    return F{_mm512_castsi512_ps(
        _mm512_and_si512(elements, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))))};
  }
  // The larger of |a| and |b|.
  static HWY_INLINE F LargerOf(F a, F b) {
    constexpr int kLargerMagnitude = 3, kWithoutSign = 2 << 2;
    return F{_mm512_range_ps(a.raw, b.raw, kLargerMagnitude | kWithoutSign)};
  }
  HWY_NOINLINE bool Check(F x, F quotient, F y) {
    const hn::ScalableTag<float> df;
    const F x_approx = hn::Add(hn::Mul(quotient, units_.step), units_.base);
    if (!CheckDoubtful(df, DType::kBf16, x, x_approx, y, job_, unit_, 1, &max_error_)) return false;
    units_.doubt = hn::Set(df, job_.units.doubt[unit_]);
    return true;
  }

  const QuantizeJob& job_;
  double max_error_;
  size_t unit_ = 0;
  UnitVectors<hn::ScalableTag<float>> units_;
  TableOf16<kSymbols> table_;
  __m512i zero_;
  __m512i largest_ = _mm512_setzero_si512();
};

template <uint32_t kSymbols>
bool QuantizeBf16Rows(const QuantizeJob& job, double* max_error_over_r) {
  Bf16RowQuantizer<kSymbols> quantizer(job, *max_error_over_r);
  for (size_t t = 0; t < job.tokens; ++t) {
    if (t == 0 || job.unit_step != 0) quantizer.SetUnit(t * job.unit_step);
    for (size_t i = 0; i < job.channels; i += 32) {
      const size_t c = std::min<size_t>(i, job.channels - 32);
      if (!quantizer.Quantize(t * job.channels + c)) return false;
    }
  }
  if (!quantizer.InAlphabet()) return false;
  *max_error_over_r = quantizer.max_error();
  return true;
}

#endif  // HWY_TARGET <= HWY_AVX3

template <DType kType, class DF>
bool QuantizeUnits(DF df, const QuantizeJob& job, double* max_error_over_r) {
  if (job.units_of_row == UnitsOfRow::kOne) {
#if HWY_TARGET <= HWY_AVX3
    if (kType == DType::kBf16 && job.channels >= 32 && job.symbols <= 128) {
      if (job.symbols <= 32) return QuantizeBf16Rows<32>(job, max_error_over_r);
      if (job.symbols <= 64) return QuantizeBf16Rows<64>(job, max_error_over_r);
      return QuantizeBf16Rows<128>(job, max_error_over_r);
    }
#endif
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

}  // namespace
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
