// What the intq kernels share: how rows of codes are cut into vectors, parameters of units, rounding to the
// dtype. Included by intq_quantize.cc and intq_dequantize.cc for every target of foreach_target.h that
// SimdTarget knows, where KVCOMPD_INTQ_VECTORS is 1. Pure functions; pointers need no alignment.
//
//   WithRounding(dtype, ordinary, [&]<DType kType, Rounding kRounding>() {
//     return WithForm(tile, [&](auto df, auto form) { Rows<kType, kRounding, form.form>(df, ...); });
//   });
//
// A row of codes is coded by vectors of N lanes of f32, by the number of words W of a row:
// - By columns, W >= N: a vector of words gives N channels from each of its shifts, W channels apart. The
//   last vector may overlap the one before; what is written twice is the same.
// - By pairs, where N divides W and every code of a word is a channel's: the same, and two vectors of
//   neighbouring channels at once: two shifts of a vector (W = N), or two vectors (2 N divides W).
// - Repeated, N a multiple of W: the row's words are repeated to fill the vector, so that N / W shifts at a
//   time make N channels in their order. By pairs where 2 N divides the channels.
// Other rows take shorter vectors, or the scalar reference.

#include "codec/simd/float_convert-inl.h"
#include "codec/simd/intq_tile.h"
#include "codec/simd/intq_units.h"

#if defined(KVCOMPD_CODEC_SIMD_INTQ_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_INTQ_VECTORS_INL_H_
#undef KVCOMPD_CODEC_SIMD_INTQ_VECTORS_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_INTQ_VECTORS_INL_H_
#endif

#include <bit>
#include <cstring>

#undef KVCOMPD_NATIVE_BF16
#undef KVCOMPD_INTQ_VECTORS
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
#define KVCOMPD_INTQ_VECTORS 0
#else
#define KVCOMPD_INTQ_VECTORS 1
HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

// Parameters of the units of a row's channels: of each channel its own, or of each run of channels.
struct ChannelUnits {
  const float* step;  // [channels and padding]
  const float* zero;
  const float* inverse;                       // encode only
  static constexpr bool kPairShares = false;  // whether two vectors of a pair are of one unit

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
  static constexpr bool kPairShares = true;  // a pair has at most 32 channels, and so many share at least

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
// its own would not be inlined, hence the assembly; clang's assembler wants the attribute. Not for HWY_AVX3,
// so that the tests run what machines without them do.
#if HWY_TARGET <= HWY_AVX3_DL && defined(__GNUC__) && !defined(__clang__)
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
  [[maybe_unused]] const hn::Rebind<ElementOf<kType>, DF> de;
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

// A lookup in 16 lanes takes the lowest 4 bits of its index, so that it masks and converts codes at once.
template <class DF>
constexpr bool CanLookUp(uint32_t bits) {
  return HWY_TARGET <= HWY_AVX3 && hn::MaxLanes(DF()) == 16 && bits <= 4;
}

// The lowest bits of each word, which are a code, as floats; the bits above are arbitrary.
template <bool kLookUp, class DF>
class CodeFloats {
 public:
  CodeFloats(DF df, uint32_t bits)
      : mask_(hn::Set(hn::Rebind<uint32_t, DF>(), (1u << bits) - 1)), table_(hn::Zero(df)) {
    if constexpr (kLookUp) {
      const hn::Rebind<int32_t, DF> di;
      table_ = hn::ConvertTo(df, hn::And(hn::Iota(di, 0), hn::BitCast(di, mask_)));
    }
  }
  HWY_INLINE hn::Vec<DF> operator()(DF df, Words<DF> words) const {
#if HWY_TARGET <= HWY_AVX3
    if constexpr (kLookUp) return hn::Vec<DF>{_mm512_permutexvar_ps(words.raw, table_.raw)};
#endif
    return hn::ConvertTo(df, hn::BitCast(hn::Rebind<int32_t, DF>(), hn::And(words, mask_)));
  }

 private:
  Words<DF> mask_;
  hn::Vec<DF> table_;
};

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
      : bits(static_cast<int>(tile.bits)),
        words(tile.row_words()),
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

  int bits;
  size_t words;
  size_t channels;
  Words<DF> first_shifts;  // repeated: of the lanes, for the first vector of channels
  Words<DF> shift;         // repeated: from one vector of channels to the next
};

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
template <Form kForm, class DF>
class PairPlace {
 public:
  PairPlace(DF df, const RowPlan<DF>& plan, size_t c)
      : bits_(plan.bits),
        words_(plan.words),
        low_shifts_(plan.first_shifts),
        high_shifts_(plan.first_shifts) {
    if constexpr (kForm == Form::kPairsOfRepeats) {
      const hn::Rebind<uint32_t, DF> du;
      const size_t shifts_of_vector = hn::Lanes(df) / words_;
      const size_t before = c / hn::Lanes(df) * shifts_of_vector;
      low_shifts_ =
          hn::Add(low_shifts_, hn::Set(du, static_cast<uint32_t>(before) * static_cast<uint32_t>(bits_)));
      high_shifts_ = hn::Add(low_shifts_, plan.shift);
    } else {
      word_ = kForm == Form::kPairsOfVectors ? c % words_ : 0;
      shift_ = static_cast<int>(c / words_) * bits_;
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
      *high = kForm == Form::kPairsOfShifts ? hn::ShiftRightSame(*low, bits_)
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
      const auto both = hn::ShiftLeftSame(hn::Or(low, hn::ShiftLeftSame(high, bits_)), shift_);
      hn::StoreU(hn::Or(hn::LoadU(du, to), both), du, to);
    } else {
      auto* const next = to + hn::Lanes(df);
      hn::StoreU(hn::Or(hn::LoadU(du, to), hn::ShiftLeftSame(low, shift_)), du, to);
      hn::StoreU(hn::Or(hn::LoadU(du, next), hn::ShiftLeftSame(high, shift_)), du, next);
    }
  }

 private:
  int bits_;
  size_t words_;
  size_t word_ = 0;
  int shift_ = 0;
  Words<DF> low_shifts_, high_shifts_;  // repeated
};

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

// Calls fn(token, units of the token's row) for each token. inverse may be null. kChannels: K may come, too.
template <bool kRuns, bool kChannels, class Fn>
HWY_INLINE void ForRows(const IntqTile tile, const float* step, const float* zero, const float* inverse,
                        const Fn& fn) {
  const size_t row_units = tile.row_units();
  if constexpr (kChannels) {
    for (uint32_t t = 0; tile.per_channel() && t < tile.tokens; ++t) {
      const size_t u = (tile.run() == kTileTokens ? 0 : t / IntqTile::kMinGroup) * row_units;
      fn(t, ChannelUnits{step + u, zero + u, inverse == nullptr ? nullptr : inverse + u});
    }
    if (tile.per_channel()) return;
  }
  if constexpr (kRuns) {
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

// Calls fn.operator()<dtype, rounding>(). Where a rounding would be the same as another, it is not there.
template <class Fn>
HWY_INLINE bool WithRounding(DType dtype, bool ordinary, const Fn& fn) {
  switch (dtype) {
    case DType::kFp16:
#if HWY_TARGET <= HWY_AVX2
      if (ordinary) return fn.template operator()<DType::kFp16, Rounding::kOrdinary>();
#endif
      return fn.template operator()<DType::kFp16, Rounding::kAny>();
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
#if HWY_TARGET <= HWY_AVX3
  if (ordinary) return fn.template operator()<DType::kBf16, Rounding::kOrdinary>();
#endif
  return fn.template operator()<DType::kBf16, Rounding::kAny>();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();
#endif  // KVCOMPD_INTQ_VECTORS

#endif  // KVCOMPD_CODEC_SIMD_INTQ_VECTORS_INL_H_
