// Vectors of the four floating-point element types: widened to f32 exactly, rounded from f32 by the rules of
// FORMAT.md ("Determinism"), and their extremes. Bit for bit what codec/float_format.h gives.
//
// Included by kernel sources, once for every target of foreach_target.h, before their HWY_BEFORE_NAMESPACE();
// the functions stand in kvcompd::codec::HWY_NAMESPACE. Pure functions; pointers need no alignment.
//
//   const hn::ScalableTag<float> df;
//   const auto x = LoadAsFloat<DType::kBf16>(df, row + c * 2);           // Lanes(df) elements
//   StoreFromFloat<DType::kBf16>(df, hn::Mul(x, step), out + c * 2);
//
// Minimum, maximum and the check for NaN and Inf need no floats: OrderKeys() makes integers that are ordered
// as the values are, twice or four times as many a vector; a value is finite where its key is within
// [-MaxKey - 1, MaxKey]. So RangeOfRow() and RangesOfColumns() find all three in one pass.
#include "codec/float_format.h"
#include "hwy/highway.h"

#if defined(KVCOMPD_CODEC_SIMD_FLOAT_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_FLOAT_CONVERT_INL_H_
#undef KVCOMPD_CODEC_SIMD_FLOAT_CONVERT_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_FLOAT_CONVERT_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// An element as it stands in a tile, and the signed integer of its key.
template <DType kType>
using ElementOf = std::conditional_t<ElementBytes(kType) == 2, uint16_t, uint8_t>;
template <DType kType>
using KeyOf = std::make_signed_t<ElementOf<kType>>;

// Keys of finite values: -MaxKey - 1 (the lowest) to MaxKey (the largest).
template <DType kType>
constexpr KeyOf<kType> MaxKey() {
  return static_cast<KeyOf<kType>>(FloatFormatOf(kType).max_finite);
}

// ---- Loads and stores of whole and of partial vectors

// The first `count` lanes from memory, the others 0. Reads exactly count elements.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const T* from, size_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(d)] = {};
  std::memcpy(lanes, from, count * sizeof(T));
  return hn::Load(d, lanes);
}

// Writes exactly the first `count` lanes.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void StoreFirst(hn::Vec<D> v, D d, T* to, size_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  std::memcpy(to, lanes, count * sizeof(T));
}

// ---- Element bits to f32

// The values of elements, exactly. As FloatOfBits(): not for Inf and NaN, which give some value or other.
template <DType kType, class DF>
HWY_INLINE hn::Vec<DF> FloatOfElements(DF df, hn::Vec<hn::Rebind<ElementOf<kType>, DF>> bits) {
  const hn::Rebind<uint32_t, DF> du;
  if constexpr (kType == DType::kBf16) {
    return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  } else {
    // The conversion of fp16 takes denormals as they are, whatever the thread's floating-point environment.
    const hn::Rebind<hwy::float16_t, DF> dh;
    const hn::Rebind<uint16_t, DF> du16;
    if constexpr (kType == DType::kFp16) {
      return hn::PromoteTo(df, hn::BitCast(dh, bits));
    } else if constexpr (kType == DType::kFp8E5m2) {  // the upper half of an fp16
      return hn::PromoteTo(df, hn::BitCast(dh, hn::ShiftLeft<8>(hn::PromoteTo(du16, bits))));
    } else {
      // Its fields put where those of fp16 are, with the same fraction bits on top: only the bias differs,
      // by 8.
      const auto wide = hn::PromoteTo(du16, bits);
      const auto magnitude = hn::ShiftLeft<7>(hn::And(wide, hn::Set(du16, uint16_t{0x7f})));
      const auto sign = hn::ShiftLeft<8>(hn::And(wide, hn::Set(du16, uint16_t{0x80})));
      return hn::Mul(hn::PromoteTo(df, hn::BitCast(dh, hn::Or(magnitude, sign))), hn::Set(df, 256.0f));
    }
  }
}

template <DType kType, class DF>
HWY_INLINE hn::Vec<DF> LoadAsFloat(DF df, const std::byte* from) {
  const hn::Rebind<ElementOf<kType>, DF> de;
  return FloatOfElements<kType>(df, hn::LoadU(de, reinterpret_cast<const ElementOf<kType>*>(from)));
}

// ---- f32 to element bits

// Rounds half to even, keeps denormals, and gives the largest finite value, with its sign, for what is beyond
// it, Inf too; in the low bits of 32-bit lanes. As BitsOfFloat(), but not for NaN.
template <DType kType, class DF>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, DF>> RoundToBits(DF df, hn::Vec<DF> v) {
  constexpr FloatFormat kFormat = FloatFormatOf(kType);
  constexpr int kShift = 23 - kFormat.man_bits;
  const hn::Rebind<uint32_t, DF> du;
  const auto one = hn::Set(du, 1u);
  const auto below_half = hn::Set(du, (1u << (kShift - 1)) - 1);
  if constexpr (kType == DType::kBf16) {
    // The same exponent range: cutting the fraction is all, and clamped first nothing rounds beyond.
    const auto largest = hn::Set(df, FloatOfBits(kType, kFormat.max_finite));
    const auto bits = hn::BitCast(du, hn::Max(hn::Min(v, largest), hn::Neg(largest)));
    const auto odd = hn::And(hn::ShiftRight<kShift>(bits), one);
    return hn::ShiftRight<kShift>(hn::Add(bits, hn::Add(below_half, odd)));
  } else {
    constexpr uint32_t kBias = static_cast<uint32_t>(127 + kFormat.min_exp - 1) << kFormat.man_bits;
    constexpr uint32_t kMinNormal = static_cast<uint32_t>(127 + kFormat.min_exp) << 23;
    // Beside this number one step of f32 is the type's smallest denormal, so that the addition rounds.
    constexpr uint32_t kAnchor = static_cast<uint32_t>(127 + kFormat.min_exp - kFormat.man_bits + 23) << 23;
    const auto bits = hn::BitCast(du, v);
    const auto magnitude = hn::And(bits, hn::Set(du, 0x7fffffffu));
    const auto odd = hn::And(hn::ShiftRight<kShift>(magnitude), one);
    const auto rounded =
        hn::Sub(hn::ShiftRight<kShift>(hn::Add(magnitude, hn::Add(below_half, odd))), hn::Set(du, kBias));
    const auto anchor = hn::Set(du, kAnchor);
    const auto sum = hn::Add(hn::BitCast(df, magnitude), hn::BitCast(df, anchor));
    const auto denormal = hn::Sub(hn::BitCast(du, sum), anchor);
    // The magnitudes are below 2^31, so that signed comparisons do; those are native everywhere.
    const hn::Rebind<int32_t, DF> di;
    const auto is_denormal = hn::Lt(hn::BitCast(di, magnitude), hn::Set(di, int32_t{kMinNormal}));
    const auto chosen = hn::IfThenElse(is_denormal, hn::BitCast(di, denormal), hn::BitCast(di, rounded));
    const auto finite = hn::Min(chosen, hn::Set(di, static_cast<int32_t>(kFormat.max_finite)));
    constexpr int kSignShift = 32 - 8 * static_cast<int>(ElementBytes(kType));
    const auto sign = hn::And(hn::ShiftRight<kSignShift>(bits), hn::Set(du, kFormat.sign));
    return hn::Or(hn::BitCast(du, finite), sign);
  }
}

// The same as elements.
template <DType kType, class DF>
HWY_INLINE hn::Vec<hn::Rebind<ElementOf<kType>, DF>> ElementsOfFloat(DF df, hn::Vec<DF> v) {
  const hn::Rebind<ElementOf<kType>, DF> de;
#if HWY_TARGET <= HWY_AVX2
  if constexpr (kType == DType::kFp16) {
    // The conversion's own rounding, half to even by its immediate; clamped first, as it would overflow to
    // Inf.
    const hn::Rebind<hwy::float16_t, DF> dh;
    const auto largest = hn::Set(df, 65504.0f);
    return hn::BitCast(de, hn::DemoteTo(dh, hn::Max(hn::Min(v, largest), hn::Neg(largest))));
  }
#endif
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<int32_t, DF> di;
  const auto bits = RoundToBits<kType>(df, v);
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(hn::Vec<DF>) == 64 && ElementBytes(kType) == 2) {
    return hn::Vec<decltype(de)>{_mm512_cvtepi32_epi16(bits.raw)};
  }
#endif
  if constexpr (ElementBytes(kType) == 1) {
    return hn::U8FromU32(bits);
  } else {
    // Elements to 0xffff do not pass the signed saturation of the demotion; their sign-extended bits do.
    (void)du;
    const hn::Rebind<int16_t, DF> di16;
    return hn::BitCast(de, hn::DemoteTo(di16, hn::ShiftRight<16>(hn::BitCast(di, hn::ShiftLeft<16>(bits)))));
  }
}

template <DType kType, class DF>
HWY_INLINE void StoreFromFloat(DF df, hn::Vec<DF> v, std::byte* to) {
  const hn::Rebind<ElementOf<kType>, DF> de;
  hn::StoreU(ElementsOfFloat<kType>(df, v), de, reinterpret_cast<ElementOf<kType>*>(to));
}

// ---- Order keys

// Signed integers in the order of the values, -0 just below +0; NaN and Inf are beyond the finite ones on the
// side of their sign. The inverse is the function itself (BitsOfKeys).
template <DType kType, class DE>
HWY_INLINE hn::Vec<hn::RebindToSigned<DE>> OrderKeys(DE de, hn::Vec<DE> bits) {
  static_assert(std::is_same_v<hn::TFromD<DE>, ElementOf<kType>>);
  const hn::RebindToSigned<DE> di;
  const auto v = hn::BitCast(di, bits);
  const auto largest = hn::Set(di, hwy::LimitsMax<KeyOf<kType>>());
  // Negative values: all bits but the sign's are inverted.
  return hn::Xor(v, hn::And(hn::BroadcastSignBit(v), largest));
}
template <DType kType, class DE>
HWY_INLINE hn::Vec<DE> BitsOfKeys(DE de, hn::Vec<hn::RebindToSigned<DE>> keys) {
  return hn::BitCast(de, OrderKeys<kType>(de, hn::BitCast(de, keys)));
}

template <DType kType>
HWY_INLINE KeyOf<kType> OrderKey(ElementOf<kType> bits) {
  const auto v = static_cast<KeyOf<kType>>(bits);
  return v < 0 ? static_cast<KeyOf<kType>>(v ^ hwy::LimitsMax<KeyOf<kType>>()) : v;
}
template <DType kType>
HWY_INLINE float FloatOfKey(KeyOf<kType> key) {
  return FloatOfBits(kType,
                     static_cast<ElementOf<kType>>(OrderKey<kType>(static_cast<ElementOf<kType>>(key))));
}

template <DType kType>
struct KeyRange {
  KeyOf<kType> min;
  KeyOf<kType> max;

  bool finite() const { return min >= -MaxKey<kType>() - 1 && max <= MaxKey<kType>(); }
};

// Extremes of n >= 1 elements.
template <DType kType>
HWY_INLINE KeyRange<kType> RangeOfRow(const std::byte* values, size_t n) {
  const hn::ScalableTag<ElementOf<kType>> de;
  const size_t lanes = hn::Lanes(de);
  const auto* const from = reinterpret_cast<const ElementOf<kType>*>(values);
  KeyRange<kType> range{hwy::LimitsMax<KeyOf<kType>>(), hwy::LimitsMin<KeyOf<kType>>()};
  size_t i = 0;
  if (n >= lanes) {
    auto min = OrderKeys<kType>(de, hn::LoadU(de, from)), max = min;
    for (i = lanes; i < n; i += lanes) {
      // The last vector may overlap the one before: an element seen twice changes no extreme.
      const size_t at = i + lanes <= n ? i : n - lanes;
      const auto keys = OrderKeys<kType>(de, hn::LoadU(de, from + at));
      min = hn::Min(min, keys);
      max = hn::Max(max, keys);
    }
    HWY_ALIGN KeyOf<kType> mins[hn::MaxLanes(de)], maxs[hn::MaxLanes(de)];
    const hn::RebindToSigned<decltype(de)> di;
    hn::Store(min, di, mins);
    hn::Store(max, di, maxs);
    for (size_t k = 0; k < lanes; ++k) {
      range.min = mins[k] < range.min ? mins[k] : range.min;
      range.max = maxs[k] > range.max ? maxs[k] : range.max;
    }
  }
  for (; i < n; ++i) {
    ElementOf<kType> bits;
    std::memcpy(&bits, from + i, sizeof bits);
    const KeyOf<kType> key = OrderKey<kType>(bits);
    range.min = key < range.min ? key : range.min;
    range.max = key > range.max ? key : range.max;
  }
  return range;
}

// Extremes of each column of values, [rows >= 1, columns], rows `stride` bytes apart, as keys; false where a
// value is NaN or Inf.
template <DType kType>
HWY_INLINE bool RangesOfColumns(const std::byte* values, size_t rows, size_t stride, size_t columns,
                                KeyOf<kType>* mins, KeyOf<kType>* maxs) {
  const hn::ScalableTag<ElementOf<kType>> de;
  const hn::RebindToSigned<decltype(de)> di;
  const size_t lanes = hn::Lanes(de);
  auto least = hn::Zero(di), greatest = hn::Zero(di);  // of all columns: only what is not finite matters
  for (size_t c = 0; c < columns; c += lanes) {
    const size_t count = columns - c < lanes ? columns - c : lanes;
    const std::byte* at = values + c * sizeof(ElementOf<kType>);
    const auto keys_of_row = [&](size_t row) HWY_ATTR {
      const auto* const from = reinterpret_cast<const ElementOf<kType>*>(at + row * stride);
      return OrderKeys<kType>(de, count == lanes ? hn::LoadU(de, from) : LoadFirst(de, from, count));
    };
    auto min = keys_of_row(0), max = min;
    for (size_t row = 1; row < rows; ++row) {
      const auto keys = keys_of_row(row);
      min = hn::Min(min, keys);
      max = hn::Max(max, keys);
    }
    if (count == lanes) {
      hn::StoreU(min, di, mins + c);
      hn::StoreU(max, di, maxs + c);
    } else {
      StoreFirst(min, di, mins + c, count);
      StoreFirst(max, di, maxs + c, count);
    }
    least = hn::Min(least, min);
    greatest = hn::Max(greatest, max);
  }
  const auto lowest = hn::Set(di, static_cast<KeyOf<kType>>(-MaxKey<kType>() - 1));
  const auto largest = hn::Set(di, MaxKey<kType>());
  return hn::AllTrue(di, hn::Eq(hn::Max(least, lowest), least)) &&
         hn::AllTrue(di, hn::Eq(hn::Min(greatest, largest), greatest));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#endif  // KVCOMPD_CODEC_SIMD_FLOAT_CONVERT_INL_H_
