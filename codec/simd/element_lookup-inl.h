// Elements of 8 or 16 bits by their code, from a table of at most 128 that stands in registers.
//
// Included by kernel sources, once for every target of foreach_target.h, before their HWY_BEFORE_NAMESPACE();
// the functions stand in kvcompd::codec::HWY_NAMESPACE. Pure functions; pointers need no alignment.
//
//   if (CanLookUpElements<T>(symbols)) LookUpElements(table, symbols, codes, n, out);
#include "hwy/highway.h"

#if defined(KVCOMPD_CODEC_SIMD_ELEMENT_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMPD_CODEC_SIMD_ELEMENT_LOOKUP_INL_H_
#undef KVCOMPD_CODEC_SIMD_ELEMENT_LOOKUP_INL_H_
#else
#define KVCOMPD_CODEC_SIMD_ELEMENT_LOOKUP_INL_H_
#endif

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

#if HWY_TARGET <= HWY_AVX3

// T: the element, uint8_t or uint16_t.
template <typename T>
HWY_INLINE constexpr bool CanLookUpElements(uint32_t symbols) {
  return symbols <= 128 && (sizeof(T) == 2 || HWY_TARGET <= HWY_AVX3_DL);
}

// A table of as many registers as `kSymbols` elements take.
template <uint32_t kSymbols>
struct TableOf16 {
  TableOf16() = default;
  HWY_INLINE explicit TableOf16(const uint16_t* table) {
    for (uint32_t k = 0; k < kSymbols / 32; ++k) part[k] = _mm512_loadu_si512(table + 32 * k);
  }
  HWY_INLINE __m512i operator()(__m512i code) const {
    if constexpr (kSymbols == 32) return _mm512_permutexvar_epi16(code, part[0]);
    const __m512i low = _mm512_permutex2var_epi16(part[0], code, part[1]);
    if constexpr (kSymbols == 64) return low;
    const __m512i high = _mm512_permutex2var_epi16(part[2], code, part[3]);
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(code, _mm512_set1_epi16(64)), low, high);
  }
  __m512i part[4];
};

template <uint32_t kSymbols>
HWY_INLINE void LookUpElementsOf(const uint16_t* table, const uint8_t* codes, size_t n, uint16_t* out) {
  const TableOf16<kSymbols> elements(table);
  for (size_t i = 0; i < n; i += 32) {
    const __m512i code =
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i)));
    const __mmask32 mask = n - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    _mm512_mask_storeu_epi16(out + i, mask, elements(code));
  }
}
template <uint32_t kSymbols>
HWY_INLINE void LookUpElementsOf(const uint8_t* table, const uint8_t* codes, size_t n, uint8_t* out) {
#if HWY_TARGET <= HWY_AVX3_DL
  const __m512i low = _mm512_loadu_si512(table);
  const __m512i high = _mm512_loadu_si512(table + (kSymbols > 64 ? 64 : 0));
  for (size_t i = 0; i < n; i += 64) {
    const __m512i code = _mm512_loadu_si512(codes + i);
    const __mmask64 mask = n - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (n - i)) - 1;
    _mm512_mask_storeu_epi8(
        out + i, mask,
        kSymbols > 64 ? _mm512_permutex2var_epi8(low, code, high) : _mm512_permutexvar_epi8(code, low));
  }
#else
  (void)table, (void)codes, (void)n, (void)out;  // CanLookUpElements is false
#endif
}

// out[i] = table[codes[i]], i < n; `symbols` elements of the table's 128 are looked at, and 64 bytes of codes
// beyond n at most. Writes exactly n elements.
template <typename T>
HWY_INLINE void LookUpElements(const T* table, uint32_t symbols, const uint8_t* codes, size_t n, T* out) {
  if (symbols <= 32) return LookUpElementsOf<32>(table, codes, n, out);
  if (symbols <= 64) return LookUpElementsOf<64>(table, codes, n, out);
  return LookUpElementsOf<128>(table, codes, n, out);
}

#else  // no permutations of more than 16 bytes

template <typename T>
HWY_INLINE constexpr bool CanLookUpElements(uint32_t) {
  return false;
}
template <typename T>
HWY_INLINE void LookUpElements(const T*, uint32_t, const uint8_t*, size_t, T*) {}

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#endif  // KVCOMPD_CODEC_SIMD_ELEMENT_LOOKUP_INL_H_
