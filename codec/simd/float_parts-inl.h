// A vector of floating-point elements taken apart into exponents, plane bytes and side bits, a byte each, and
// put together again: float_fields.h in vectors. And lists of the bytes that a mask selects.
//
// Included by kernel sources, once for every target of foreach_target.h, before their HWY_BEFORE_NAMESPACE();
// stands in kvcompd::codec::HWY_NAMESPACE. Plain values; pointers need no alignment.
//
//   auto v = RawSignVectors<DType::kFp16>::Load(values);    // ByteLanes() elements
//   v.exponent = ExpandBytes(v.exponent, escapes, list);    // list's bytes where bits of the mask are set
//   v.Store(values);
#include "codec/simd/bit_fields-inl.h"
#include "codec/simd/float_fields.h"
#include "hwy/highway.h"

#if defined(KVCOMPD_CODEC_SIMD_FLOAT_PARTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_FLOAT_PARTS_INL_H_
#undef KVCOMPD_CODEC_SIMD_FLOAT_PARTS_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_FLOAT_PARTS_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

template <int kBits>
HWY_INLINE Words RotateLeft(Words v) {
#if HWY_TARGET <= HWY_AVX3_DL
  return Words{_mm512_shldi_epi16(v.raw, v.raw, kBits)};
#else
  return hn::Or(hn::ShiftLeft<kBits>(v), hn::ShiftRight<16 - kBits>(v));
#endif
}

// Lower and upper bytes of 16-bit elements; of 8-bit ones they are the upper bytes, and the lower ones void.
template <DType kType>
HWY_INLINE void LoadHalves(const uint8_t* values, Bytes* lower, Bytes* upper) {
  if constexpr (ElementBytes(kType) == 1) {
    *upper = hn::LoadU(ByteTag(), values);
    *lower = *upper;
  } else {
    const WordTag dw;
    const auto* const from = reinterpret_cast<const uint16_t*>(values);
    auto first = hn::LoadU(dw, from), second = hn::LoadU(dw, from + hn::MaxLanes(dw));
    if constexpr (kType == DType::kBf16) {  // the sign moves below the mantissa, and the exponent is a byte
      first = RotateLeft<1>(first);
      second = RotateLeft<1>(second);
    }
    SplitBytes(first, second, lower, upper);
  }
}

template <DType kType>
HWY_INLINE void StoreHalves(Bytes lower, Bytes upper, uint8_t* values) {
  if constexpr (ElementBytes(kType) == 1) {
    hn::StoreU(upper, ByteTag(), values);
  } else {
    const WordTag dw;
    Words first, second;
    JoinBytes(lower, upper, &first, &second);
    if constexpr (kType == DType::kBf16) {
      first = RotateLeft<15>(first);
      second = RotateLeft<15>(second);
    }
    auto* const to = reinterpret_cast<uint16_t*>(values);
    hn::StoreU(first, dw, to);
    hn::StoreU(second, dw, to + hn::MaxLanes(dw));
  }
}

// SignPlace::kRaw.
template <DType kType>
struct RawSignVectors {
  // Mantissa bits in the upper byte.
  static constexpr int kUpperMantissa = FloatFormatOf(kType).man_bits % 8;
  static constexpr auto kExponentMask =
      static_cast<uint8_t>(FloatFieldsOf(kType, SignPlace::kRaw).max_exponent());
  static constexpr auto kMantissaMask = static_cast<uint8_t>((1u << kUpperMantissa) - 1);

  static HWY_INLINE RawSignVectors Load(const uint8_t* values) {
    const ByteTag d;
    RawSignVectors v;
    Bytes upper;
    LoadHalves<kType>(values, &v.plane, &upper);
    if constexpr (kType == DType::kBf16) {
      v.exponent = upper;
      v.side = upper;
    } else {
      v.exponent = ShiftRightBytes(upper, kUpperMantissa, hn::Set(d, kExponentMask));
      const auto sign =
          ShiftRightBytes(upper, 7 - kUpperMantissa, hn::Set(d, static_cast<uint8_t>(kMantissaMask + 1)));
      v.side = hn::Or(sign, hn::And(upper, hn::Set(d, kMantissaMask)));
    }
    return v;
  }

  HWY_INLINE void Store(uint8_t* values) const {
    const ByteTag d;
    if constexpr (kType == DType::kBf16) {
      StoreHalves<kType>(plane, exponent, values);
    } else {
      const auto sign = ShiftLeftBytes(side, 7 - kUpperMantissa, hn::Set(d, uint8_t{0x80}));
      const auto mantissa = hn::And(side, hn::Set(d, kMantissaMask));
      const auto middle = ShiftLeftBytes(exponent, kUpperMantissa,
                                         hn::Set(d, static_cast<uint8_t>(kExponentMask << kUpperMantissa)));
      StoreHalves<kType>(plane, hn::Or(middle, hn::Or(sign, mantissa)), values);
    }
  }

  Bytes exponent, plane, side;
};

// SignPlace::kCoded. sign: 0 or 1.
template <DType kType>
struct CodedSignVectors {
  static constexpr int kUpperMantissa = FloatFormatOf(kType).man_bits % 8;
  static constexpr auto kExponentMask =
      static_cast<uint8_t>(FloatFieldsOf(kType, SignPlace::kCoded).max_exponent());
  static constexpr auto kMantissaMask = static_cast<uint8_t>((1u << kUpperMantissa) - 1);

  static HWY_INLINE CodedSignVectors Load(const uint8_t* values) {
    const ByteTag d;
    const auto one = hn::Set(d, uint8_t{1});
    CodedSignVectors v;
    Bytes upper;
    LoadHalves<kType>(values, &v.plane, &upper);
    if constexpr (kType == DType::kBf16) {
      v.exponent = upper;
      v.sign = hn::And(v.plane, one);
      v.side = ShiftRightBytes(v.plane, 1, hn::Set(d, uint8_t{0x7f}));
    } else {
      v.exponent = ShiftRightBytes(upper, kUpperMantissa, hn::Set(d, kExponentMask));
      v.sign = ShiftRightBytes(upper, 7, one);
      v.side = hn::And(upper, hn::Set(d, kMantissaMask));
    }
    return v;
  }

  HWY_INLINE void Store(uint8_t* values) const {
    const ByteTag d;
    if constexpr (kType == DType::kBf16) {
      StoreHalves<kType>(hn::Or(hn::Add(side, side), sign), exponent, values);
    } else {
      const auto middle = ShiftLeftBytes(exponent, kUpperMantissa,
                                         hn::Set(d, static_cast<uint8_t>(kExponentMask << kUpperMantissa)));
      const auto high = ShiftLeftBytes(sign, 7, hn::Set(d, uint8_t{0x80}));
      StoreHalves<kType>(plane, hn::Or(middle, hn::Or(high, side)), values);
    }
  }

  Bytes exponent, sign, plane, side;
};

// Writes the bytes of v whose bits are set, in order, and up to kEscapeSlackBytes more; returns the place
// after them.
HWY_INLINE uint8_t* CompressBytes(Bytes v, uint64_t bits, uint8_t* to) {
#if HWY_TARGET <= HWY_AVX3_DL
  const auto count = static_cast<uint32_t>(std::popcount(bits));
  const __m512i selected = _mm512_maskz_compress_epi8(bits, v.raw);
  if (count <= 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(selected));
  } else {
    _mm512_storeu_si512(to, selected);
  }
  return to + count;
#else
  HWY_ALIGN uint8_t lanes[ByteLanes()];
  hn::Store(v, ByteTag(), lanes);
  for (; bits != 0; bits &= bits - 1) *to++ = lanes[std::countr_zero(bits)];
  return to;
#endif
}

// v with the next bytes of a list in place of those whose bits are set; reads as many as bits are set.
HWY_INLINE Bytes ExpandBytes(Bytes v, uint64_t bits, const uint8_t* list) {
#if HWY_TARGET <= HWY_AVX3_DL
  const auto count = static_cast<uint32_t>(std::popcount(bits));
  const __mmask64 present = ~uint64_t{0} >> (64 - count);
  return Bytes{_mm512_mask_expand_epi8(v.raw, bits, _mm512_maskz_loadu_epi8(present, list))};
#else
  HWY_ALIGN uint8_t lanes[ByteLanes()];
  hn::Store(v, ByteTag(), lanes);
  for (; bits != 0; bits &= bits - 1) lanes[std::countr_zero(bits)] = *list++;
  return hn::Load(ByteTag(), lanes);
#endif
}

#endif  // HWY_TARGET != HWY_SCALAR

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#endif  // KVCOMPD_CODEC_SIMD_FLOAT_PARTS_INL_H_
