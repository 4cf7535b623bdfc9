// Bits of a run of Huffman codes: the sum of their lengths, by table lookups in registers.
//
// Included by kernel sources, once for every target of foreach_target.h, before their HWY_BEFORE_NAMESPACE();
// the functions stand in kvcompd::codec::HWY_NAMESPACE. Pure functions; pointers need no alignment.
//
//   const CodeLengths lengths(book.lengths().data(), book.num_symbols());
//   uint32_t bits = lengths.Sum(codes, n);   // reads 64 bytes beyond codes + n at most
#include "hwy/highway.h"

#if defined(KVCOMPD_CODEC_SIMD_CODE_LENGTHS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_CODE_LENGTHS_INL_H_
#undef KVCOMPD_CODEC_SIMD_CODE_LENGTHS_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_CODE_LENGTHS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class CodeLengths {
 public:
  static constexpr size_t kSlackBytes = 64;  // readable behind the codes

  // lengths: 256 readable bytes, of which the first `symbols` matter. Both outlive the object.
  HWY_INLINE CodeLengths(const uint8_t* lengths, uint32_t symbols) : lengths_(lengths), symbols_(symbols) {}

  // Of n codes, each under `symbols`; n: at most 2^16.
  HWY_INLINE uint32_t Sum(const uint8_t* codes, size_t n) const {
#if HWY_TARGET <= HWY_AVX3_DL
    if (symbols_ <= 64) return SumByPermutation<1>(codes, n);
    return symbols_ <= 128 ? SumByPermutation<2>(codes, n) : SumByPermutation<4>(codes, n);
#else
    if (symbols_ <= 32) return SumByShuffles<2>(codes, n);
    return symbols_ <= 64 ? SumByShuffles<4>(codes, n) : SumByLoads(codes, n);
#endif
  }

 private:
  using D = hn::ScalableTag<uint8_t>;
  using V = hn::Vec<D>;

  template <typename Lookup>
  static HWY_INLINE uint32_t SumOf(const uint8_t* codes, size_t n, const Lookup& lookup) {
    const D d;
    const hn::Repartition<uint64_t, D> d64;
    auto sum = hn::Zero(d64);
    size_t i = 0;
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
      sum = hn::Add(sum, hn::SumsOf8(lookup(hn::LoadU(d, codes + i))));
    }
    if (i < n) {
      const auto last = hn::IfThenElseZero(hn::FirstN(d, n - i), lookup(hn::LoadU(d, codes + i)));
      sum = hn::Add(sum, hn::SumsOf8(last));
    }
    return static_cast<uint32_t>(hn::GetLane(hn::SumOfLanes(d64, sum)));
  }

#if HWY_TARGET <= HWY_AVX3_DL
  template <int kRegisters>
  HWY_INLINE uint32_t SumByPermutation(const uint8_t* codes, size_t n) const {
    const D d;
    const V first = hn::LoadU(d, lengths_);
    const V second = hn::LoadU(d, lengths_ + (kRegisters > 1 ? 64 : 0));
    const V third = hn::LoadU(d, lengths_ + (kRegisters > 2 ? 128 : 0));
    const V fourth = hn::LoadU(d, lengths_ + (kRegisters > 2 ? 192 : 0));
    return SumOf(codes, n, [=](V c) HWY_ATTR {
      if constexpr (kRegisters == 1) return V{_mm512_permutexvar_epi8(c.raw, first.raw)};
      const __m512i low = _mm512_permutex2var_epi8(first.raw, c.raw, second.raw);
      if constexpr (kRegisters == 2) return V{low};
      const __m512i high = _mm512_permutex2var_epi8(third.raw, c.raw, fourth.raw);
      return V{_mm512_mask_blend_epi8(_mm512_movepi8_mask(c.raw), low, high)};
    });
  }
#else
  // Tables of 16 lengths, of which a code is in one: the others give 0.
  template <int kTables>
  HWY_INLINE uint32_t SumByShuffles(const uint8_t* codes, size_t n) const {
    const D d;
    V tables[kTables];
    for (int k = 0; k < kTables; ++k) tables[k] = hn::LoadDup128(d, lengths_ + 16 * k);
    const auto to_high_bit = hn::Set(d, uint8_t{0x70});
    return SumOf(codes, n, [&](V c) HWY_ATTR {
      V found = hn::Zero(d);
      for (int k = 0; k < kTables; ++k) {
        // 0 to 15 stay a place in the table; what is above, also by wrapping around, gets the bit that gives
        // 0.
        const V place = hn::SaturatedAdd(hn::Sub(c, hn::Set(d, static_cast<uint8_t>(16 * k))), to_high_bit);
        found = hn::Or(found, hn::TableLookupBytesOr0(tables[k], place));
      }
      return found;
    });
  }
  HWY_INLINE uint32_t SumByLoads(const uint8_t* codes, size_t n) const {
    uint32_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += lengths_[codes[i]];
    return sum;
  }
#endif

  const uint8_t* const lengths_;
  const uint32_t symbols_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#endif  // KVCOMPD_CODEC_SIMD_CODE_LENGTHS_INL_H_
