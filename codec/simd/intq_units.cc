#include "codec/simd/intq_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/intq_units.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/float_convert-inl.h"
// clang-format on

#include <bit>
#include <cmath>
#include <cstring>

#include "codec/float_format.h"
#include "codec/simd/targets.h"

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR  // which has no blocks of 128 bits
template <bool kMin, class V>
HWY_INLINE V Extreme(V a, V b) {
  return kMin ? hn::Min(a, b) : hn::Max(a, b);
}

// The second and third merge, see RangesOf8Runs.
template <bool kMin, class DI>
HWY_INLINE hn::Vec<DI> MergePairs(DI di, const hn::Vec<DI>* pairs) {
  const hn::Repartition<int32_t, DI> d32;
  const hn::Repartition<int64_t, DI> d64;
  hn::Vec<DI> fours[2];
  for (int i = 0; i < 2; ++i) {
    const auto a = hn::BitCast(d32, pairs[2 * i]), b = hn::BitCast(d32, pairs[2 * i + 1]);
    fours[i] = Extreme<kMin>(hn::BitCast(di, hn::InterleaveLower(d32, a, b)),
                             hn::BitCast(di, hn::InterleaveUpper(d32, a, b)));
  }
  const auto a = hn::BitCast(d64, fours[0]), b = hn::BitCast(d64, fours[1]);
  return Extreme<kMin>(hn::BitCast(di, hn::InterleaveLower(d64, a, b)),
                       hn::BitCast(di, hn::InterleaveUpper(d64, a, b)));
}

// The extremes of the blocks of 128 bits, to 8 lanes in memory.
template <bool kMin, class DI>
HWY_INLINE void StoreMerged(DI di, hn::Vec<DI> v, int16_t* to) {
  if constexpr (hn::MaxLanes(DI()) == 8) {
    hn::StoreU(v, di, to);
  } else {
    const hn::Half<DI> dh;
    const auto low = hn::LowerHalf(dh, v), high = hn::UpperHalf(dh, v);
    StoreMerged<kMin>(dh, Extreme<kMin>(low, high), to);
  }
}

// Least and greatest key of each of 8 runs of `length` 16-bit elements that follow one another; length is a
// multiple of 32. Vectors of lanes of one run each are merged in pairs: interleaved, the halves hold both
// runs' lanes, and their minimum has half as many of each. After three merges a block of 128 bits has a lane
// of every run, in order.
template <DType kType>
HWY_INLINE void RangesOf8Runs(const std::byte* values, size_t length, int16_t* mins, int16_t* maxs) {
  static_assert(ElementBytes(kType) == 2);
  const hn::ScalableTag<uint16_t> de;
  const hn::RebindToSigned<decltype(de)> di;
  const size_t lanes = hn::Lanes(de);
  hn::Vec<decltype(di)> min[4], max[4];  // of pairs of runs
  const auto* from = reinterpret_cast<const uint16_t*>(values);
  for (int pair = 0; pair < 4; ++pair, from += 2 * length) {
    const auto a = OrderKeys<kType>(de, hn::LoadU(de, from)),
               b = OrderKeys<kType>(de, hn::LoadU(de, from + length));
    if (length == lanes) {
      const auto low = hn::InterleaveLower(di, a, b), high = hn::InterleaveUpper(di, a, b);
      min[pair] = hn::Min(low, high);
      max[pair] = hn::Max(low, high);
      continue;
    }
    auto a_min = a, a_max = a, b_min = b, b_max = b;
    for (size_t i = lanes; i < length; i += lanes) {
      const auto more_a = OrderKeys<kType>(de, hn::LoadU(de, from + i));
      const auto more_b = OrderKeys<kType>(de, hn::LoadU(de, from + length + i));
      a_min = hn::Min(a_min, more_a);
      a_max = hn::Max(a_max, more_a);
      b_min = hn::Min(b_min, more_b);
      b_max = hn::Max(b_max, more_b);
    }
    min[pair] = hn::Min(hn::InterleaveLower(di, a_min, b_min), hn::InterleaveUpper(di, a_min, b_min));
    max[pair] = hn::Max(hn::InterleaveLower(di, a_max, b_max), hn::InterleaveUpper(di, a_max, b_max));
  }
  StoreMerged<true>(di, MergePairs<true>(di, min), mins);
  StoreMerged<false>(di, MergePairs<false>(di, max), maxs);
}

#endif  // HWY_TARGET != HWY_SCALAR

// Keys of the extremes of V's units.
template <DType kType>
void KeysOfTokenRuns(const IntqTile& tile, const std::byte* values, KeyOf<kType>* mins, KeyOf<kType>* maxs) {
  const size_t units = tile.units(), row_units = tile.row_units();
  constexpr size_t kBytes = ElementBytes(kType);
  size_t u = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kBytes == 2) {
    if (tile.channels % tile.group == 0) {
      for (; u + 8 <= units; u += 8) {
        RangesOf8Runs<kType>(values + u * tile.group * kBytes, tile.group, mins + u, maxs + u);
      }
    }
  }
#endif
  for (; u < units; ++u) {
    const size_t token = u / row_units, first = u % row_units * tile.group;
    const size_t count = tile.channels - first < tile.group ? tile.channels - first : tile.group;
    const KeyRange<kType> range = RangeOfRow<kType>(values + (token * tile.channels + first) * kBytes, count);
    mins[u] = range.min;
    maxs[u] = range.max;
  }
}

template <DType kType>
bool FindRangesOf(const IntqTile& tile, const std::byte* values, float* min, float* max) {
  HWY_ALIGN KeyOf<kType> mins[IntqTile::kMaxUnits + hn::MaxLanes(hn::ScalableTag<KeyOf<kType>>())];
  HWY_ALIGN KeyOf<kType> maxs[IntqTile::kMaxUnits + hn::MaxLanes(hn::ScalableTag<KeyOf<kType>>())];
  const size_t units = tile.units();
  if (tile.per_channel()) {
    for (uint32_t t = 0, u = 0; t < tile.tokens; t += tile.run(), u += tile.channels) {
      const uint32_t rows = tile.tokens - t < tile.run() ? tile.tokens - t : tile.run();
      if (!RangesOfColumns<kType>(values + size_t{t} * tile.row_bytes(), rows, tile.row_bytes(),
                                  tile.channels, mins + u, maxs + u)) {
        return false;
      }
    }
  } else {
    KeysOfTokenRuns<kType>(tile, values, mins, maxs);
  }
  const hn::ScalableTag<float> df;
  // Whole vectors: what is after the last unit is 0, and finite.
  std::memset(mins + units, 0, hn::Lanes(df) * sizeof(mins[0]));
  std::memset(maxs + units, 0, hn::Lanes(df) * sizeof(maxs[0]));
  const hn::Rebind<ElementOf<kType>, decltype(df)> de;
  const hn::RebindToSigned<decltype(de)> di;
  const auto lowest = hn::Set(di, static_cast<KeyOf<kType>>(-MaxKey<kType>() - 1));
  const auto largest = hn::Set(di, MaxKey<kType>());
  auto least = lowest, greatest = largest;
  for (size_t u = 0; u < units; u += hn::Lanes(df)) {
    const auto min_keys = hn::LoadU(di, mins + u), max_keys = hn::LoadU(di, maxs + u);
    least = hn::Min(least, min_keys);
    greatest = hn::Max(greatest, max_keys);
    // -0 + +0 is +0, any other sum with +0 the number itself.
    const auto value = FloatOfElements<kType>(df, BitsOfKeys<kType>(de, min_keys));
    hn::StoreU(hn::Add(value, hn::Zero(df)), df, min + u);
    hn::StoreU(FloatOfElements<kType>(df, BitsOfKeys<kType>(de, max_keys)), df, max + u);
  }
  return hn::AllTrue(di, hn::Eq(least, lowest)) && hn::AllTrue(di, hn::Eq(greatest, largest));
}

bool FindRangesSimd(const IntqTile& tile, const std::byte* values, float* min, float* max) {
  switch (tile.dtype) {
    case DType::kFp16:
      return FindRangesOf<DType::kFp16>(tile, values, min, max);
    case DType::kFp8E4m3:
      return FindRangesOf<DType::kFp8E4m3>(tile, values, min, max);
    case DType::kFp8E5m2:
      return FindRangesOf<DType::kFp8E5m2>(tile, values, min, max);
    default:
      return FindRangesOf<DType::kBf16>(tile, values, min, max);
  }
}

// Stores the first min(count, lanes) lanes.
template <class D>
HWY_INLINE void StoreUpTo(hn::Vec<D> v, D d, hn::TFromD<D>* to, size_t count) {
  if (count >= hn::Lanes(d)) {
    hn::StoreU(v, d, to);
  } else {
    StoreFirst(v, d, to, count);
  }
}
template <class D>
HWY_INLINE hn::Vec<D> LoadUpTo(D d, const hn::TFromD<D>* from, size_t count) {
  return count >= hn::Lanes(d) ? hn::LoadU(d, from) : LoadFirst(d, from, count);
}

// Which units are IntqUnitsKind::kOrdinary. magnitude: of zero, without its sign.
template <DType kType, class DI, class DF>
HWY_INLINE hn::Mask<DI> OrdinaryUnits(DI di, DF df, const IntqTile& tile, hn::Vec<DI> scale,
                                      hn::Vec<DI> magnitude, hn::Vec<DF> step, hn::Vec<DF> zero) {
  if constexpr (kType == DType::kBf16) {
    // The last places of zero and of step are not below 2^-126, so nor is a sum that is not 0; and both
    // summands are below 2^126.
    const auto none = hn::Zero(di);
    const auto coarse_zero =
        hn::Or(hn::Eq(magnitude, none), hn::Gt(magnitude, hn::Set(di, int32_t{(8 << 7) - 1})));
    const auto coarse_scale = hn::Or(hn::Eq(scale, none), hn::Gt(scale, hn::Set(di, int32_t{(9 << 8) - 1})));
    const auto small_zero = hn::Lt(magnitude, hn::Set(di, int32_t{253 << 7}));
    const auto small_scale = hn::Lt(scale, hn::Set(di, static_cast<int32_t>((253 - tile.bits) << 8)));
    return hn::And(hn::And(coarse_zero, coarse_scale), hn::And(small_zero, small_scale));
  } else {
    const auto max_code = hn::Set(df, static_cast<float>(tile.max_code()));
    const auto limit = hn::Set(df, FloatOfBits(kType, FloatFormatOf(kType).max_finite));
    return hn::RebindMask(di, hn::Le(hn::MulAdd(step, max_code, hn::Abs(zero)), limit));
  }
}

template <DType kType>
IntqUnitsKind ChooseUnitsOf(const IntqTile& tile, const IntqUnits& units, std::byte* scales, std::byte* zeros,
                            bool* bound_proven) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<uint32_t, decltype(df)> du;
  const hn::Rebind<int32_t, decltype(df)> di;
  const hn::Rebind<uint16_t, decltype(df)> du16;
  const hn::Rebind<ElementOf<kType>, decltype(df)> de;
  const size_t n = tile.units(), lanes = hn::Lanes(df);
  const auto max_code = hn::Set(df, static_cast<float>(tile.max_code()));
  const auto least = hn::Set(di, static_cast<int32_t>(kIntqMinScale));
  const auto greatest = hn::Set(di, static_cast<int32_t>(IntqMaxScale(tile.bits)));
  auto good = hn::Eq(least, least), ordinary = good, proven = good;
  for (size_t u = 0; u < n; u += lanes) {
    const size_t count = n - u;
    const auto zero = LoadUpTo(df, units.zero + u, count);
    const auto max = LoadUpTo(df, units.max + u, count);
    const auto range = hn::Sub(max, zero);
    const auto constant = hn::Eq(range, hn::Zero(df));
    const auto bits = hn::BitCast(du, hn::Div(range, max_code));
    const auto odd = hn::And(hn::ShiftRight<kIntqScaleShift>(bits), hn::Set(du, 1u));
    const auto half_even = hn::Add(odd, hn::Set(du, (1u << (kIntqScaleShift - 1)) - 1));
    const auto scale = hn::ShiftRight<kIntqScaleShift>(hn::Add(bits, half_even));
    const auto signed_scale = hn::BitCast(di, scale);
    const auto in_range = hn::Not(hn::Or(hn::Lt(signed_scale, least), hn::Gt(signed_scale, greatest)));
    good = hn::And(good, hn::Or(in_range, hn::RebindMask(di, constant)));
    const auto kept = hn::IfThenZeroElse(hn::RebindMask(du, constant), scale);
    const auto step = hn::BitCast(df, hn::ShiftLeft<kIntqScaleShift>(kept));
    const auto largest = hn::Max(hn::Abs(zero), hn::Abs(max));
    const auto in_steps = hn::Le(largest, hn::Mul(step, hn::Set(df, kIntqProvenSteps)));
    proven = hn::And(proven, hn::RebindMask(di, hn::Or(constant, in_steps)));
    hn::StoreU(step, df, units.step + u);
    hn::StoreU(hn::IfThenZeroElse(constant, hn::Div(hn::Set(df, 1.0f), step)), df, units.inverse + u);
    // 16 bits with their sign pass the demotion, which saturates.
    const auto narrow = hn::ShiftRight<16>(hn::BitCast(di, hn::ShiftLeft<16>(kept)));
    const hn::Rebind<int16_t, decltype(df)> di16;
    StoreUpTo(hn::BitCast(du16, hn::DemoteTo(di16, narrow)), du16, reinterpret_cast<uint16_t*>(scales) + u,
              count);
    const auto element = ElementsOfFloat<kType>(df, zero);
    StoreUpTo(element, de, reinterpret_cast<ElementOf<kType>*>(zeros) + u, count);
    const auto magnitude =
        hn::And(hn::PromoteTo(di, element), hn::Set(di, static_cast<int32_t>(FloatFormatOf(kType).sign - 1)));
    ordinary =
        hn::And(ordinary, OrdinaryUnits<kType>(di, df, tile, hn::BitCast(di, kept), magnitude, step, zero));
  }
  *bound_proven = hn::AllTrue(di, proven);
  if (!hn::AllTrue(di, good)) return IntqUnitsKind::kInvalid;
  return hn::AllTrue(di, ordinary) ? IntqUnitsKind::kOrdinary : IntqUnitsKind::kAny;
}

IntqUnitsKind ChooseUnitsSimd(const IntqTile& tile, const IntqUnits& units, std::byte* scales,
                              std::byte* zeros, bool* bound_proven) {
  switch (tile.dtype) {
    case DType::kFp16:
      return ChooseUnitsOf<DType::kFp16>(tile, units, scales, zeros, bound_proven);
    case DType::kFp8E4m3:
      return ChooseUnitsOf<DType::kFp8E4m3>(tile, units, scales, zeros, bound_proven);
    case DType::kFp8E5m2:
      return ChooseUnitsOf<DType::kFp8E5m2>(tile, units, scales, zeros, bound_proven);
    default:
      return ChooseUnitsOf<DType::kBf16>(tile, units, scales, zeros, bound_proven);
  }
}

template <DType kType>
IntqUnitsKind ReadUnitsOf(const IntqTile& tile, const std::byte* scales, const std::byte* zeros, float* step,
                          float* zero) {
  constexpr FloatFormat kFormat = FloatFormatOf(kType);
  const hn::ScalableTag<float> df;
  const hn::Rebind<int32_t, decltype(df)> di;
  const hn::Rebind<uint16_t, decltype(df)> du16;
  const hn::Rebind<ElementOf<kType>, decltype(df)> de;
  const size_t n = tile.units();
  const auto none = hn::Zero(di);
  const auto least = hn::Set(di, static_cast<int32_t>(kIntqMinScale));
  const auto greatest = hn::Set(di, static_cast<int32_t>(IntqMaxScale(tile.bits)));
  auto valid = hn::Eq(none, none), ordinary = valid;
  for (size_t u = 0; u < n; u += hn::Lanes(df)) {
    const auto scale =
        hn::PromoteTo(di, LoadUpTo(du16, reinterpret_cast<const uint16_t*>(scales) + u, n - u));
    const auto element = LoadUpTo(de, reinterpret_cast<const ElementOf<kType>*>(zeros) + u, n - u);
    const auto bits = hn::PromoteTo(di, element);
    const auto magnitude = hn::And(bits, hn::Set(di, static_cast<int32_t>(kFormat.sign - 1)));
    const auto no_scale = hn::Eq(scale, none);
    const auto outside = hn::Or(hn::Lt(scale, least), hn::Gt(scale, greatest));
    const auto bad_zero = hn::Or(hn::Gt(magnitude, hn::Set(di, static_cast<int32_t>(kFormat.max_finite))),
                                 hn::Eq(bits, hn::Set(di, static_cast<int32_t>(kFormat.sign))));
    valid = hn::And(valid, hn::Not(hn::Or(hn::AndNot(no_scale, outside), bad_zero)));
    const auto step_of_unit = hn::BitCast(df, hn::ShiftLeft<kIntqScaleShift>(scale));
    const auto zero_of_unit = FloatOfElements<kType>(df, element);
    hn::StoreU(step_of_unit, df, step + u);
    hn::StoreU(zero_of_unit, df, zero + u);
    ordinary =
        hn::And(ordinary, OrdinaryUnits<kType>(di, df, tile, scale, magnitude, step_of_unit, zero_of_unit));
  }
  if (!hn::AllTrue(di, valid)) return IntqUnitsKind::kInvalid;
  return hn::AllTrue(di, ordinary) ? IntqUnitsKind::kOrdinary : IntqUnitsKind::kAny;
}

IntqUnitsKind ReadUnitsSimd(const IntqTile& tile, const std::byte* scales, const std::byte* zeros,
                            float* step, float* zero) {
  switch (tile.dtype) {
    case DType::kFp16:
      return ReadUnitsOf<DType::kFp16>(tile, scales, zeros, step, zero);
    case DType::kFp8E4m3:
      return ReadUnitsOf<DType::kFp8E4m3>(tile, scales, zeros, step, zero);
    case DType::kFp8E5m2:
      return ReadUnitsOf<DType::kFp8E5m2>(tile, scales, zeros, step, zero);
    default:
      return ReadUnitsOf<DType::kBf16>(tile, scales, zeros, step, zero);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace scalar {
namespace {

uint32_t BitsAt(DType dtype, const std::byte* values, size_t i) {
  const auto low = static_cast<uint32_t>(values[i * ElementBytes(dtype)]);
  return ElementBytes(dtype) == 1 ? low : low | static_cast<uint32_t>(values[2 * i + 1]) << 8;
}

bool FindIntqRanges(const IntqTile& tile, const std::byte* values, float* min, float* max) {
  for (uint32_t u = 0; u < tile.units(); ++u) {
    min[u] = INFINITY;
    max[u] = -INFINITY;
  }
  for (uint32_t t = 0; t < tile.tokens; ++t) {
    for (uint32_t c = 0; c < tile.channels; ++c) {
      const uint32_t bits = BitsAt(tile.dtype, values, size_t{t} * tile.channels + c);
      if (!IsFinite(tile.dtype, bits)) return false;
      const float x = FloatOfBits(tile.dtype, bits) + 0.0f;  // +0 for -0
      const uint32_t u = tile.unit(t, c);
      min[u] = x < min[u] ? x : min[u];
      max[u] = x > max[u] ? x : max[u];
    }
  }
  return true;
}

IntqUnitsKind ChooseIntqUnits(const IntqTile& tile, const IntqUnits& units, std::byte* scales,
                              std::byte* zeros, bool* bound_proven) {
  bool good = true;
  *bound_proven = true;
  for (uint32_t u = 0; u < tile.units(); ++u) {
    const float range = units.max[u] - units.zero[u];
    uint32_t scale = 0;
    if (range != 0) {
      const auto bits = std::bit_cast<uint32_t>(range / static_cast<float>(tile.max_code()));
      const uint32_t half_even = (1u << (kIntqScaleShift - 1)) - 1 + ((bits >> kIntqScaleShift) & 1);
      scale = (bits + half_even) >> kIntqScaleShift;
      good &= scale >= kIntqMinScale && scale <= IntqMaxScale(tile.bits);
    }
    units.step[u] = std::bit_cast<float>(scale << kIntqScaleShift);
    units.inverse[u] = scale == 0 ? 0 : 1.0f / units.step[u];
    *bound_proven &= IntqBoundIsProven(units.zero[u], units.max[u], units.step[u]);
    const auto stored = static_cast<uint16_t>(scale);
    std::memcpy(scales + size_t{u} * 2, &stored, 2);
    ValuesOfFloats(tile.dtype, units.zero + u, 1, zeros + size_t{u} * ElementBytes(tile.dtype));
  }
  return good ? IntqUnitsKind::kAny : IntqUnitsKind::kInvalid;  // the reference makes no difference
}

IntqUnitsKind ReadIntqUnits(const IntqTile& tile, const std::byte* scales, const std::byte* zeros,
                            float* step, float* zero) {
  const FloatFormat format = FloatFormatOf(tile.dtype);
  bool valid = true;
  for (uint32_t u = 0; u < tile.units(); ++u) {
    const uint32_t scale = BitsAt(DType::kBf16, scales, u), bits = BitsAt(tile.dtype, zeros, u);
    valid &= scale == 0 || (scale >= kIntqMinScale && scale <= IntqMaxScale(tile.bits));
    valid &= IsFinite(tile.dtype, bits) && bits != format.sign;
    step[u] = std::bit_cast<float>(scale << kIntqScaleShift);
    zero[u] = FloatOfBits(tile.dtype, bits);
  }
  return valid ? IntqUnitsKind::kAny : IntqUnitsKind::kInvalid;  // the reference makes no difference
}

}  // namespace
}  // namespace scalar

HWY_EXPORT(FindRangesSimd);
HWY_EXPORT(ChooseUnitsSimd);
HWY_EXPORT(ReadUnitsSimd);

bool FindIntqRanges(const IntqTile& tile, const std::byte* values, float* min, float* max) {
  if (ScalarOnly()) return scalar::FindIntqRanges(tile, values, min, max);
  return HWY_DYNAMIC_DISPATCH(FindRangesSimd)(tile, values, min, max);
}

IntqUnitsKind ChooseIntqUnits(const IntqTile& tile, const IntqUnits& units, std::byte* scales,
                              std::byte* zeros, bool* bound_proven) {
  if (ScalarOnly()) return scalar::ChooseIntqUnits(tile, units, scales, zeros, bound_proven);
  return HWY_DYNAMIC_DISPATCH(ChooseUnitsSimd)(tile, units, scales, zeros, bound_proven);
}

IntqUnitsKind ReadIntqUnits(const IntqTile& tile, const std::byte* scales, const std::byte* zeros,
                            float* step, float* zero) {
  if (ScalarOnly()) return scalar::ReadIntqUnits(tile, scales, zeros, step, zero);
  return HWY_DYNAMIC_DISPATCH(ReadUnitsSimd)(tile, scales, zeros, step, zero);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
