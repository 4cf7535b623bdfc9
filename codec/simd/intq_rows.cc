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

// A row of codes is coded by vectors of N lanes of f32, by the number of words W of a row:
// - By columns, W >= N: a vector of words gives N channels from each of its shifts, W channels apart. The
// last
//   vector may overlap the one before; what is written twice is the same.
// - By pairs, where N divides W and every code of a word is a channel's: the same, and two vectors of
//   neighbouring channels at once: two shifts of a vector (W = N), or two vectors (2 N divides W).
// - Repeated, N a multiple of W: the row's words are repeated to fill the vector, so that N / W shifts at a
//   time make N channels in their order. By pairs where 2 N divides the channels.
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

#if HWY_TARGET <= HWY_AVX3
// The conversions of AVX512_BF16. Highway 1.0.3 has no target with them, and a function with an attribute of
// its own would not be inlined, hence the assembly. clang's assembler wants the attribute.
#if defined(__GNUC__) && !defined(__clang__)
#define KVCOMPD_NATIVE_BF16 1
HWY_INLINE __m256i NativeBf16(__m512 v) {
  __m256i out;
  asm("vcvtneps2bf16 %1, %0" : "=v"(out) : "v"(v));
  return out;
}
HWY_INLINE __m512i NativeBf16Pair(__m512 low, __m512 high) {
  __m512i out;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(out) : "v"(low), "v"(high));
  return out;
}
#endif

// bf16 in the upper halves, for sums that neither saturate nor are NaN.
HWY_INLINE __m512i OrdinaryBf16(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}
#endif  // HWY_TARGET <= HWY_AVX3
#ifndef KVCOMPD_NATIVE_BF16
#define KVCOMPD_NATIVE_BF16 0
#endif

template <DType kType, Rounding kRounding, class DF>
HWY_INLINE hn::Vec<hn::Rebind<ElementOf<kType>, DF>> RoundSum(DF df, hn::Vec<DF> sum) {
  const hn::Rebind<ElementOf<kType>, DF> de;
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kType == DType::kBf16 && sizeof(sum) == 64) {
#if KVCOMPD_NATIVE_BF16
    if constexpr (kRounding == Rounding::kNative) return hn::Vec<decltype(de)>{NativeBf16(sum.raw)};
#endif
    if constexpr (kRounding == Rounding::kOrdinary) {
      return hn::Vec<decltype(de)>{_mm512_cvtepi32_epi16(_mm512_srli_epi32(OrdinaryBf16(sum.raw), 16))};
    }
  }
#endif
#if HWY_TARGET <= HWY_AVX2
  if constexpr (kRounding == Rounding::kOrdinary && kType == DType::kFp16) {
    return hn::BitCast(de, hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), sum));
  }
#endif
  return ElementsOfFloat<kType>(df, sum);
}

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

// The lowest kBits of each word as floats; the bits above are arbitrary.
template <int kBits, class DF>
HWY_INLINE hn::Vec<DF> FloatOfCodes(DF df, Words<DF> words) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kBits <= 4 && sizeof(words) == 64) {
    // A lookup takes the lowest 4 bits of its index, so that it masks and converts at once.
    constexpr int kMask = (1 << kBits) - 1;
    alignas(64) static constexpr float kCodes[16] = {
        0 & kMask, 1 & kMask, 2 & kMask,  3 & kMask,  4 & kMask,  5 & kMask,  6 & kMask,  7 & kMask,
        8 & kMask, 9 & kMask, 10 & kMask, 11 & kMask, 12 & kMask, 13 & kMask, 14 & kMask, 15 & kMask};
    return hn::Vec<DF>{_mm512_permutexvar_ps(words.raw, hn::Load(df, kCodes).raw)};
  }
#endif
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<int32_t, DF> di;
  return hn::ConvertTo(df, hn::BitCast(di, hn::And(words, hn::Set(du, (1u << kBits) - 1))));
}

// x' of the codes in the lowest bits of `words`. code * step is exact, of 8 and 9 bits, so that the fused sum
// is the same as one with two roundings.
template <int kBits, class DF>
HWY_INLINE hn::Vec<DF> SumOfCodes(DF df, Words<DF> words, hn::Vec<DF> step, hn::Vec<DF> zero) {
  return hn::MulAdd(FloatOfCodes<kBits>(df, words), step, zero);
}

// The values of the codes in the lowest bits of `words`, of channels c, c + 1, ... below `channels`.
template <DType kType, int kBits, Rounding kRounding, class DF, class Units>
HWY_INLINE void DecodeChannels(DF df, Words<DF> words, const Units& units, size_t c, size_t channels,
                               std::byte* row) {
  const hn::Rebind<ElementOf<kType>, DF> de;
  auto* const to = reinterpret_cast<ElementOf<kType>*>(row) + c;
  const auto sum = SumOfCodes<kBits>(df, words, units.Step(df, c), units.Zero(df, c));
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
    if (count == 4) return hn::LoadDup128(du, from);
  }
  HWY_ALIGN uint32_t lanes[hn::MaxLanes(DF())];
  for (size_t i = 0; i < hn::Lanes(df); i += count) std::memcpy(lanes + i, from, 4 * count);
  return hn::Load(du, lanes);
}

enum class Form {
  kColumns,
  kPairsOfShifts,
  kPairsOfVectors,
  kRepeated,
  kPairsOfRepeats,
};
constexpr bool IsPairs(Form form) { return form != Form::kColumns && form != Form::kRepeated; }
constexpr bool IsRepeated(Form form) { return form == Form::kRepeated || form == Form::kPairsOfRepeats; }

// What all rows of a tile have in common.
template <class DF>
struct RowPlan {
  RowPlan(DF df, const IntqTile& tile)
      : words(tile.row_words()),
        channels(tile.channels),
        first_shifts(hn::Zero(hn::Rebind<uint32_t, DF>())),
        shift(first_shifts) {
    if (words > hn::Lanes(df)) return;
    const hn::Rebind<uint32_t, DF> du;
    HWY_ALIGN uint32_t lanes[hn::MaxLanes(DF())];
    for (size_t i = 0; i < hn::Lanes(df); ++i) lanes[i] = static_cast<uint32_t>(i / words) * tile.bits;
    first_shifts = hn::Load(du, lanes);
    shift = hn::Set(du, static_cast<uint32_t>(hn::Lanes(df) / words) * tile.bits);
  }

  size_t words;
  size_t channels;
  Words<DF> first_shifts;  // repeated: of the lanes, for the first vector of channels
  Words<DF> shift;         // repeated: from one vector of channels to the next
};

template <DType kType, int kBits, Rounding kRounding, Form kForm, class DF, class Units>
HWY_INLINE void DecodeRow(DF df, const RowPlan<DF>& plan, const std::byte* codes, const Units& units,
                          std::byte* row) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df), words = plan.words, channels = plan.channels;
  constexpr size_t kCodes = 32 / kBits;
  const auto* const from = reinterpret_cast<const uint32_t*>(codes);
  auto* const to = reinterpret_cast<ElementOf<kType>*>(row);
  const auto store_pair = [&](size_t c, Words<DF> low, Words<DF> high) HWY_ATTR {
    const size_t next = c + lanes;
    StorePair<kType, kRounding>(df, SumOfCodes<kBits>(df, low, units.Step(df, c), units.Zero(df, c)),
                                SumOfCodes<kBits>(df, high, units.Step(df, next), units.Zero(df, next)),
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
      DecodeChannels<kType, kBits, kRounding>(df, v, units, c, channels, row);
      v = hn::Shr(v, plan.shift);  // by up to 32, the last time
    }
  } else if constexpr (kForm == Form::kPairsOfShifts) {
    auto v = hn::LoadU(du, from);
    for (size_t k = 0; k < kCodes; k += 2) {
      const auto next = hn::ShiftRight<kBits>(v);
      store_pair(k * lanes, v, next);
      v = hn::ShiftRight<kBits>(next);
    }
  } else if constexpr (kForm == Form::kPairsOfVectors) {
    for (size_t w = 0; w < words; w += 2 * lanes) {
      auto low = hn::LoadU(du, from + w), high = hn::LoadU(du, from + w + lanes);
      for (size_t k = 0; k < kCodes; ++k) {
        store_pair(k * words + w, low, high);
        low = hn::ShiftRight<kBits>(low);
        high = hn::ShiftRight<kBits>(high);
      }
    }
  } else {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = at + lanes <= words ? at : words - lanes;
      auto v = hn::LoadU(du, from + w);
      for (size_t c = w; c < channels; c += words) {
        DecodeChannels<kType, kBits, kRounding>(df, v, units, c, channels, row);
        v = hn::ShiftRight<kBits>(v);
      }
    }
  }
}

// Ors the vector's parts of `count` lanes to those in memory.
template <class DU>
HWY_INLINE void OrFolded(DU du, hn::Vec<DU> v, size_t count, uint32_t* to) {
  if constexpr (hn::MaxLanes(DU()) == 1) {
    hn::StoreU(hn::Or(v, hn::LoadU(du, to)), du, to);
  } else {
    if (count == hn::Lanes(du)) return hn::StoreU(hn::Or(v, hn::LoadU(du, to)), du, to);
    const hn::Half<DU> dh;
    OrFolded(dh, hn::Or(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)), count, to);
  }
}

// Where the codes of channels c to c + 2 N stand in every row.
template <int kBits, Form kForm, class DF>
class PairPlace {
 public:
  PairPlace(DF df, const RowPlan<DF>& plan, size_t c)
      : words_(plan.words), low_shifts_(plan.first_shifts), high_shifts_(plan.first_shifts) {
    if constexpr (kForm == Form::kPairsOfRepeats) {
      const hn::Rebind<uint32_t, DF> du;
      const size_t shifts_of_vector = hn::Lanes(df) / words_;
      const size_t before = c / hn::Lanes(df) * shifts_of_vector;
      low_shifts_ = hn::Add(low_shifts_, hn::Set(du, static_cast<uint32_t>(before * kBits)));
      high_shifts_ = hn::Add(low_shifts_, plan.shift);
    } else {
      word_ = kForm == Form::kPairsOfVectors ? c % words_ : 0;
      shift_ = static_cast<int>(c / words_) * kBits;
    }
  }

  // The codes in the lowest bits; arbitrary bits above.
  HWY_INLINE void Load(DF df, const std::byte* row, Words<DF>* low, Words<DF>* high) const {
    const hn::Rebind<uint32_t, DF> du;
    const auto* const from = reinterpret_cast<const uint32_t*>(row) + word_;
    if constexpr (kForm == Form::kPairsOfRepeats) {
      const auto words = LoadRepeated(df, row, words_);
      *low = hn::Shr(words, low_shifts_);
      *high = hn::Shr(words, high_shifts_);
    } else {
      *low = hn::ShiftRightSame(hn::LoadU(du, from), shift_);
      *high = kForm == Form::kPairsOfShifts ? hn::ShiftRight<kBits>(*low)
                                            : hn::ShiftRightSame(hn::LoadU(du, from + hn::Lanes(df)), shift_);
    }
  }

  // Ors the codes to the row's.
  HWY_INLINE void Store(DF df, Words<DF> low, Words<DF> high, std::byte* row) const {
    const hn::Rebind<uint32_t, DF> du;
    auto* const to = reinterpret_cast<uint32_t*>(row) + word_;
    if constexpr (kForm == Form::kPairsOfRepeats) {
      OrFolded(du, hn::Or(hn::Shl(low, low_shifts_), hn::Shl(high, high_shifts_)), words_, to);
    } else if constexpr (kForm == Form::kPairsOfShifts) {
      const auto both = hn::ShiftLeftSame(hn::Or(low, hn::ShiftLeft<kBits>(high)), shift_);
      hn::StoreU(hn::Or(hn::LoadU(du, to), both), du, to);
    } else {
      auto* const next = to + hn::Lanes(df);
      hn::StoreU(hn::Or(hn::LoadU(du, to), hn::ShiftLeftSame(low, shift_)), du, to);
      hn::StoreU(hn::Or(hn::LoadU(du, next), hn::ShiftLeftSame(high, shift_)), du, next);
    }
  }

 private:
  size_t words_;
  size_t word_ = 0;
  int shift_ = 0;
  Words<DF> low_shifts_, high_shifts_;  // repeated
};

// Tokens of K that are decoded, two vectors of channels at a time, before the next two. Runs of more would
// write lines too far from each other for the prefetchers.
constexpr size_t kTokensAtOnce = 8;

// Rows of one run of K by pairs: two vectors of channels through all tokens, with their parameters in
// registers.
template <DType kType, int kBits, Rounding kRounding, Form kForm, class DF>
HWY_INLINE void DecodeChannelRun(DF df, const RowPlan<DF>& plan, size_t tokens, const std::byte* codes,
                                 const float* step, const float* zero, std::byte* values) {
  const size_t lanes = hn::Lanes(df), code_row_bytes = 4 * plan.words;
  const size_t row_bytes = plan.channels * sizeof(ElementOf<kType>);
  for (size_t c = 0; c < plan.channels; c += 2 * lanes) {
    const PairPlace<kBits, kForm, DF> place(df, plan, c);
    const auto low_step = hn::LoadU(df, step + c), high_step = hn::LoadU(df, step + c + lanes);
    const auto low_zero = hn::LoadU(df, zero + c), high_zero = hn::LoadU(df, zero + c + lanes);
    const std::byte* row_codes = codes;
    std::byte* row = values;
    for (size_t t = 0; t < tokens; ++t, row_codes += code_row_bytes, row += row_bytes) {
      Words<DF> low, high;
      place.Load(df, row_codes, &low, &high);
      StorePair<kType, kRounding>(df, SumOfCodes<kBits>(df, low, low_step, low_zero),
                                  SumOfCodes<kBits>(df, high, high_step, high_zero),
                                  reinterpret_cast<ElementOf<kType>*>(row) + c);
    }
  }
}

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
struct Quantised {
  Words<DF> codes;    // in the lowest bits; above are those of the anchor
  hn::Vec<DF> error;  // x - y
};

template <DType kType, int kBits, Rounding kRounding, class DF>
HWY_INLINE Quantised<DF> Quantise(DF df, hn::Vec<DF> x, hn::Vec<DF> step, hn::Vec<DF> zero,
                                  hn::Vec<DF> inverse) {
  constexpr float kMaxCode = (1 << kBits) - 1;
  const auto anchor = hn::Set(df, kIntegerAnchor);
  const auto anchored =
      hn::Min(hn::Add(hn::Mul(hn::Sub(x, zero), inverse), anchor), hn::Set(df, kIntegerAnchor + kMaxCode));
  const auto sum = hn::MulAdd(hn::Sub(anchored, anchor), step, zero);  // as SumOfCodes
  const auto y = FloatOfElements<kType>(df, RoundSum<kType, kRounding>(df, sum));
  return {hn::BitCast(hn::Rebind<uint32_t, DF>(), anchored), hn::Sub(x, y)};
}

// Rows of one run of K by pairs. The codes' words must be 0 before. Raises *errors.
template <DType kType, int kBits, Rounding kRounding, Form kForm, class DF>
HWY_INLINE void EncodeChannelRun(DF df, const RowPlan<DF>& plan, size_t tokens, const std::byte* values,
                                 const IntqUnits units, std::byte* codes, hn::Vec<DF>* errors) {
  const size_t lanes = hn::Lanes(df), code_row_bytes = 4 * plan.words;
  const size_t row_bytes = plan.channels * sizeof(ElementOf<kType>);
  const auto mask = hn::Set(hn::Rebind<uint32_t, DF>(), (1u << kBits) - 1);
  for (size_t c = 0; c < plan.channels; c += 2 * lanes) {
    const size_t next = c + lanes;
    const PairPlace<kBits, kForm, DF> place(df, plan, c);
    const auto low_step = hn::LoadU(df, units.step + c), high_step = hn::LoadU(df, units.step + next);
    const auto low_zero = hn::LoadU(df, units.zero + c), high_zero = hn::LoadU(df, units.zero + next);
    const auto low_inverse = hn::LoadU(df, units.inverse + c),
               high_inverse = hn::LoadU(df, units.inverse + next);
    auto low_error = hn::Zero(df), high_error = hn::Zero(df);
    const std::byte* row = values + c * sizeof(ElementOf<kType>);
    std::byte* row_codes = codes;
    for (size_t t = 0; t < tokens; ++t, row_codes += code_row_bytes, row += row_bytes) {
      const auto low =
          Quantise<kType, kBits, kRounding>(df, LoadAsFloat<kType>(df, row), low_step, low_zero, low_inverse);
      const auto high = Quantise<kType, kBits, kRounding>(
          df, LoadAsFloat<kType>(df, row + lanes * sizeof(ElementOf<kType>)), high_step, high_zero,
          high_inverse);
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
template <DType kType, int kBits, Rounding kRounding, bool kWhole, class DF, class Units>
HWY_INLINE Words<DF> AddChannels(DF df, Words<DF> words, const std::byte* row, const Units& units, size_t c,
                                 size_t channels, hn::Vec<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<ElementOf<kType>, DF> de;
  const auto* const from = reinterpret_cast<const ElementOf<kType>*>(row) + c;
  const bool whole = kWhole || c + hn::Lanes(df) <= channels;
  const auto elements = HWY_LIKELY(whole) ? hn::LoadU(de, from) : LoadFirst(de, from, channels - c);
  const auto inverse = units.Inverse(df, c);
  const auto quantised = Quantise<kType, kBits, kRounding>(df, FloatOfElements<kType>(df, elements),
                                                           units.Step(df, c), units.Zero(df, c), inverse);
  auto error = hn::Mul(quantised.error, inverse);
  auto mask = hn::Set(du, (1u << kBits) - 1);
  if (HWY_UNLIKELY(!whole)) {
    const auto inside = hn::FirstN(df, channels - c);
    error = hn::IfThenElseZero(inside, error);
    mask = hn::IfThenElseZero(hn::RebindMask(du, inside), mask);
  }
  *errors = MaxAbs(df, *errors, error);
  return hn::OrAnd(words, quantised.codes, mask);
}

// The codes' words must be 0 before. Raises *errors.
template <DType kType, int kBits, Rounding kRounding, Form kForm, class DF, class Units>
HWY_INLINE void EncodeRow(DF df, const RowPlan<DF>& plan, const std::byte* row, const Units& units,
                          std::byte* codes, hn::Vec<DF>* errors) {
  const hn::Rebind<uint32_t, DF> du;
  const size_t lanes = hn::Lanes(df), channels = plan.channels;
  const size_t words = kForm == Form::kPairsOfShifts ? lanes : plan.words;  // constant where it can be
  auto* const to = reinterpret_cast<uint32_t*>(codes);
  constexpr size_t kCodes = 32 / kBits;
  constexpr bool kWhole = IsPairs(kForm);
  // The last code ends up highest.
  if constexpr (IsRepeated(kForm)) {
    auto v = hn::Zero(du);
    for (size_t end = (channels + lanes - 1) / lanes * lanes; end != 0; end -= lanes) {
      v = AddChannels<kType, kBits, kRounding, kWhole>(df, hn::Shl(v, plan.shift), row, units, end - lanes,
                                                       channels, errors);
    }
    OrFolded(du, hn::Shl(v, plan.first_shifts), words, to);
  } else {
    for (size_t at = 0; at < words; at += lanes) {
      const size_t w = kWhole || at + lanes <= words ? at : words - lanes;
      auto v = hn::Zero(du);
      for (size_t k = kCodes; k-- > 0;) {
        const size_t c = k * words + w;
        if (!kWhole && c >= channels) continue;
        v = AddChannels<kType, kBits, kRounding, kWhole>(df, hn::ShiftLeft<kBits>(v), row, units, c, channels,
                                                         errors);
      }
      hn::StoreU(v, du, to + w);
    }
  }
}

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
HWY_INLINE void ForRows(const IntqTile tile, const float* step, const float* zero, const float* inverse,
                        const Fn& fn) {
  const size_t row_units = tile.row_units();
  if (tile.per_channel()) {
    for (uint32_t t = 0; t < tile.tokens; ++t) {
      const size_t u = (tile.run() == kTileTokens ? 0 : t / IntqTile::kMinGroup) * row_units;
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

// Tiles by value in what follows: the bytes that are written could else be the tile's own.
template <DType kType, int kBits, Rounding kRounding, Form kForm, bool kRuns, class DF>
HWY_NOINLINE void DecodeRows(DF df, const IntqTile tile, const std::byte* codes, const float* step,
                             const float* zero, std::byte* values) {
  const RowPlan<DF> plan(df, tile);
  const size_t code_row_bytes = tile.code_row_bytes(), row_bytes = tile.row_bytes();
  if constexpr (IsPairs(kForm)) {
    if (tile.per_channel()) {
      for (size_t t = 0; t < tile.tokens; t += kTokensAtOnce) {
        const size_t u = t / tile.run() * tile.channels;
        DecodeChannelRun<kType, kBits, kRounding, kForm>(
            df, plan, std::min<size_t>(kTokensAtOnce, tile.tokens - t), codes + t * code_row_bytes, step + u,
            zero + u, values + t * row_bytes);
      }
      return;
    }
  }
  ForRows<kRuns>(tile, step, zero, nullptr, [&](size_t t, const auto& units) HWY_ATTR {
    DecodeRow<kType, kBits, kRounding, kForm>(df, plan, codes + t * code_row_bytes, units,
                                              values + t * row_bytes);
  });
}

template <DType kType, int kBits, Rounding kRounding, Form kForm, bool kRuns, class DF>
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
      EncodeChannelRun<kType, kBits, kRounding, kForm>(
          df, plan, std::min<size_t>(tile.run(), tile.tokens - t), values + t * row_bytes, run,
          codes + t * code_row_bytes, &errors);
      done = true;
    }
  }
  if (!done) {
    ForRows<kRuns>(tile, units.step, units.zero, units.inverse,
                   [&](size_t t, const auto& row_units) HWY_ATTR {
                     EncodeRow<kType, kBits, kRounding, kForm>(df, plan, values + t * row_bytes, row_units,
                                                               codes + t * code_row_bytes, &errors);
                   });
  }
  HWY_ALIGN float lanes[hn::MaxLanes(DF())];
  hn::Store(errors, df, lanes);
  return *std::max_element(lanes, lanes + hn::Lanes(df));
}

template <Form kForm, bool kRuns>
struct RowsOf {
  static constexpr Form form = kForm;
  static constexpr bool runs = kRuns;  // no vector of V crosses from one unit to the next
};

// Calls fn with the lanes and the form for the tile's rows. False: the scalar reference has to do it.
template <class Fn>
HWY_INLINE bool WithForm(const IntqTile& tile, const Fn& fn) {
  const hn::ScalableTag<float> df;
  const hn::CappedTag<float, 4> d4;
  const size_t words = tile.row_words(), lanes = hn::Lanes(df);
  const bool whole = words * tile.word_codes() == tile.channels;
  if (whole && words == lanes) {
    fn(df, RowsOf<Form::kPairsOfShifts, true>());
  } else if (whole && words % (2 * lanes) == 0) {
    fn(df, RowsOf<Form::kPairsOfVectors, true>());
  } else if (lanes % words == 0 && whole && tile.channels % (2 * lanes) == 0) {
    fn(df, RowsOf<Form::kPairsOfRepeats, true>());
  } else if (lanes % words == 0) {
    fn(df, RowsOf<Form::kRepeated, true>());
  } else if (words >= lanes) {
    fn(df, RowsOf<Form::kColumns, false>());
  } else if (words >= hn::Lanes(d4)) {
    fn(d4, RowsOf<Form::kColumns, false>());
  } else {
    return false;
  }
  return true;
}

// Calls fn.operator()<dtype, rounding>().
template <class Fn>
HWY_INLINE bool WithRounding(DType dtype, bool ordinary, const Fn& fn) {
  switch (dtype) {
    case DType::kFp16:
      return ordinary ? fn.template operator()<DType::kFp16, Rounding::kOrdinary>()
                      : fn.template operator()<DType::kFp16, Rounding::kAny>();
    case DType::kFp8E4m3:
      return fn.template operator()<DType::kFp8E4m3, Rounding::kAny>();
    case DType::kFp8E5m2:
      return fn.template operator()<DType::kFp8E5m2, Rounding::kAny>();
    default:
      break;
  }
#if KVCOMPD_NATIVE_BF16
  static const bool native = __builtin_cpu_supports("avx512bf16") != 0;
  if (ordinary && native) return fn.template operator()<DType::kBf16, Rounding::kNative>();
#endif
  return ordinary ? fn.template operator()<DType::kBf16, Rounding::kOrdinary>()
                  : fn.template operator()<DType::kBf16, Rounding::kAny>();
}

// False: rows that the vectors do not take.
bool DequantizeSimd(const IntqTile& tile, const std::byte* codes, const float* step, const float* zero,
                    bool ordinary, std::byte* values) {
  return WithRounding(tile.dtype, ordinary, [&]<DType kType, Rounding kRounding>() HWY_ATTR {
    return WithForm(tile, [&](auto df, auto form) HWY_ATTR {
      if (tile.bits == 2) {
        DecodeRows<kType, 2, kRounding, form.form, form.runs>(df, tile, codes, step, zero, values);
      } else if (tile.bits == 4) {
        DecodeRows<kType, 4, kRounding, form.form, form.runs>(df, tile, codes, step, zero, values);
      } else {
        DecodeRows<kType, 8, kRounding, form.form, form.runs>(df, tile, codes, step, zero, values);
      }
    });
  });
}

// False: rows that the vectors do not take.
bool QuantizeSimd(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                  std::byte* codes, float* error) {
  return WithRounding(tile.dtype, ordinary, [&]<DType kType, Rounding kRounding>() HWY_ATTR {
    return WithForm(tile, [&](auto df, auto form) HWY_ATTR {
      if (tile.bits == 2) {
        *error = EncodeRows<kType, 2, kRounding, form.form, form.runs>(df, tile, values, units, codes);
      } else if (tile.bits == 4) {
        *error = EncodeRows<kType, 4, kRounding, form.form, form.runs>(df, tile, values, units, codes);
      } else {
        *error = EncodeRows<kType, 8, kRounding, form.form, form.runs>(df, tile, values, units, codes);
      }
    });
  });
}

#undef KVCOMPD_NATIVE_BF16
#else   // one lane is the reference
bool DequantizeSimd(const IntqTile&, const std::byte*, const float*, const float*, bool, std::byte*) {
  return false;
}
bool QuantizeSimd(const IntqTile&, const std::byte*, const IntqUnits&, bool, std::byte*, float*) {
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

HWY_EXPORT(QuantizeSimd);
HWY_EXPORT(DequantizeSimd);

float QuantizeIntq(const IntqTile& tile, const std::byte* values, const IntqUnits& units, bool ordinary,
                   std::byte* codes) {
  float error = 0;
  if (!ScalarOnly() && HWY_DYNAMIC_DISPATCH(QuantizeSimd)(tile, values, units, ordinary, codes, &error))
    return error;
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
