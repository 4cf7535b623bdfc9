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

// One unit of a UnitTable.
struct TokenUnit {
  float divisor, zero, step, base;
  double limit;
};

inline TokenUnit EncodeUnit(const UnitTable& units, size_t t) {
  return {units.divisor[t], units.zero[t], units.step[t], units.base[t], units.limit[t]};
}
inline TokenUnit DecodeUnit(const UnitTable& units, size_t t) {
  return {.divisor = 0, .zero = units.zero[t], .step = units.step[t], .base = units.base[t], .limit = 0};
}

constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23: a sum with it has no fraction

namespace scalar {
namespace {

uint32_t Load(DType dtype, const std::byte* values, size_t i) {
  uint16_t bits = 0;
  std::memcpy(&bits, values + i * ElementBytes(dtype), ElementBytes(dtype));
  return bits;
}

// x' of a code: the sum with the zero is exact, the product is rounded, and one of the last two terms is 0.
float ApproximationOf(uint32_t code, const TokenUnit& unit) {
  return (static_cast<float>(code) + unit.zero) * unit.step + unit.base;
}

bool QuantizeRow(DType dtype, const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                 uint8_t* codes, double* worst) {
  const float top = static_cast<float>(symbols - 1);
  bool good = true;
  *worst = 0;
  for (size_t i = 0; i < n; ++i) {
    const float x = FloatOfBits(dtype, Load(dtype, values, i));
    const float code = ((x / unit.divisor + kRoundToInteger) - kRoundToInteger) - unit.zero;
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

bool QuantizeTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels,
                    const UnitTable& units, uint32_t symbols, uint8_t* codes, size_t stride, double* worst) {
  for (size_t t = 0; t < tokens; ++t) {
    uint8_t* const row = codes + t * stride;
    std::fill(row + channels, row + stride, uint8_t{0});
    const std::byte* const from = values + t * channels * ElementBytes(dtype);
    if (!QuantizeRow(dtype, from, channels, EncodeUnit(units, t), symbols, row, &worst[t])) return false;
  }
  return true;
}

bool DequantizeTokens(DType dtype, const uint8_t* codes, size_t stride, size_t channels,
                      const uint8_t* tokens, size_t num_tokens, const UnitTable& units, uint32_t symbols,
                      std::byte* values) {
  bool known = true;
  const size_t bytes = ElementBytes(dtype);
  for (size_t i = 0; i < num_tokens; ++i) {
    const TokenUnit unit = DecodeUnit(units, tokens[i]);
    for (size_t c = 0; c < channels; ++c) {
      const uint8_t code = codes[i * stride + c];
      known &= code < symbols;
      const uint16_t bits = BitsOfFloat(dtype, ApproximationOf(code, unit));
      std::memcpy(values + (tokens[i] * channels + c) * bytes, &bits, bytes);
    }
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

// As scalar::ApproximationOf.
HWY_INLINE VF Approximate(VF codes, const TokenUnit& unit) {
  const DF df;
  const VF scaled = hn::Mul(hn::Add(codes, hn::Set(df, unit.zero)), hn::Set(df, unit.step));
  return hn::Add(scaled, hn::Set(df, unit.base));
}

// x' rounded to the type, as float.
template <DType kType>
HWY_INLINE VF Rounded(VF approx) {
  const DF df;
  if constexpr (kType == DType::kBf16) {
    return hn::BitCast(df, hn::ShiftLeft<16>(RoundToBits<kType>(df, approx)));
  } else {
    return FloatOfElements<kType>(df, ElementsOfFloat<kType>(df, approx));
  }
}

// Whether no value with a code in the alphabet can miss the bound: |x - x'| is at most half a step, and what
// quotient and product lose, each 2^-24 of its result. Of integers to 2^13 that is 2^-10 of a step together,
// less than the bound's slack of 2^-8 of r. The rounding to the type is what the bound's other term allows,
// and where it saturates y is nearer to x than x' is.
HWY_INLINE bool BoundIsCertain(const TokenUnit& unit, uint32_t symbols) {
  constexpr float kLargest = 8192.0f;
  return unit.zero >= -kLargest && unit.zero + static_cast<float>(symbols) <= kLargest &&
         static_cast<double>(unit.step) * 0.5 * (1.0 + 0x1.8p-9) <= unit.limit;
}

// Codes of one row whose bound is certain. The errors are taken in binary32, where x - y is exact: with y = 0
// there is nothing to subtract, and else x' is a multiple of the step and x within half a step of it, so that
// the exponents of x and y are too near for a bit to get lost. Denormals only have fewer bits.
template <DType kType>
class RowQuantizer {
 public:
  HWY_INLINE explicit RowQuantizer(const TokenUnit& unit)
      : divisor_(hn::Set(DF(), unit.divisor)),
        step_(hn::Set(DF(), unit.step)),
        zero_(hn::Set(DF(), unit.zero)) {
    lowest_ = highest_ = zero_;
    errors_ = hn::Zero(DF());
  }

  HWY_INLINE void Quantize(const std::byte* from, uint8_t* to) {
    const DF df;
    const hn::RebindToSigned<DF> di;
    const VF round = hn::Set(df, kRoundToInteger);
    const VF x = LoadAsFloat<kType>(df, from);
    const VF sum = hn::Add(hn::Div(x, divisor_), round);  // its low bits are the integer's
    const VF integer = hn::Sub(sum, round);
    lowest_ = hn::Min(lowest_, integer);
    highest_ = hn::Max(highest_, integer);
    const VF y = Rounded<kType>(hn::Mul(integer, step_));  // code + zero is the integer
    errors_ = hn::Max(errors_, hn::Abs(hn::Sub(x, y)));
    StoreLowBytes(hn::Sub(hn::BitCast(di, sum), hn::BitCast(di, hn::Add(zero_, round))), to);
  }

  // False where a code is out of the alphabet.
  HWY_INLINE bool Finish(uint32_t symbols, double* worst) const {
    const DF df;
    *worst = hn::GetLane(hn::MaxOfLanes(df, errors_));
    const VF highest = hn::Add(zero_, hn::Set(df, static_cast<float>(symbols - 1)));
    return hn::AllFalse(df, hn::Or(hn::Lt(lowest_, zero_), hn::Gt(highest_, highest)));
  }

 private:
  static HWY_INLINE void StoreLowBytes(hn::Vec<hn::RebindToSigned<DF>> codes, uint8_t* to) {
#if HWY_TARGET <= HWY_AVX3
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(codes.raw));
#else
    hn::StoreU(hn::U8FromU32(hn::BitCast(hn::RebindToUnsigned<DF>(), codes)), DCode(), to);
#endif
  }

  const VF divisor_, step_, zero_;
  VF lowest_, highest_, errors_;
};

template <DType kType>
HWY_INLINE bool QuantizeRow(const std::byte* values, size_t n, const TokenUnit& unit, uint32_t symbols,
                            uint8_t* codes, double* worst) {
  const size_t lanes = hn::Lanes(DF());
  constexpr size_t kBytes = ElementBytes(kType);
  if (unit.step == 0 || n < lanes || !BoundIsCertain(unit, symbols)) {
    return scalar::QuantizeRow(kType, values, n, unit, symbols, codes, worst);
  }
  RowQuantizer<kType> row(unit);
  // The last vector may overlap the one before.
  for (size_t i = 0; i < n; i += lanes) {
    const size_t at = std::min(i, n - lanes);
    row.Quantize(values + at * kBytes, codes + at);
  }
  return row.Finish(symbols, worst);
}

template <DType kType>
bool QuantizeType(const std::byte* values, size_t tokens, size_t channels, const UnitTable& units,
                  uint32_t symbols, uint8_t* codes, size_t stride, double* worst) {
  for (size_t t = 0; t < tokens; ++t) {
    uint8_t* const row = codes + t * stride;
    const std::byte* const from = values + t * channels * ElementBytes(kType);
    if (!QuantizeRow<kType>(from, channels, EncodeUnit(units, t), symbols, row, &worst[t])) return false;
    std::memset(row + channels, 0, stride - channels);
  }
  return true;
}

#if HWY_TARGET <= HWY_AVX3
// What codes 0 .. kSize - 1 decode to, elements of two bytes in registers.
template <DType kType, uint32_t kSize>
struct ElementTable {
  HWY_INLINE explicit ElementTable(const TokenUnit& unit) {
    __m256i part[4];
    for (uint32_t k = 0; k < kSize / 16; ++k) {
      const VF codes = hn::Iota(DF(), static_cast<float>(16 * k));
      part[k] = ElementsOfFloat<kType>(DF(), Approximate(codes, unit)).raw;
    }
    const auto both = [](__m256i a, __m256i b)
                          HWY_ATTR { return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1); };
    low = both(part[0], part[kSize > 16 ? 1 : 0]);
    high = kSize > 32 ? both(part[kSize > 32 ? 2 : 0], part[kSize > 32 ? 3 : 0]) : low;
  }
  HWY_INLINE __m512i Of(__m512i code) const {
    if constexpr (kSize <= 32) return _mm512_permutexvar_epi16(code, low);
    return _mm512_permutex2var_epi16(low, code, high);
  }
  __m512i low, high;
};

// Returns the largest code in `largest`, lane by lane.
template <DType kType, uint32_t kSize>
HWY_INLINE __m512i LookUpWords(const uint8_t* codes, size_t n, const TokenUnit& unit, std::byte* values,
                               __m512i largest) {
  const ElementTable<kType, kSize> table(unit);
  for (size_t i = 0; i < n; i += 32) {
    const __mmask32 some = n - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    const __m512i code = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, codes + i));
    largest = _mm512_max_epu16(largest, code);
    _mm512_mask_storeu_epi16(values + 2 * i, some, table.Of(code));
  }
  return largest;
}

// kSize at least symbols: what is beyond the table takes some value of it, and is refused.
template <DType kType, uint32_t kSize>
bool LookUpTokens(const uint8_t* codes, size_t stride, size_t channels, const uint8_t* tokens,
                  size_t num_tokens, const UnitTable& units, uint32_t symbols, std::byte* values) {
  __m512i largest = _mm512_setzero_si512();
  for (size_t i = 0; i < num_tokens; ++i) {
    largest = LookUpWords<kType, kSize>(codes + i * stride, channels, DecodeUnit(units, tokens[i]),
                                        values + 2 * tokens[i] * channels, largest);
  }
  return _mm512_cmpgt_epu16_mask(largest, _mm512_set1_epi16(static_cast<int16_t>(symbols - 1))) == 0;
}
#endif

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

// By the values of codes 0 to 15.
template <DType kType>
HWY_INLINE void LookUpBytes(const uint8_t* codes, size_t n, const TokenUnit& unit, std::byte* values) {
  const DF df;
  const DBlock d;
  constexpr size_t kBytes = ElementBytes(kType);
  alignas(64) ElementOf<kType> table[16];
  for (size_t code = 0; code < 16; code += hn::Lanes(df)) {
    const VF x = Approximate(hn::Iota(df, static_cast<float>(code)), unit);
    StoreFromFloat<kType>(df, x, reinterpret_cast<std::byte*>(table + code));
  }
  size_t i = 0;
  if constexpr (kBytes == 1) {
    const auto elements = hn::Load(d, table);
    for (; i + 16 <= n; i += 16) {
      const auto looked_up = hn::TableLookupBytes(elements, hn::LoadU(d, codes + i));
      hn::StoreU(looked_up, d, reinterpret_cast<uint8_t*>(values + i));
    }
  } else {
    const BytesOfElements bytes(table);
    for (; i + 16 <= n; i += 16) {
      const auto index = hn::LoadU(d, codes + i);
      const auto low = hn::TableLookupBytes(bytes.low, index), high = hn::TableLookupBytes(bytes.high, index);
      auto* const out = reinterpret_cast<uint8_t*>(values + 2 * i);
      hn::StoreU(hn::InterleaveLower(d, low, high), d, out);
      hn::StoreU(hn::InterleaveUpper(d, low, high), d, out + 16);
    }
  }
  for (; i < n; ++i) std::memcpy(values + i * kBytes, &table[codes[i] & 15], kBytes);
}

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

// A table costs as much as computing so many values, and rows mostly have more.
template <DType kType>
bool DequantizeType(const uint8_t* codes, size_t stride, size_t channels, const uint8_t* tokens,
                    size_t num_tokens, const UnitTable& units, uint32_t symbols, std::byte* values) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (ElementBytes(kType) == 2) {
    if (symbols <= 64) {
      const auto look_up = symbols <= 16   ? LookUpTokens<kType, 16>
                           : symbols <= 32 ? LookUpTokens<kType, 32>
                                           : LookUpTokens<kType, 64>;
      return look_up(codes, stride, channels, tokens, num_tokens, units, symbols, values);
    }
  }
#endif
  bool known = true;
  for (size_t i = 0; i < num_tokens; ++i, codes += stride) {
    const TokenUnit unit = DecodeUnit(units, tokens[i]);
    std::byte* const row = values + tokens[i] * channels * ElementBytes(kType);
    if (symbols <= 16) {
      LookUpBytes<kType>(codes, channels, unit, row);
    } else {
      Compute<kType>(codes, channels, unit, row);
    }
    known &= AllUnder(codes, channels, symbols);
  }
  return known;
}

bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  return ForType(
      dtype, [&]<DType kType>() HWY_ATTR { return RangesOfType<kType>(values, tokens, channels, ranges); });
}

bool QuantizeTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels,
                    const UnitTable& units, uint32_t symbols, uint8_t* codes, size_t stride, double* worst) {
  return ForType(dtype, [&]<DType kType>() HWY_ATTR {
    return QuantizeType<kType>(values, tokens, channels, units, symbols, codes, stride, worst);
  });
}

bool DequantizeTokens(DType dtype, const uint8_t* codes, size_t stride, size_t channels,
                      const uint8_t* tokens, size_t num_tokens, const UnitTable& units, uint32_t symbols,
                      std::byte* values) {
  return ForType(dtype, [&]<DType kType>() HWY_ATTR {
    return DequantizeType<kType>(codes, stride, channels, tokens, num_tokens, units, symbols, values);
  });
}

#endif  // HWY_TARGET == HWY_SCALAR
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {

HWY_EXPORT(RangesOfTokens);
HWY_EXPORT(QuantizeTokens);
HWY_EXPORT(DequantizeTokens);

bool RangesOfTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels, UnitRange* ranges) {
  if (ScalarOnly()) return scalar::RangesOfTokens(dtype, values, tokens, channels, ranges);
  return HWY_DYNAMIC_DISPATCH(RangesOfTokens)(dtype, values, tokens, channels, ranges);
}

bool QuantizeTokens(DType dtype, const std::byte* values, size_t tokens, size_t channels,
                    const UnitTable& units, uint32_t symbols, uint8_t* codes, size_t stride, double* worst) {
  if (ScalarOnly()) {
    return scalar::QuantizeTokens(dtype, values, tokens, channels, units, symbols, codes, stride, worst);
  }
  return HWY_DYNAMIC_DISPATCH(QuantizeTokens)(dtype, values, tokens, channels, units, symbols, codes, stride,
                                              worst);
}

bool DequantizeTokens(DType dtype, const uint8_t* codes, size_t stride, size_t channels,
                      const uint8_t* tokens, size_t num_tokens, const UnitTable& units, uint32_t symbols,
                      std::byte* values) {
  if (ScalarOnly()) {
    return scalar::DequantizeTokens(dtype, codes, stride, channels, tokens, num_tokens, units, symbols,
                                    values);
  }
  return HWY_DYNAMIC_DISPATCH(DequantizeTokens)(dtype, codes, stride, channels, tokens, num_tokens, units,
                                                symbols, values);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
