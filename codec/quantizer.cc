#include "codec/quantizer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "codec/codebook.h"
#include "codec/float_format.h"

namespace kvcompd::codec {
namespace {

constexpr double kSlack = 1.0 + 1.0 / 256;  // of the bound, for the arithmetic of the decoder

// Half to even for |v| < 2^22: above 2^23 an fp32 has no fraction left, so the addition rounds.
inline float RoundHalfEven(float v) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (v + kShift) - kShift;
}

// The upper 16 bits of `step` as fp32, rounded toward zero; 0 where that is no normal number.
uint16_t TruncateToScale(double step) {
  const uint64_t bits = std::bit_cast<uint64_t>(step);
  const int exp = static_cast<int>(bits >> 52) - 1023;  // step is positive
  if (exp < -126 || exp > 127) return 0;
  return static_cast<uint16_t>((exp + 127) << 7 | ((bits >> 45) & 0x7f));
}

float ScaleOf(uint16_t scale) { return std::bit_cast<float>(uint32_t{scale} << 16); }

// x * (1/step), rounded twice, is off the quotient by 2^-23 of it, and the rounded quotient by 2^-24:
// together less than 2^-22 of any quotient of the unit. None is surely clear (0) where that is much, or where
// 1/step has no full precision.
float ClearOf(const UnitParams& params, uint32_t symbols) {
  constexpr int32_t kMaxQuotient = 1 << 18;
  // Quotients span zero to zero + largest code, which is below 2 * symbols also where 256 caps the alphabet.
  const int32_t last = params.zero + 2 * static_cast<int32_t>(symbols);
  const int32_t largest = std::max(std::abs(params.zero), std::abs(last)) + 1;
  const int exp = params.scale >> 7;
  if (largest > kMaxQuotient || exp < 127 - 100 || exp > 127 + 100) return 0;
  return 0.5f - static_cast<float>(largest) * 0x1p-22f;  // exact: largest * 2^-22 has 18 bits
}

float ConstantOf(DType dtype, int32_t zero) { return FloatOfBits(dtype, static_cast<uint16_t>(zero)); }

}  // namespace

void UnitRange::Add(const float* values, size_t n) {
  float lo = min, hi = max;
  for (size_t i = 0; i < n; ++i) {
    lo = values[i] < lo ? values[i] : lo;
    hi = values[i] > hi ? values[i] : hi;
  }
  min = lo;
  max = hi;
}

double RadiusOf(const UnitRange& range, double rel) {
  if (range.empty()) return 0;
  return rel * (static_cast<double>(range.max) - static_cast<double>(range.min)) / 2;
}

namespace {

// The step before it is cut to 16 bits: FORMAT.md, "Quantisation".
double StepOf(DType dtype, const UnitRange& range, double rel, bool strict) {
  const double step = rel * (static_cast<double>(range.max) - static_cast<double>(range.min));
  if (!strict) return step;
  const double largest =
      std::max(std::fabs(static_cast<double>(range.min)), std::fabs(static_cast<double>(range.max))) +
      RadiusOf(range, rel);
  const double shrunk = step - Ulp(dtype, largest) * (1.0 + 1.0 / 64);
  return shrunk >= 0.75 * step ? shrunk : step;
}

}  // namespace

std::optional<UnitParams> ChooseUnitParams(DType dtype, const UnitRange& range, double rel, bool strict) {
  if (range.empty()) return UnitParams{};
  if (range.min == range.max) {
    // Both zeros compare equal here; +0 stands for them.
    const uint16_t bits = range.min == 0 ? 0 : BitsOfFloat(dtype, range.min);
    return UnitParams{.scale = 0, .zero = static_cast<int16_t>(bits)};
  }
  UnitParams params;
  params.scale = TruncateToScale(StepOf(dtype, range, rel, strict));
  if (params.scale == 0) return std::nullopt;
  const float quotient = range.min / ScaleOf(params.scale);
  if (!(std::fabs(quotient) <= kMaxZero)) return std::nullopt;
  params.zero = static_cast<int32_t>(RoundHalfEven(quotient));
  return params;
}

bool ValidUnitParams(DType dtype, const UnitParams& params) {
  if (params.scale != 0) {
    const bool positive_normal = params.scale >= 0x0080 && params.scale <= 0x7f7f;
    return positive_normal && params.zero >= -kMaxZero && params.zero <= kMaxZero;
  }
  const auto bits = static_cast<uint16_t>(params.zero);
  if (params.zero != static_cast<int16_t>(bits)) return false;
  if (ElementBytes(dtype) == 1 && bits > 0xff) return false;
  // +0 stands for both zeros.
  return IsFinite(dtype, bits) && bits != FloatFormatOf(dtype).sign;
}

void UnitTable::SetEncode(size_t i, DType dtype, const UnitParams& params, uint32_t symbols, double r,
                          bool strict) {
  SetDecode(i, dtype, params);
  const bool constant = params.scale == 0;
  divisor[i] = constant ? std::numeric_limits<float>::infinity() : step[i];
  if (constant) zero[i] = -static_cast<float>(MiddleCode(symbols));
  radius[i] = r;
  limit[i] = strict ? r : r * kSlack;
  worst[i] = 0;
  reciprocal[i] = constant ? 0 : 1.0f / step[i];
  clear[i] = constant ? 1.0f : ClearOf(params, symbols);
}

void UnitTable::SetDecode(size_t i, DType dtype, const UnitParams& params) {
  const bool constant = params.scale == 0;
  step[i] = ScaleOf(params.scale);
  zero[i] = constant ? 0 : static_cast<float>(params.zero);
  base[i] = constant ? ConstantOf(dtype, params.zero) : 0;
}

template <UnitsOfRow kUnits>
bool QuantizeRow(const float* x, size_t n, const UnitTable& units, size_t u, uint32_t symbols,
                 uint8_t* codes) {
  const float top = static_cast<float>(symbols - 1);
  const float divisor = units.divisor[u], zero = units.zero[u];
  int outside = 0;
  for (size_t i = 0; i < n; ++i) {
    constexpr bool kOne = kUnits == UnitsOfRow::kOne;
    const float code =
        RoundHalfEven(x[i] / (kOne ? divisor : units.divisor[u + i])) - (kOne ? zero : units.zero[u + i]);
    outside |= (code < 0) | (code > top);
    const float low = code < 0 ? 0 : code;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(low > top ? top : low));
  }
  return outside == 0;
}

template <UnitsOfRow kUnits>
void DequantizeRow(const uint8_t* codes, size_t n, const UnitTable& units, size_t u, float* out) {
  const float zero = units.zero[u], step = units.step[u], base = units.base[u];
  for (size_t i = 0; i < n; ++i) {
    const float code = static_cast<float>(codes[i]);
    if constexpr (kUnits == UnitsOfRow::kOne) {
      out[i] = (code + zero) * step + base;
    } else {
      out[i] = (code + units.zero[u + i]) * units.step[u + i] + units.base[u + i];
    }
  }
}

template <UnitsOfRow kUnits>
bool CheckRow(DType dtype, const float* x, const float* x_approx, const float* y, size_t n, bool strict,
              const UnitTable& units, size_t u) {
  constexpr bool kOne = kUnits == UnitsOfRow::kOne;
  const double limit = units.limit[u];
  double worst = units.worst[u];
  for (size_t i = 0; i < n; ++i) {
    const double error = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    const double bound = kOne ? limit : units.limit[u + i];
    if (error > bound && (strict || error > bound + HalfUlp(dtype, x_approx[i]))) return false;
    if constexpr (kOne) {
      worst = error > worst ? error : worst;
    } else {
      units.worst[u + i] = error > units.worst[u + i] ? error : units.worst[u + i];
    }
  }
  if constexpr (kOne) units.worst[u] = worst;
  return true;
}

template bool QuantizeRow<UnitsOfRow::kOne>(const float*, size_t, const UnitTable&, size_t, uint32_t,
                                            uint8_t*);
template bool QuantizeRow<UnitsOfRow::kPerChannel>(const float*, size_t, const UnitTable&, size_t, uint32_t,
                                                   uint8_t*);
template void DequantizeRow<UnitsOfRow::kOne>(const uint8_t*, size_t, const UnitTable&, size_t, float*);
template void DequantizeRow<UnitsOfRow::kPerChannel>(const uint8_t*, size_t, const UnitTable&, size_t,
                                                     float*);
template bool CheckRow<UnitsOfRow::kOne>(DType, const float*, const float*, const float*, size_t, bool,
                                         const UnitTable&, size_t);
template bool CheckRow<UnitsOfRow::kPerChannel>(DType, const float*, const float*, const float*, size_t, bool,
                                                const UnitTable&, size_t);

}  // namespace kvcompd::codec
