// Bit strings of fields of one width, 1 to 7 bits (FORMAT.md, "Tile payload": least significant bit first), a
// vector of bytes, one field each, at a time; and bytes of two planes to 16-bit elements and back.
//
// Included by kernel sources, once for every target of foreach_target.h, before their HWY_BEFORE_NAMESPACE();
// stands in kvcompd::codec::HWY_NAMESPACE. Plain values; pointers need no alignment.
//
//   const FieldVectors fields(width);
//   const auto v = fields.Unpack(from);     // ByteLanes() fields; reads readable_bytes()
//   fields.Pack(v, to);                     // writes writable_bytes(), of which vector_bytes() are the
//   fields
#include "hwy/highway.h"

#if defined(KVCOMPD_CODEC_SIMD_BIT_FIELDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_BIT_FIELDS_INL_H_
#undef KVCOMPD_CODEC_SIMD_BIT_FIELDS_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_BIT_FIELDS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR  // which has no blocks of 128 bits

// Vectors of 512 bits pay where bytes can be permuted across them, which takes VBMI.
#if HWY_TARGET <= HWY_AVX3_DL
using ByteTag = hn::ScalableTag<uint8_t>;
#else
using ByteTag = hn::CappedTag<uint8_t, 32>;
#endif
using WordTag = hn::Repartition<uint16_t, ByteTag>;
using Bytes = hn::Vec<ByteTag>;
using Words = hn::Vec<WordTag>;

HWY_INLINE constexpr size_t ByteLanes() { return hn::MaxLanes(ByteTag()); }

// Bits shift right within each byte; mask: 0xff >> bits, or less, in every byte.
HWY_INLINE Bytes ShiftRightBytes(Bytes v, int bits, Bytes mask) {
  return hn::And(hn::BitCast(ByteTag(), hn::ShiftRightSame(hn::BitCast(WordTag(), v), bits)), mask);
}
// Left; mask: what may be set after it.
HWY_INLINE Bytes ShiftLeftBytes(Bytes v, int bits, Bytes mask) {
  return hn::And(hn::BitCast(ByteTag(), hn::ShiftLeftSame(hn::BitCast(WordTag(), v), bits)), mask);
}

HWY_INLINE uint64_t BitsOfMask(hn::Mask<ByteTag> mask) {
#if HWY_TARGET <= HWY_AVX3
  return static_cast<uint64_t>(mask.raw);
#else
  uint64_t bits = 0;
  hn::StoreMaskBits(ByteTag(), mask, reinterpret_cast<uint8_t*>(&bits));
  return bits;
#endif
}

#if HWY_TARGET <= HWY_AVX3_DL
// Where the bytes of two vectors come from, in a pair of vectors.
struct PairOrder {
  alignas(64) uint8_t at[2][64];
};
constexpr PairOrder JoinOrder() {
  PairOrder order{};
  for (int i = 0; i < 128; ++i) order.at[i / 64][i % 64] = static_cast<uint8_t>(i / 2 + i % 2 * 64);
  return order;
}
constexpr PairOrder SplitOrder() {
  PairOrder order{};
  for (int i = 0; i < 128; ++i) order.at[i / 64][i % 64] = static_cast<uint8_t>(2 * (i % 64) + i / 64);
  return order;
}
inline constexpr PairOrder kJoinOrder = JoinOrder();
inline constexpr PairOrder kSplitOrder = SplitOrder();
#endif

// Two vectors of 16-bit elements from their lower and upper bytes.
HWY_INLINE void JoinBytes(Bytes lower, Bytes upper, Words* first, Words* second) {
  const ByteTag d;
#if HWY_TARGET <= HWY_AVX3_DL
  *first = Words{_mm512_permutex2var_epi8(lower.raw, hn::Load(d, kJoinOrder.at[0]).raw, upper.raw)};
  *second = Words{_mm512_permutex2var_epi8(lower.raw, hn::Load(d, kJoinOrder.at[1]).raw, upper.raw)};
#else
  const WordTag dw;
  const auto low = hn::InterleaveLower(d, lower, upper), high = hn::InterleaveUpper(d, lower, upper);
#if HWY_TARGET <= HWY_AVX2
  *first = hn::BitCast(dw, hn::ConcatLowerLower(d, high, low));
  *second = hn::BitCast(dw, hn::ConcatUpperUpper(d, high, low));
#else
  *first = hn::BitCast(dw, low);
  *second = hn::BitCast(dw, high);
#endif
#endif
}

// The inverse.
HWY_INLINE void SplitBytes(Words first, Words second, Bytes* lower, Bytes* upper) {
  const ByteTag d;
#if HWY_TARGET <= HWY_AVX3_DL
  *lower = Bytes{_mm512_permutex2var_epi8(first.raw, hn::Load(d, kSplitOrder.at[0]).raw, second.raw)};
  *upper = Bytes{_mm512_permutex2var_epi8(first.raw, hn::Load(d, kSplitOrder.at[1]).raw, second.raw)};
#else
  const auto a = hn::BitCast(d, first), b = hn::BitCast(d, second);
  *lower = hn::ConcatEven(d, b, a);
  *upper = hn::ConcatOdd(d, b, a);
#endif
}

// How the bytes of a vector's fields move, for fields of one width.
struct FieldOrder {
  alignas(64) uint8_t spread[64];  // from a bit string to 64 bits for every 8 fields
  alignas(64) uint8_t gather[64];  // back
  alignas(64) uint8_t shifts[64];  // where a field begins in its 64 bits
};
struct FieldOrders {
  FieldOrder of_width[8];
};
constexpr FieldOrders MakeFieldOrders() {
  FieldOrders orders{};
  // Bytes move within the whole vector, or within blocks of 16.
  const uint32_t block = HWY_TARGET <= HWY_AVX3_DL ? 64 : 16;
  for (uint32_t width = 1; width < 8; ++width) {
    FieldOrder& order = orders.of_width[width];
    for (uint32_t i = 0; i < 64; ++i) {
      const uint32_t at = i % block;
      order.spread[i] = static_cast<uint8_t>(i % 8 < width ? at / 8 * width + i % 8 : 0x80);
      order.gather[i] = static_cast<uint8_t>(at < block / 8 * width ? at / width * 8 + at % width : 0x80);
      order.shifts[i] = static_cast<uint8_t>(i % 8 * width);
    }
  }
  return orders;
}
inline constexpr FieldOrders kFieldOrders = MakeFieldOrders();

class FieldVectors {
 public:
  // width: 1 to 7.
  explicit FieldVectors(uint32_t width)
      : width_(width),
        spread_(hn::Load(ByteTag(), kFieldOrders.of_width[width].spread)),
        gather_(hn::Load(ByteTag(), kFieldOrders.of_width[width].gather)),
        shifts_(hn::Load(ByteTag(), kFieldOrders.of_width[width].shifts)),
        mask_(hn::Set(ByteTag(), static_cast<uint8_t>((1u << width) - 1))) {}

  // Bytes of a vector's fields.
  size_t vector_bytes() const { return ByteLanes() / 8 * width_; }
  size_t read_bytes() const { return ByteLanes() == 64 ? vector_bytes() : vector_bytes() - 2 * width_ + 16; }
  size_t write_bytes() const { return ByteLanes() == 64 ? (width_ <= 4 ? 32 : 64) : read_bytes(); }

  HWY_INLINE Bytes Unpack(const uint8_t* from) const {
#if HWY_TARGET <= HWY_AVX3_DL
    const __mmask64 present = (uint64_t{1} << vector_bytes()) - 1;
    const __m512i bytes = _mm512_permutexvar_epi8(spread_.raw, _mm512_maskz_loadu_epi8(present, from));
    return hn::And(Bytes{_mm512_multishift_epi64_epi8(shifts_.raw, bytes)}, mask_);
#else
    const ByteTag d;
    const auto w = static_cast<int>(width_);
    const auto bytes = hn::TableLookupBytesOr0(LoadBlocks(from), spread_);
    const hn::Repartition<uint64_t, ByteTag> d64;
    const hn::Repartition<uint32_t, ByteTag> d32;
    const WordTag d16;
    // Halves the run of bits in each step: 8 fields in 64 bits, 4 in 32, 2 in 16.
    const auto v64 = hn::BitCast(d64, bytes);
    const auto m64 = hn::Set(d64, (uint64_t{1} << 4 * w) - 1);
    const auto v32 =
        hn::BitCast(d32, hn::Or(hn::And(v64, m64), hn::ShiftLeft<32>(hn::ShiftRightSame(v64, 4 * w))));
    const auto m32 = hn::Set(d32, (1u << 2 * w) - 1);
    const auto v16 =
        hn::BitCast(d16, hn::Or(hn::And(v32, m32), hn::ShiftLeft<16>(hn::ShiftRightSame(v32, 2 * w))));
    const auto m16 = hn::Set(d16, static_cast<uint16_t>((1u << w) - 1));
    return hn::And(hn::BitCast(d, hn::Or(hn::And(v16, m16), hn::ShiftLeft<8>(hn::ShiftRightSame(v16, w)))),
                   mask_);
#endif
  }

  // v: under 1 << width.
  HWY_INLINE void Pack(Bytes v, uint8_t* to) const {
    const hn::Repartition<uint64_t, ByteTag> d64;
    const hn::Repartition<uint32_t, ByteTag> d32;
    const auto w = static_cast<int>(width_);
#if HWY_TARGET <= HWY_AVX3_DL
    // Sums of two products each: the second field moves up by its multiplier.
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi16(static_cast<int16_t>(1 | 256 << w)), v.raw);
    const __m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(1 | 65536 << 2 * w));
    const auto v64 = hn::BitCast(d64, hn::Vec<decltype(d32)>{fours});
#else
    const WordTag d16;
    const auto v16 = hn::BitCast(d16, v);
    const auto v32 = hn::BitCast(d32, hn::Or(hn::And(v16, hn::Set(d16, uint16_t{0xff})),
                                             hn::ShiftLeftSame(hn::ShiftRight<8>(v16), w)));
    const auto v64 = hn::BitCast(
        d64, hn::Or(hn::And(v32, hn::Set(d32, 0xffffu)), hn::ShiftLeftSame(hn::ShiftRight<16>(v32), 2 * w)));
#endif
    const auto bits = hn::BitCast(ByteTag(), hn::Or(hn::And(v64, hn::Set(d64, uint64_t{0xffffffff})),
                                                    hn::ShiftLeftSame(hn::ShiftRight<32>(v64), 4 * w)));
#if HWY_TARGET <= HWY_AVX3_DL
    const __m512i packed = _mm512_permutexvar_epi8(gather_.raw, bits.raw);
    if (width_ <= 4) {  // half a store is half the time
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(packed));
    } else {
      _mm512_storeu_si512(to, packed);
    }
#else
    StoreBlocks(hn::TableLookupBytesOr0(bits, gather_), to);
#endif
  }

 private:
#if HWY_TARGET > HWY_AVX3_DL
  // 16 fields a block of 16 bytes, of which 2 * width count.
  HWY_INLINE Bytes LoadBlocks(const uint8_t* from) const {
    const hn::CappedTag<uint8_t, 16> block;
#if HWY_TARGET <= HWY_AVX2
    return hn::Combine(ByteTag(), hn::LoadU(block, from + 2 * size_t{width_}), hn::LoadU(block, from));
#else
    return hn::LoadU(block, from);
#endif
  }
  HWY_INLINE void StoreBlocks(Bytes v, uint8_t* to) const {
    const hn::CappedTag<uint8_t, 16> block;
#if HWY_TARGET <= HWY_AVX2
    hn::StoreU(hn::LowerHalf(block, v), block, to);
    hn::StoreU(hn::UpperHalf(block, v), block, to + 2 * size_t{width_});
#else
    hn::StoreU(v, block, to);
#endif
  }
#endif

  uint32_t width_;
  Bytes spread_, gather_, shifts_, mask_;
};

#endif  // HWY_TARGET != HWY_SCALAR

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#endif  // KVCOMPD_CODEC_SIMD_BIT_FIELDS_INL_H_
