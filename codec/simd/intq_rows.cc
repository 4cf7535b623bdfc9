#include "codec/simd/intq_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/intq_rows.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/float_convert-inl.h"
// clang-format on

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "codec/float_format.h"
#include "codec/simd/targets.h"

// A row of codes is coded by vectors of lanes of f32. Two forms, by the number of words W of a row and of
// lanes N:
// - W >= N: a vector of words gives N channels from each of its shifts, W channels apart. The last vector may
//   overlap the one before; what is written twice is the same.
// - N a multiple of W: the row's words are repeated to fill the vector, and N / W shifts at a time make N
//   channels in their order.
// Other rows take shorter vectors, or the scalar reference.

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
// Parameters of the units of a row's channels: of each channel its own, or of each run of channels.
struct ChannelUnits {
  const float* step;  // [channels and padding]
  const float* zero;
  const float* inverse;  // encode only

  template <class DF>
  HWY_INLINE hn::Vec<DF> Step(DF df, size_t c) const {
    return hn::LoadU(df, step + c);
  }
  template <class DF>
  HWY_INLINE hn::Vec<DF> Zero(DF df, size_t c) const {
    return hn::LoadU(df, zero + c);
  }
  template <class DF>
  HWY_INLINE hn::Vec<DF> Inverse(DF df, size_t c) const {
    return hn::LoadU(df, inverse + c);
  }
};
// Only where no vector crosses from one unit to the next.
struct RunUnits {
  const float* step;  // [units of the row]
  const float* zero;
  const float* inverse;
  int log_group;

  template <class DF>
  HWY_INLINE hn::Vec<DF> Step(DF df, size_t c) const {
    return hn::Set(df, step[c >> log_group]);
  }
  template <class DF>
  HWY_INLINE hn::Vec<DF> Zero(DF df, size_t c) const {
    return hn::Set(df, zero[c >> log_group]);
  }
  template <class DF>
  HWY_INLINE hn::Vec<DF> Inverse(DF df, size_t c) const {
    return hn::Set(df, inverse[c >> log_group]);
  }
};

// How a sum is rounded to the dtype; the later ones need IntqUnitsKind::kOrdinary.
enum class Rounding {
  kAny,
  kOrdinary,  // no clamp
  kNative,    // bf16 by AVX512_BF16, which flushes denormals and does not saturate
};

template <class DF>
using Words = hn::Vec<hn::Rebind<uint32_t, DF>>;

// The bf16 conversion instruction. Highway 1.0.3 has no target with it, and a function with an attribute of
// its own would not be inlined, hence the assembly.
#if HWY_TARGET <= HWY_AVX3 && defined(__GNUC__) && !defined(__clang__)
#define KVCOMPD_NATIVE_BF16 1
HWY_INLINE __m256i NativeBf16(__m512 v) {
  __m256i out;
  asm("vcvtneps2bf16 %1, %0" : "=v"(out) : "v"(v));
  return out;
}
#else
#define KVCOMPD_NATIVE_BF16 0
#endif

template <DType kType, Rounding kRounding, class DF>
HWY_INLINE hn::Vec<hn::Rebind<ElementOf<kType>, DF>> RoundSum(DF df, hn::Vec<DF> sum) {
  const hn::Rebind<ElementOf<kType>, DF> de;
#if KVCOMPD_NATIVE_BF16
  if constexpr (kRounding == Rounding::kNative && sizeof(sum) == 64) {
    return hn::Vec<decltype(de)>{NativeBf16(sum.raw)};
  }
#endif
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kRounding == Rounding::kOrdinary && kType == DType::kBf16 && sizeof(sum) == 64) {
    const hn::Rebind<uint32_t, DF> du;
    const auto bits = hn::BitCast(du, sum);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu)));
    return hn::Vec<decltype(de)>{_mm512_cvtepi32_epi16(hn::ShiftRight<16>(rounded).raw)};
  }
#endif
#if HWY_TARGET <= HWY_AVX2
  if constexpr (kRounding == Rounding::kOrdinary && kType == DType::kFp16) {
    return hn::BitCast(de, hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), sum));
  }
#endif
  return ElementsOfFloat<kType>(df, sum);
}

// The lowest kBits of each word as floats; the bits above are arbitrary.
template <int kBits, class DF>
HWY_INLINE hn::Vec<DF> FloatOfCodes(DF df, Words<DF> words) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kBits <= 4 && sizeof(words) == 64) {
    // A lookup takes the lowest 4 bits of its index, so that it masks and converts at once.
    constexpr float kMask = (1 << kBits) - 1;
    alignas(64) static constexpr float kCodes[16] = {0,
                                                     1,
                                                     2,
                                                     3,
                                                     kBits == 2 ? 0 : 4,
                                                     kBits == 2 ? 1 : 5,
                                                     kBits == 2 ? 2 : 6,
                                                     kBits == 2 ? 3 : 7,
                                                     kBits == 2 ? 0 : 8,
                                                     kBits == 2 ? 1 : 9,
                                                     kBits == 2 ? 2 : 10,
                                                     kBits == 2 ? 3 : 11,
                                                     kBits == 2 ? 0 : 12,
                                                     kBits == 2 ? 1 : 13,
                                                     kBits == 2 ? 2 : 14,
                                                     kMask};
    return hn::Vec<DF>{_mm512_permutexvar_ps(words.raw, hn::Load(df, kCodes).raw)};
  }
#endif
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<int32_t, DF> di;
  return hn::ConvertTo(df, hn::BitCast(di, hn::And(words, hn::Set(du, (1u << kBits) - 1))));
}

// The values of the codes in the lowest bits of `words`, of channels c, c + 1, ... below `channels`.
template <DType kType, int kBits, Rounding kRounding, class DF, class Units>
HWY_INLINE void DecodeChannels(DF df, Words<DF> words, const Units& units, size_t c, size_t channels,
                               std::byte* row) {
  // code * step is exact (8 and 9 bits), so that a fused sum is the same as one with two roundings.
  const auto sum = hn::MulAdd(FloatOfCodes<kBits>(df, words), units.Step(df, c), units.Zero(df, c));
  const hn::Rebind<ElementOf<kType>, DF> de;
  auto* const to = reinterpret_cast<ElementOf<kType>*>(row) + c;
  const auto elements = RoundSum<kType, kRounding>(df, sum);
  if (HWY_LIKELY(c + hn::Lanes(df) <= channels)) {
    hn::StoreU(elements, de, to);
  } else {
    StoreFirst(elements, de, to, channels - c);
  }
}

// W words, repeated to fill the vector.
template <class DF>
HWY_INLINE Words<DF> LoadRepeated(DF df, const std::byte* words, size_t count) {
  const hn::Rebind<uint32_t, DF> du;
  const auto* const from = reinterpret_cast<const uint32_t*>(words);
  if constexpr (hn::MaxLanes(DF()) == 16) {
    if (count == 8) {
      const hn::Half<decltype(du)> dh;
      const auto half = hn::LoadU(dh, from);
      return hn::Combine(du, half, half);
    }
  }
  if constexpr (hn::MaxLanes(DF()) >= 8) {
    if (count == 4) {
      HWY_ALIGN uint32_t four[4];
      std::memcpy(four, from, sizeof four);
      return hn::LoadDup128(du, four);
    }
  }
  HWY_ALIGN uint32_t lanes[hn::MaxLanes(DF())];
  for (size_t i = 0; i < hn::Lanes(df); i += count) std::memcpy(lanes + i, from, 4 * count);
  return hn::Load(du, lanes);
}

// [lane] = lane / count * bits: the shifts of repeated words.
template <int kBits, class DF>
HWY_INLINE Words<DF> RepeatedShifts(DF df, size_t count) {
  const hn::Rebind<uint32_t, DF> du;
  HWY_ALIGN uint32_t lanes[hn::MaxLanes(DF())];
  for (size_t i = 0; i < hn::Lanes(df); ++i) lanes[i] = static_cast<uint32_t>(i / count * kBits);
  return hn::Load(du, lanes);
}

template <DType kType, int kBits, Rounding kRounding, class DF, class Units>
HWY_INLINE void DecodeRow(DF df, const std::byte* codes, size_t words, const Units& units, size_t channels,
                          std::byte* row) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df);
  constexpr size_t kCodes = 32 / kBits;
  if (words >= lanes) {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = at + lanes <= words ? at : words - lanes;
      auto v = hn::LoadU(du, reinterpret_cast<const uint32_t*>(codes) + w);
      size_t c = w;
      for (size_t k = 0; k < kCodes && c < channels; ++k, c += words) {
        DecodeChannels<kType, kBits, kRounding>(df, v, units, c, channels, row);
        v = hn::ShiftRight<kBits>(v);
      }
    }
    return;
  }
  const auto shift = hn::Set(du, static_cast<uint32_t>(lanes / words * kBits));
  auto v = hn::Shr(LoadRepeated(df, codes, words), RepeatedShifts<kBits>(df, words));
  for (size_t c = 0; c < channels; c += lanes) {
    DecodeChannels<kType, kBits, kRounding>(df, v, units, c, channels, row);
    // With all codes in one vector the shift is 32, which this loop does not reach.
    if (c + lanes < channels) v = hn::Shr(v, shift);
  }
}

// The largest errors of a tile, lane by lane.
template <class DF>
struct ErrorLanes {
  hn::Vec<DF> approx;
  hn::Vec<DF> decoded;
};

// Codes of channels c, c + 1, ... below `channels`; 0 for those beyond.
template <DType kType, class DF, class Units>
HWY_INLINE Words<DF> EncodeChannels(DF df, const std::byte* row, const Units& units, size_t c,
                                    size_t channels, hn::Vec<DF> max_code, ErrorLanes<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<ElementOf<kType>, DF> de;
  const auto* const from = reinterpret_cast<const ElementOf<kType>*>(row) + c;
  const bool whole = c + hn::Lanes(df) <= channels;
  const auto elements = HWY_LIKELY(whole) ? hn::LoadU(de, from) : LoadFirst(de, from, channels - c);
  const auto x = FloatOfElements<kType>(df, elements);
  const auto zero = units.Zero(df, c), inverse = units.Inverse(df, c);
  const auto code = hn::Min(hn::Round(hn::Mul(hn::Sub(x, zero), inverse)), max_code);
  const auto approx = hn::MulAdd(code, units.Step(df, c), zero);  // exact product: DecodeChannels
  const auto y = FloatOfElements<kType>(df, ElementsOfFloat<kType>(df, approx));
  auto approx_error = hn::Mul(hn::Abs(hn::Sub(x, approx)), inverse);
  auto decoded_error = hn::Mul(hn::Abs(hn::Sub(x, y)), inverse);
  auto codes = hn::BitCast(du, hn::ConvertTo(di, code));
  if (HWY_UNLIKELY(!whole)) {
    const auto inside = hn::FirstN(df, channels - c);
    approx_error = hn::IfThenElseZero(inside, approx_error);
    decoded_error = hn::IfThenElseZero(inside, decoded_error);
    codes = hn::IfThenElseZero(hn::RebindMask(du, inside), codes);
  }
  errors->approx = hn::Max(errors->approx, approx_error);
  errors->decoded = hn::Max(errors->decoded, decoded_error);
  return codes;
}

// Ors the vector's parts of `count` lanes and stores them.
template <class DU>
HWY_INLINE void StoreFolded(DU du, hn::Vec<DU> v, size_t count, std::byte* words) {
  if constexpr (hn::MaxLanes(DU()) == 1) {
    hn::StoreU(v, du, reinterpret_cast<uint32_t*>(words));
  } else {
    if (count == hn::Lanes(du)) return hn::StoreU(v, du, reinterpret_cast<uint32_t*>(words));
    const hn::Half<DU> dh;
    StoreFolded(dh, hn::Or(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)), count, words);
  }
}

template <DType kType, int kBits, class DF, class Units>
HWY_INLINE void EncodeRow(DF df, const std::byte* row, size_t words, const Units& units, size_t channels,
                          std::byte* codes, ErrorLanes<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df);
  constexpr size_t kCodes = 32 / kBits;
  const auto max_code = hn::Set(df, static_cast<float>((1 << kBits) - 1));
  if (words >= lanes) {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = at + lanes <= words ? at : words - lanes;
      auto v = hn::Zero(du);
      for (size_t k = kCodes; k-- > 0;) {  // the last code ends up highest
        const size_t c = k * words + w;
        if (c >= channels) continue;
        v = hn::Or(hn::ShiftLeft<kBits>(v),
                   EncodeChannels<kType>(df, row, units, c, channels, max_code, errors));
      }
      hn::StoreU(v, du, reinterpret_cast<uint32_t*>(codes) + w);
    }
    return;
  }
  const auto shift = hn::Set(du, static_cast<uint32_t>(lanes / words * kBits));
  auto v = hn::Zero(du);
  for (size_t c = (channels - 1) / lanes * lanes;; c -= lanes) {
    v = hn::Or(v, EncodeChannels<kType>(df, row, units, c, channels, max_code, errors));
    if (c == 0) break;
    v = hn::Shl(v, shift);
  }
  StoreFolded(du, hn::Shl(v, RepeatedShifts<kBits>(df, words)), words, codes);
}

// Whether rows of so many words can be coded with so many lanes.
constexpr bool RowsFit(size_t words, size_t lanes) { return words >= lanes || lanes % words == 0; }

// Whether no vector of lanes of V crosses from one unit to the next, so that RunUnits do.
constexpr bool RunsAreWhole(size_t words, size_t lanes) { return lanes % words == 0 || words % lanes == 0; }

// V's parameters of a row, channel by channel.
struct ExpandedRow {
  static constexpr size_t kElems = kMaxHeadDim + kIntqUnitsPadding;
  HWY_ALIGN float step[kElems] = {};
  HWY_ALIGN float zero[kElems] = {};
  HWY_ALIGN float inverse[kElems] = {};

  void Fill(const IntqTile& tile, const float* from, float* to) {
    for (uint32_t c = 0; c < tile.channels; ++c) to[c] = from[c / tile.group];
  }
  ChannelUnits units() const { return {step, zero, inverse}; }
};

// Calls fn(token, units of the token's row) for each token. inverse may be null.
template <bool kRuns, class Fn>
HWY_INLINE void ForRows(const IntqTile& tile, const float* step, const float* zero, const float* inverse,
                        const Fn& fn) {
  const size_t row_units = tile.row_units();
  if (tile.per_channel()) {
    for (uint32_t t = 0; t < tile.tokens; ++t) {
      const size_t u = t / tile.run() * row_units;
      fn(t, ChannelUnits{step + u, zero + u, inverse == nullptr ? nullptr : inverse + u});
    }
  } else if constexpr (kRuns) {
    const int log_group = std::countr_zero(tile.group);
    for (uint32_t t = 0; t < tile.tokens; ++t) {
      const size_t u = t * row_units;
      fn(t, RunUnits{step + u, zero + u, inverse == nullptr ? nullptr : inverse + u, log_group});
    }
  } else {
    ExpandedRow row;
    for (uint32_t t = 0; t < tile.tokens; ++t) {
      const size_t u = t * row_units;
      row.Fill(tile, step + u, row.step);
      row.Fill(tile, zero + u, row.zero);
      if (inverse != nullptr) row.Fill(tile, inverse + u, row.inverse);
      fn(t, row.units());
    }
  }
}

template <DType kType, int kBits, Rounding kRounding, bool kRuns, class DF>
HWY_NOINLINE void DecodeRows(DF df, const IntqTile& tile, const std::byte* codes, const float* step,
                             const float* zero, std::byte* values) {
  const size_t words = tile.row_words();
  ForRows<kRuns>(tile, step, zero, nullptr, [&](uint32_t t, const auto& units) HWY_ATTR {
    DecodeRow<kType, kBits, kRounding>(df, codes + size_t{t} * 4 * words, words, units, tile.channels,
                                       values + size_t{t} * tile.row_bytes());
  });
}

template <DType kType, int kBits, bool kRuns, class DF>
HWY_NOINLINE IntqErrors EncodeRows(DF df, const IntqTile& tile, const std::byte* values,
                                   const IntqUnits& units, std::byte* codes) {
  const size_t words = tile.row_words();
  ErrorLanes<DF> errors{hn::Zero(df), hn::Zero(df)};
  ForRows<kRuns>(tile, units.step, units.zero, units.inverse,
                 [&](uint32_t t, const auto& row_units) HWY_ATTR {
                   EncodeRow<kType, kBits>(df, values + size_t{t} * tile.row_bytes(), words, row_units,
                                           tile.channels, codes + size_t{t} * 4 * words, &errors);
                 });
  HWY_ALIGN float approx[hn::MaxLanes(DF())], decoded[hn::MaxLanes(DF())];
  hn::Store(errors.approx, df, approx);
  hn::Store(errors.decoded, df, decoded);
  IntqErrors worst;
  for (size_t i = 0; i < hn::Lanes(df); ++i) {
    worst.approx = std::max(worst.approx, approx[i]);
    worst.decoded = std::max(worst.decoded, decoded[i]);
  }
  return worst;
}

// Vectors for the tile: whole ones, or of 4 lanes. False: the scalar reference has to do it.
template <class Fn>
HWY_INLINE bool WithLanes(const IntqTile& tile, const Fn& fn) {
  const hn::ScalableTag<float> df;
  const hn::CappedTag<float, 4> d4;
  const size_t words = tile.row_words();
  if (RowsFit(words, hn::Lanes(df))) {
    if (tile.per_channel() || RunsAreWhole(words, hn::Lanes(df))) {
      fn(df, std::true_type());
    } else {
      fn(df, std::false_type());
    }
    return true;
  }
  if (!RowsFit(words, hn::Lanes(d4))) return false;
  fn(d4, std::false_type());
  return true;
}

template <DType kType, Rounding kRounding>
bool DecodeOf(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
              std::byte* values) {
  return WithLanes(tile, [&](auto df, auto runs) HWY_ATTR {
    if (tile.bits == 2) {
      DecodeRows<kType, 2, kRounding, runs.value>(df, tile, codes, step, zero, values);
    } else if (tile.bits == 4) {
      DecodeRows<kType, 4, kRounding, runs.value>(df, tile, codes, step, zero, values);
    } else {
      DecodeRows<kType, 8, kRounding, runs.value>(df, tile, codes, step, zero, values);
    }
  });
}

// False: rows that the vectors do not take.
bool DequantizeSimd(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values) {
  switch (tile.dtype) {
    case DType::kFp16:
      return ordinary ? DecodeOf<DType::kFp16, Rounding::kOrdinary>(tile, codes, step, zero, values)
                      : DecodeOf<DType::kFp16, Rounding::kAny>(tile, codes, step, zero, values);
    case DType::kFp8E4m3:
      return DecodeOf<DType::kFp8E4m3, Rounding::kAny>(tile, codes, step, zero, values);
    case DType::kFp8E5m2:
      return DecodeOf<DType::kFp8E5m2, Rounding::kAny>(tile, codes, step, zero, values);
    default:
      break;
  }
#if KVCOMPD_NATIVE_BF16
  static const bool native = __builtin_cpu_supports("avx512bf16") != 0;
  if (ordinary && native) {
    return DecodeOf<DType::kBf16, Rounding::kNative>(tile, codes, step, zero, values);
  }
#endif
  return ordinary ? DecodeOf<DType::kBf16, Rounding::kOrdinary>(tile, codes, step, zero, values)
                  : DecodeOf<DType::kBf16, Rounding::kAny>(tile, codes, step, zero, values);
}

template <DType kType>
bool EncodeOf(const IntqTile& tile, const std::byte* values, const IntqUnits& units, std::byte* codes,
              IntqErrors* errors) {
  return WithLanes(tile, [&](auto df, auto runs) HWY_ATTR {
    if (tile.bits == 2) {
      *errors = EncodeRows<kType, 2, runs.value>(df, tile, values, units, codes);
    } else if (tile.bits == 4) {
      *errors = EncodeRows<kType, 4, runs.value>(df, tile, values, units, codes);
    } else {
      *errors = EncodeRows<kType, 8, runs.value>(df, tile, values, units, codes);
    }
  });
}

// False: rows that the vectors do not take.
bool QuantizeSimd(const IntqTile& tile, const std::byte* values, const IntqUnits& units, std::byte* codes,
                  IntqErrors* errors) {
  switch (tile.dtype) {
    case DType::kFp16:
      return EncodeOf<DType::kFp16>(tile, values, units, codes, errors);
    case DType::kFp8E4m3:
      return EncodeOf<DType::kFp8E4m3>(tile, values, units, codes, errors);
    case DType::kFp8E5m2:
      return EncodeOf<DType::kFp8E5m2>(tile, values, units, codes, errors);
    default:
      return EncodeOf<DType::kBf16>(tile, values, units, codes, errors);
  }
}

#undef KVCOMPD_NATIVE_BF16
#else   // one lane is the reference
bool DequantizeSimd(const IntqTile&, const std::byte*, const float*, const float*, bool, std::byte*) {
  return false;
}
bool QuantizeSimd(const IntqTile&, const std::byte*, const IntqUnits&, std::byte*, IntqErrors*) {
  return false;
}
#endif  // HWY_TARGET != HWY_SCALAR
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace scalar {
namespace {

uint32_t UnitOf(const IntqTile& tile, uint32_t t, uint32_t c) {
  return tile.per_channel() ? t / tile.run() * tile.channels + c : t * tile.row_units() + c / tile.group;
}

// Half to even, for 0 <= v < 2^22: above 2^23 an f32 has no fraction left, so that the addition rounds.
float Round(float v) { return (v + 8388608.0f) - 8388608.0f; }

IntqErrors QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units,
                        std::byte* codes) {
  const uint32_t words = tile.row_words();
  const auto top = static_cast<float>(tile.max_code());
  float x[kMaxHeadDim], approx[kMaxHeadDim], y[kMaxHeadDim];
  uint32_t row[kMaxHeadDim];
  IntqErrors worst;
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    FloatsOfValues(tile.dtype, values + size_t{t} * tile.row_bytes(), tile.channels, x);
    std::fill_n(row, words, 0u);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t u = UnitOf(tile, t, c);
      const float rounded = Round((x[c] - units.zero[u]) * units.inverse[u]);
      const float code = rounded < top ? rounded : top;
      approx[c] = code * units.step[u] + units.zero[u];
      row[c % words] |= static_cast<uint32_t>(code) << (c / words * tile.bits);
    }
    RoundFloats(tile.dtype, approx, tile.channels, y);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const float inverse = units.inverse[UnitOf(tile, t, c)];
      worst.approx = std::max(worst.approx, std::fabs(x[c] - approx[c]) * inverse);
      worst.decoded = std::max(worst.decoded, std::fabs(x[c] - y[c]) * inverse);
    }
    std::memcpy(codes + size_t{t} * 4 * words, row, 4 * words);
  }
  return worst;
}

void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    std::byte* values) {
  const uint32_t words = tile.row_words();
  float approx[kMaxHeadDim];
  uint32_t row[kMaxHeadDim];
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    std::memcpy(row, codes + size_t{t} * 4 * words, 4 * words);
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t u = UnitOf(tile, t, c);
      const uint32_t code = row[c % words] >> (c / words * tile.bits) & tile.max_code();
      approx[c] = static_cast<float>(code) * step[u] + zero[u];
    }
    ValuesOfFloats(tile.dtype, approx, tile.channels, values + size_t{t} * tile.row_bytes());
  }
}

}  // namespace
}  // namespace scalar

HWY_EXPORT(QuantizeSimd);
HWY_EXPORT(DequantizeSimd);

IntqErrors QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units,
                        std::byte* codes) {
  IntqErrors errors;
  if (!ScalarOnly() && HWY_DYNAMIC_DISPATCH(QuantizeSimd)(tile, values, units, codes, &errors)) return errors;
  return scalar::QuantizeIntq(tile, values, units, codes);
}

void DequantizeIntq(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values) {
  if (!ScalarOnly() && HWY_DYNAMIC_DISPATCH(DequantizeSimd)(tile, codes, step, zero, ordinary, values))
    return;
  scalar::DequantizeIntq(tile, codes, step, zero, values);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
