#include "codec/simd/token_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/token_rows.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "codec/simd/float_convert-inl.h"
#include "codec/simd/targets.h"

#ifndef KVCOMPD_CODEC_SIMD_TOKEN_ROWS_SCALAR_
#define KVCOMPD_CODEC_SIMD_TOKEN_ROWS_SCALAR_
namespace kvcompd::codec {
namespace scalar {
namespace {

uint32_t Load(DType dtype, const std::byte* values, size_t i) {
  uint16_t bits = 0;
  std::memcpy(&bits, values + i * ElementBytes(dtype), ElementBytes(dtype));
  return bits;
}

float ApproximationOf(uint32_t code, const TokenUnit& unit) {
  return (static_cast<float>(code) + unit.zero) * unit.step + unit.base;
}

bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  bool finite = true;
  for (size_t t = 0; t < tokens; ++t) {
    UnitRange range;
    for (size_t c = 0; c < channels; ++c) {
      const uint32_t bits = Load(dtype, values, t * channels + c);
      finite &= IsFinite(dtype, bits);
      const float x = FloatOfBits(dtype, bits);
      range.Add({.min = x, .max = x});
    }
    ranges[t] = range;
  }
  return finite;
}

bool QuantizeToken(DType dtype, const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                   uint8_t* codes, double* worst) {
  const float top = static_cast<float>(symbols - 1);
  bool good = true;
  for (size_t i = 0; i < n; ++i) {
    const float x = FloatOfBits(dtype, Load(dtype, values, i));
    constexpr float kRound = 12582912.0f;
    const float code = ((x / unit.divisor + kRound) - kRound) - unit.zero;
    const float cut = std::min(std::max(code, 0.0f), top);
    good &= code == cut;
    codes[i] = static_cast<uint8_t>(cut);
    const float approx = ApproximationOf(codes[i], unit);
    const float y = FloatOfBits(dtype, BitsOfFloat(dtype, approx));
    const double error = std::fabs(static_cast<double>(x) - static_cast<double>(y));
    good &= !(error > unit.limit + HalfUlp(dtype, approx));
    *worst = std::max(*worst, error);
  }
  return good;
}

bool DequantizeToken(DType dtype, const uint8_t* codes, size_t n, const TokenUnit& unit, uint32_t symbols,
                     std::byte* values) {
  bool known = true;
  for (size_t i = 0; i < n; ++i) {
    known &= codes[i] < symbols;
    const uint16_t bits = BitsOfFloat(dtype, ApproximationOf(codes[i], unit));
    std::memcpy(values + i * ElementBytes(dtype), &bits, ElementBytes(dtype));
  }
  return known;
}

}  // namespace
}  // namespace scalar
}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_TOKEN_ROWS_SCALAR_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR
using namespace scalar;  // NOLINT(google-build-using-namespace): what stands above, under this target's name
#else
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
using DHalf = hn::Half<DF>;
using DDouble = hn::Rebind<double, DHalf>;
using VDouble = hn::Vec<DDouble>;
using DCode = hn::Rebind<uint8_t, DF>;

// Calls fn.operator()<dtype>().
template <typename Fn>
HWY_INLINE bool ForType(DType dtype, Fn&& fn) {
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
bool RangesOfType(const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  bool finite = true;
  for (size_t t = 0; t < tokens; ++t) {
    const KeyRange<kType> range = RangeOfRow<kType>(values, channels);
    finite &= range.finite();
    ranges[t] = {.min = FloatOfKey<kType>(range.min), .max = FloatOfKey<kType>(range.max)};
    values += channels * ElementBytes(kType);
  }
  return finite;
}

// x' of codes, as DequantizeRow of codec/quantizer.h: the sum with the zero is exact, the product is rounded,
// and one of the last two terms is 0.
HWY_INLINE VF Approximate(VF codes, const TokenUnit& unit) {
  const DF df;
  const VF scaled = hn::Mul(hn::Add(codes, hn::Set(df, unit.zero)), hn::Set(df, unit.step));
  return hn::Add(scaled, hn::Set(df, unit.base));
}

// Half an ulp of each value's type, as HalfUlp(), as the upper bits of binary64.
template <DType kType>
HWY_INLINE hn::Vec<hn::RebindToSigned<DF>> HalfUlpExponents(VF approx) {
  constexpr FloatFormat kFormat = FloatFormatOf(kType);
  const hn::RebindToSigned<DF> di;
  const auto exponent = hn::And(hn::ShiftRight<23>(hn::BitCast(di, approx)), hn::Set(di, 0xff));
  const auto clamped =
      hn::Min(hn::Max(exponent, hn::Set(di, 127 + kFormat.min_exp)), hn::Set(di, 127 + kFormat.max_exp()));
  return hn::Add(clamped, hn::Set(di, 1023 - 127 - kFormat.man_bits - 1));
}

// Running check of the bound in binary64, half a vector of floats at a time.
struct BoundCheck {
  explicit BoundCheck(double bound) : limit(hn::Set(DDouble(), bound)) {}

  HWY_INLINE void Add(hn::Vec<DHalf> x, hn::Vec<DHalf> y, hn::Vec<hn::RebindToSigned<DHalf>> half_ulps) {
    const DDouble dd;
    const hn::RebindToSigned<DDouble> di64;
    const VDouble error = hn::Abs(hn::Sub(hn::PromoteTo(dd, x), hn::PromoteTo(dd, y)));
    const auto half_ulp = hn::BitCast(dd, hn::ShiftLeft<52>(hn::PromoteTo(di64, half_ulps)));
    worst = hn::Max(worst, error);
    misses = hn::Or(misses, hn::VecFromMask(dd, hn::Gt(error, hn::Add(limit, half_ulp))));
  }

  VDouble limit;
  VDouble worst = hn::Zero(DDouble());
  VDouble misses = hn::Zero(DDouble());
};

template <DType kType>
bool QuantizeType(const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols, uint8_t* codes,
                  double* worst) {
  const DF df;
  const DHalf dhalf;
  const DCode dcode;
  const hn::RebindToSigned<DF> di;
  const hn::RebindToSigned<DHalf> dihalf;
  const size_t lanes = hn::Lanes(df);
  const VF divisor = hn::Set(df, unit.divisor), zero = hn::Set(df, unit.zero);
  const VF top = hn::Set(df, static_cast<float>(symbols - 1)), none = hn::Zero(df);
  const VF round = hn::Set(df, 12582912.0f);  // 1.5 * 2^23: the sum has no fraction
  BoundCheck check(unit.limit);
  VF outside = none;
  const auto quantize = [&](const std::byte* from, uint8_t* to) HWY_ATTR {
    const VF x = LoadAsFloat<kType>(df, from);
    const VF rounded = hn::Sub(hn::Add(hn::Div(x, divisor), round), round);
    const VF code = hn::Sub(rounded, zero);
    const VF cut = hn::Min(hn::Max(code, none), top);
    outside = hn::Or(outside, hn::VecFromMask(df, hn::Ne(code, cut)));
    const VF approx = Approximate(cut, unit);
    const VF y = FloatOfElements<kType>(df, ElementsOfFloat<kType>(df, approx));
    const auto half_ulps = HalfUlpExponents<kType>(approx);
    check.Add(hn::LowerHalf(dhalf, x), hn::LowerHalf(dhalf, y), hn::LowerHalf(dihalf, half_ulps));
    check.Add(hn::UpperHalf(dhalf, x), hn::UpperHalf(dhalf, y), hn::UpperHalf(dihalf, half_ulps));
    hn::StoreU(hn::U8FromU32(hn::BitCast(hn::RebindToUnsigned<DF>(), hn::ConvertTo(di, cut))), dcode, to);
  };
  constexpr size_t kBytes = ElementBytes(kType);
  if (n >= lanes) {
    // The last vector may overlap the one before.
    for (size_t i = 0; i < n; i += lanes) {
      const size_t at = std::min(i, n - lanes);
      quantize(values + at * kBytes, codes + at);
    }
  } else {
    // The lanes left over take the first value, which is in bounds where its own lane is.
    HWY_ALIGN std::byte few[hn::MaxLanes(df) * kBytes];
    HWY_ALIGN uint8_t few_codes[hn::MaxLanes(df)];
    for (size_t i = 0; i < lanes; ++i)
      std::memcpy(few + i * kBytes, values + (i < n ? i : 0) * kBytes, kBytes);
    quantize(few, few_codes);
    std::memcpy(codes, few_codes, n);
  }
  const DDouble dd;
  HWY_ALIGN double errors[hn::MaxLanes(dd)];
  hn::Store(check.worst, dd, errors);
  for (size_t i = 0; i < hn::Lanes(dd); ++i) *worst = std::max(*worst, errors[i]);
  return hn::AllFalse(df, hn::MaskFromVec(outside)) && hn::AllFalse(dd, hn::MaskFromVec(check.misses));
}

// What codes 0 .. kSize - 1 decode to, as elements.
template <DType kType, size_t kSize>
struct ValueTable {
  explicit HWY_INLINE ValueTable(const TokenUnit& unit) {
    const DF df;
    constexpr size_t kLanes = hn::MaxLanes(df);
    static_assert(kSize % kLanes == 0);
    for (size_t code = 0; code < kSize; code += kLanes) {
      const VF x = Approximate(hn::Iota(df, static_cast<float>(code)), unit);
      StoreFromFloat<kType>(df, x, reinterpret_cast<std::byte*>(of + code));
    }
  }
  alignas(64) ElementOf<kType> of[kSize];
};

using DBlock = hn::FixedTag<uint8_t, 16>;

// The lower and the upper bytes of sixteen elements of two bytes.
struct BytesOfElements {
  explicit HWY_INLINE BytesOfElements(const uint16_t* elements) {
    const DBlock d;
    alignas(16) static constexpr uint8_t kEvenOdd[16] = {0, 2, 4, 6, 8, 10, 12, 14,
                                                         1, 3, 5, 7, 9, 11, 13, 15};
    const auto order = hn::Load(d, kEvenOdd);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(elements);
    const auto a = hn::TableLookupBytes(hn::Load(d, bytes), order);
    const auto b = hn::TableLookupBytes(hn::Load(d, bytes + 16), order);
    low = hn::ConcatLowerLower(d, b, a);
    high = hn::ConcatUpperUpper(d, b, a);
  }
  hn::Vec<DBlock> low, high;
};

template <DType kType>
HWY_INLINE void LookUpBytes(const uint8_t* codes, size_t n, const TokenUnit& unit, std::byte* values) {
  const DBlock d;
  const ValueTable<kType, 16> table(unit);
  constexpr size_t kBytes = ElementBytes(kType);
  size_t i = 0;
  if constexpr (kBytes == 1) {
    const auto elements = hn::Load(d, table.of);
    for (; i + 16 <= n; i += 16) {
      const auto looked_up = hn::TableLookupBytes(elements, hn::LoadU(d, codes + i));
      hn::StoreU(looked_up, d, reinterpret_cast<uint8_t*>(values + i));
    }
  } else {
    const BytesOfElements bytes(table.of);
    for (; i + 16 <= n; i += 16) {
      const auto index = hn::LoadU(d, codes + i);
      const auto low = hn::TableLookupBytes(bytes.low, index), high = hn::TableLookupBytes(bytes.high, index);
      auto* const out = reinterpret_cast<uint8_t*>(values + 2 * i);
      hn::StoreU(hn::InterleaveLower(d, low, high), d, out);
      hn::StoreU(hn::InterleaveUpper(d, low, high), d, out + 16);
    }
  }
  for (; i < n; ++i) std::memcpy(values + i * kBytes, &table.of[codes[i] & 15], kBytes);
}

#if HWY_TARGET <= HWY_AVX3
// Elements of two bytes, up to 64 of them.
template <DType kType, size_t kSize>
HWY_INLINE void LookUpWords(const uint8_t* codes, size_t n, const TokenUnit& unit, std::byte* values) {
  const ValueTable<kType, kSize> table(unit);
  // A code beyond the table takes some value of it, and AllUnder refuses it.
  const __m512i low =
      kSize < 32 ? _mm512_broadcast_i64x4(_mm256_load_si256(reinterpret_cast<const __m256i*>(table.of)))
                 : _mm512_load_si512(table.of);
  const __m512i high = kSize > 32 ? _mm512_load_si512(table.of + kSize / 2) : low;
  for (size_t i = 0; i < n; i += 32) {
    const __mmask32 some = n - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    const __m512i index = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, codes + i));
    const __m512i elements =
        kSize > 32 ? _mm512_permutex2var_epi16(low, index, high) : _mm512_permutexvar_epi16(index, low);
    _mm512_mask_storeu_epi16(values + 2 * i, some, elements);
  }
}
#endif

template <DType kType>
HWY_INLINE void Compute(const uint8_t* codes, size_t n, const TokenUnit& unit, std::byte* values) {
  const DF df;
  const DCode dcode;
  const hn::RebindToSigned<DF> di;
  const size_t lanes = hn::Lanes(df);
  const auto take = [&](const uint8_t* from, std::byte* to) HWY_ATTR {
    const VF code = hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(dcode, from)));
    StoreFromFloat<kType>(df, Approximate(code, unit), to);
  };
  constexpr size_t kBytes = ElementBytes(kType);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) take(codes + i, values + i * kBytes);
  if (i == n) return;
  HWY_ALIGN uint8_t few[hn::MaxLanes(df)] = {};
  HWY_ALIGN std::byte few_values[hn::MaxLanes(df) * kBytes];
  std::memcpy(few, codes + i, n - i);
  take(few, few_values);
  std::memcpy(values + i * kBytes, few_values, (n - i) * kBytes);
}

HWY_INLINE bool AllUnder(const uint8_t* codes, size_t n, uint32_t symbols) {
  if (symbols > 255) return true;
  const hn::ScalableTag<uint8_t> d;
  const auto last = hn::Set(d, static_cast<uint8_t>(symbols - 1));
  auto largest = last;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) largest = hn::Max(largest, hn::LoadU(d, codes + i));
  bool under = hn::AllTrue(d, hn::Eq(largest, last));
  for (; i < n; ++i) under &= codes[i] < symbols;
  return under;
}

template <DType kType>
bool DequantizeType(const uint8_t* codes, size_t n, const TokenUnit& unit, uint32_t symbols,
                    std::byte* values) {
  // A table costs as much as computing so many values, and rows mostly have more.
#if HWY_TARGET <= HWY_AVX3
  if constexpr (ElementBytes(kType) == 2) {
    if (symbols <= 64) {
      if (symbols <= 16) {
        LookUpWords<kType, 16>(codes, n, unit, values);
      } else if (symbols <= 32) {
        LookUpWords<kType, 32>(codes, n, unit, values);
      } else {
        LookUpWords<kType, 64>(codes, n, unit, values);
      }
      return AllUnder(codes, n, symbols);
    }
  }
#endif
  if (symbols <= 16) {
    LookUpBytes<kType>(codes, n, unit, values);
  } else {
    Compute<kType>(codes, n, unit, values);
  }
  return AllUnder(codes, n, symbols);
}

bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  return ForType(
      dtype, [&]<DType kType>() HWY_ATTR { return RangesOfType<kType>(values, tokens, channels, ranges); });
}

bool QuantizeToken(DType dtype, const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                   uint8_t* codes, double* worst) {
  return ForType(dtype, [&]<DType kType>()
                            HWY_ATTR { return QuantizeType<kType>(values, n, unit, symbols, codes, worst); });
}

bool DequantizeToken(DType dtype, const uint8_t* codes, size_t n, const TokenUnit& unit, uint32_t symbols,
                     std::byte* values) {
  return ForType(
      dtype, [&]<DType kType>() HWY_ATTR { return DequantizeType<kType>(codes, n, unit, symbols, values); });
}

#endif  // HWY_TARGET == HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
HWY_EXPORT(RangesOfTokens);
HWY_EXPORT(QuantizeToken);
HWY_EXPORT(DequantizeToken);

bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  if (ScalarOnly()) return scalar::RangesOfTokens(dtype, values, tokens, channels, ranges);
  return HWY_DYNAMIC_DISPATCH(RangesOfTokens)(dtype, values, tokens, channels, ranges);
}

bool QuantizeToken(DType dtype, const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                   uint8_t* codes, double* worst) {
  if (ScalarOnly()) return scalar::QuantizeToken(dtype, values, n, unit, symbols, codes, worst);
  return HWY_DYNAMIC_DISPATCH(QuantizeToken)(dtype, values, n, unit, symbols, codes, worst);
}

bool DequantizeToken(DType dtype, const uint8_t* codes, size_t n, const TokenUnit& unit, uint32_t symbols,
                     std::byte* values) {
  if (ScalarOnly()) return scalar::DequantizeToken(dtype, codes, n, unit, symbols, values);
  return HWY_DYNAMIC_DISPATCH(DequantizeToken)(dtype, codes, n, unit, symbols, values);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
