#include "codec/simd/rans_lanes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/rans_lanes.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "hwy/highway.h"
// clang-format on

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "codec/simd/targets.h"

#ifndef KVCOMPD_CODEC_SIMD_RANS_LANES_CC_
#define KVCOMPD_CODEC_SIMD_RANS_LANES_CC_
namespace kvcompd::codec {

using RansDecodeTables = RansLaneTables<uint32_t>;
using RansEncodeTables = RansLaneTables<RansEncoding>;

// One symbol of one lane; *word moves on where the state takes one, whether there is one or not.
inline uint8_t DecodeRansSymbol(const RansDecodeTables& tables, uint32_t offset, const std::byte* words,
                                uint32_t num_words, uint32_t* word, uint32_t* state) {
  const uint32_t slot = *state & ((1u << tables.prob_bits) - 1);
  const uint32_t entry = tables.entries[offset + slot];
  uint32_t x = (entry & 0xfff) * (*state >> tables.prob_bits) + (entry >> 12 & 0xfff);
  if (x < 1u << kRansStateBits) {
    uint16_t next = 0;
    if (*word < num_words) std::memcpy(&next, words + size_t{*word} * 2, sizeof next);
    ++*word;
    x = x << 16 | next;
  }
  *state = x;
  return static_cast<uint8_t>(entry >> 24);
}

inline void EncodeRansSymbol(const RansEncodeTables& tables, uint32_t index, std::byte** words,
                             uint32_t* state) {
  const RansEncoding& e = tables.entries[index];
  const uint32_t frequency = e.packed & 0xfff;
  uint32_t x = *state;
  if (x >= frequency << (kRansStateBits + 16 - tables.prob_bits)) {
    const auto low = static_cast<uint16_t>(x);
    *words -= 2;
    std::memcpy(*words, &low, sizeof low);
    x >>= 16;
  }
  const auto quotient = static_cast<uint32_t>((uint64_t{x} * e.reciprocal) >> (28 + (e.packed >> 24)));
  *state = (quotient << tables.prob_bits) + (x - quotient * frequency) + (e.packed >> 12 & 0xfff);
}

}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_RANS_LANES_CC_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX2  // below, there are no gathers

using LaneTag = hn::ScalableTag<uint32_t>;
using Lanes32 = hn::Vec<LaneTag>;
constexpr uint32_t kVectorLanes = hn::MaxLanes(LaneTag());
constexpr uint32_t kVectors = kMaxRansLanes / kVectorLanes;

#if HWY_TARGET > HWY_AVX3
// [mask][lane]: which of the next words a lane takes, the first set lane the first.
struct ExpandOrder {
  alignas(8) uint8_t of_mask[256][8];
};
constexpr ExpandOrder MakeExpandOrder() {
  ExpandOrder order{};
  for (uint32_t mask = 0; mask < 256; ++mask) {
    uint8_t next = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1) != 0) order.of_mask[mask][lane] = next++;
    }
  }
  return order;
}
inline constexpr ExpandOrder kExpandOrder = MakeExpandOrder();
#endif

// States that are too small take the next words, in the order of lanes. Reads kVectorLanes words; returns how
// many were taken.
HWY_INLINE uint32_t TakeWords(const std::byte* words, Lanes32* x) {
  const LaneTag d;
  const hn::Rebind<int32_t, LaneTag> di;
  const auto limit = hn::Set(di, int32_t{1} << kRansStateBits);  // states are below 2^28
  const auto small = hn::Lt(hn::BitCast(di, *x), limit);
#if HWY_TARGET <= HWY_AVX3
  const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  const __m512i taken = _mm512_maskz_expand_epi32(small.raw, next);
  x->raw = _mm512_mask_or_epi32(x->raw, small.raw, hn::ShiftLeft<16>(*x).raw, taken);
  return static_cast<uint32_t>(std::popcount(static_cast<uint32_t>(small.raw)));
#else
  const auto mask = static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_castsi256_ps(hn::BitCast(d, hn::VecFromMask(di, small)).raw)));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpandOrder.of_mask[mask])));
  const Lanes32 taken{_mm256_permutevar8x32_epi32(next, order)};
  *x = hn::IfThenElse(hn::RebindMask(d, small), hn::Or(hn::ShiftLeft<16>(*x), taken), *x);
  return static_cast<uint32_t>(std::popcount(mask));
#endif
}

HWY_INLINE void StoreSymbols(Lanes32 entries, uint8_t* symbols) {
  const auto bytes = hn::ShiftRight<24>(entries);
#if HWY_TARGET <= HWY_AVX3
  _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols), _mm512_cvtepi32_epi8(bytes.raw));
#else
  const hn::Rebind<uint8_t, LaneTag> d8;
  hn::StoreU(hn::U8FromU32(bytes), d8, symbols);
#endif
}

// One symbol of each lane; returns the words taken. Reads kMaxRansLanes words.
HWY_INLINE uint32_t DecodeStep(const RansDecodeTables& tables, const uint32_t* offsets,
                               const std::byte* words, Lanes32* x, uint8_t* symbols) {
  const LaneTag d;
  const hn::Rebind<int32_t, LaneTag> di;
  const auto slots = hn::Set(d, (1u << tables.prob_bits) - 1);
  const auto field = hn::Set(d, 0xfffu);
  Lanes32 entries[kVectors];
  for (uint32_t v = 0; v < kVectors; ++v) {
    const auto index = hn::Add(hn::And(x[v], slots), hn::LoadU(d, offsets + v * kVectorLanes));
    entries[v] = hn::GatherIndex(d, tables.entries, hn::BitCast(di, index));
  }
  uint32_t taken = 0;
  for (uint32_t v = 0; v < kVectors; ++v) {
    const auto high = hn::ShiftRightSame(x[v], static_cast<int>(tables.prob_bits));
    x[v] = hn::Add(hn::Mul(hn::And(entries[v], field), high), hn::And(hn::ShiftRight<12>(entries[v]), field));
    taken += TakeWords(words + size_t{taken} * 2, &x[v]);
    StoreSymbols(entries[v], symbols + v * kVectorLanes);
  }
  return taken;
}

// Whole steps; the rest is the caller's. Returns the words taken.
uint32_t DecodeSimd(const RansDecodeTables& tables, const std::byte* words, uint32_t num_words,
                    uint32_t* states, uint8_t* symbols, uint32_t steps) {
  const LaneTag d;
  const uint32_t advance = kMaxRansLanes % tables.period;
  Lanes32 x[kVectors];
  for (uint32_t v = 0; v < kVectors; ++v) x[v] = hn::LoadU(d, states + v * kVectorLanes);
  uint32_t word = 0, position = 0, step = 0;
  const auto decode = [&](const std::byte* from) HWY_ATTR {
    word += DecodeStep(tables, tables.offsets + position, from, x, symbols + size_t{step} * kMaxRansLanes);
    position += advance;
    if (position >= tables.period) position -= tables.period;
    ++step;
  };
  while (step < steps && word + kMaxRansLanes <= num_words) decode(words + size_t{word} * 2);
  // The last words go through a buffer that may be read beyond them. What a corrupt stream takes beyond its
  // words is 0.
  std::array<std::byte, 4 * kMaxRansLanes> last{};
  const uint32_t first = std::min(word, num_words);
  std::memcpy(last.data(), words + size_t{first} * 2, size_t{num_words - first} * 2);
  while (step < steps) decode(last.data() + size_t{std::min(word - first, kMaxRansLanes)} * 2);
  for (uint32_t v = 0; v < kVectors; ++v) hn::StoreU(x[v], d, states + v * kVectorLanes);
  return word;
}

#else   // HWY_TARGET > HWY_AVX2
uint32_t DecodeSimd(const RansDecodeTables&, const std::byte*, uint32_t, uint32_t*, uint8_t*, uint32_t) {
  return UINT32_MAX;
}
#endif  // HWY_TARGET <= HWY_AVX2
bool DecodesBySimd() { return HWY_TARGET <= HWY_AVX2; }

#if HWY_TARGET <= HWY_AVX3

// One symbol of each of 16 lanes; returns the place of the words that it wrote, before `words`.
HWY_INLINE std::byte* EncodeVector(const RansEncodeTables& tables, const uint32_t* offsets,
                                   const uint8_t* symbols, std::byte* words, __m512i* x) {
  const __m512i field = _mm512_set1_epi32(0xfff);
  const __m512i symbol = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(symbols)));
  const __m512i index = _mm512_add_epi32(symbol, _mm512_loadu_si512(offsets));
  const auto* const entries = reinterpret_cast<const int*>(tables.entries);
  const __m512i reciprocal = _mm512_i32gather_epi32(index, entries, 8);
  const __m512i packed = _mm512_i32gather_epi32(index, entries + 1, 8);
  const __m512i frequency = _mm512_and_si512(packed, field);
  const __m512i limit = _mm512_sll_epi32(
      frequency, _mm_cvtsi32_si128(static_cast<int>(kRansStateBits + 16 - tables.prob_bits)));
  const __mmask16 large = _mm512_cmpge_epu32_mask(*x, limit);
  const auto count = static_cast<uint32_t>(std::popcount(static_cast<uint32_t>(large)));
  // The words end where those of the step after begin; what a whole vector writes before them is written
  // over.
  const __m256i compressed = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(large, *x));
  const __m256i order =
      _mm256_add_epi16(_mm256_set1_epi16(static_cast<int16_t>(count)),
                       _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words - 32), _mm256_permutexvar_epi16(order, compressed));
  words -= size_t{count} * 2;
  *x = _mm512_mask_srli_epi32(*x, large, *x, 16);
  // The upper halves of the products (x << 4) * reciprocal.
  const __m512i scaled = _mm512_slli_epi32(*x, 4);
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(scaled, reciprocal), 32);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(scaled, 32), _mm512_srli_epi64(reciprocal, 32));
  const __m512i product = _mm512_mask_blend_epi32(0xaaaa, even, odd);
  const __m512i quotient = _mm512_srlv_epi32(product, _mm512_srli_epi32(packed, 24));
  const __m512i rest = _mm512_sub_epi32(*x, _mm512_mullo_epi32(quotient, frequency));
  const __m512i start = _mm512_and_si512(_mm512_srli_epi32(packed, 12), field);
  *x = _mm512_add_epi32(_mm512_sll_epi32(quotient, _mm_cvtsi32_si128(static_cast<int>(tables.prob_bits))),
                        _mm512_add_epi32(rest, start));
  return words;
}

// Whole steps from the last to the first, of which step `steps - 1` begins at `position` of the period.
std::byte* EncodeSimd(const RansEncodeTables& tables, const uint8_t* symbols, uint32_t steps,
                      uint32_t* states, std::byte* words) {
  const uint32_t advance = kMaxRansLanes % tables.period;
  uint32_t position = static_cast<uint32_t>((uint64_t{steps} * kMaxRansLanes) % tables.period);
  __m512i low = _mm512_loadu_si512(states), high = _mm512_loadu_si512(states + 16);
  for (uint32_t step = steps; step-- > 0;) {
    position = position < advance ? position + tables.period - advance : position - advance;
    const uint8_t* const from = symbols + size_t{step} * kMaxRansLanes;
    const uint32_t* const offsets = tables.offsets + position;
    words = EncodeVector(tables, offsets + 16, from + 16, words, &high);
    words = EncodeVector(tables, offsets, from, words, &low);
  }
  _mm512_storeu_si512(states, low);
  _mm512_storeu_si512(states + 16, high);
  return words;
}

#else   // HWY_TARGET > HWY_AVX3
std::byte* EncodeSimd(const RansEncodeTables&, const uint8_t*, uint32_t, uint32_t*, std::byte* words) {
  return words;
}
#endif  // HWY_TARGET <= HWY_AVX3
bool EncodesBySimd() { return HWY_TARGET <= HWY_AVX3; }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {

HWY_EXPORT(DecodeSimd);
HWY_EXPORT(DecodesBySimd);
HWY_EXPORT(EncodeSimd);
HWY_EXPORT(EncodesBySimd);

uint32_t DecodeRansLanes(uint32_t lanes, const RansLaneTables<uint32_t>& tables, const std::byte* words,
                         uint32_t num_words, uint32_t* states, uint8_t* symbols, uint32_t n) {
  uint32_t word = 0, i = 0;
  if (lanes == kMaxRansLanes && !ScalarOnly() && HWY_DYNAMIC_DISPATCH(DecodesBySimd)()) {
    word = HWY_DYNAMIC_DISPATCH(DecodeSimd)(tables, words, num_words, states, symbols, n / lanes);
    i = n / lanes * lanes;
  }
  for (uint32_t position = i % tables.period; i < n; ++i) {
    symbols[i] =
        DecodeRansSymbol(tables, tables.offsets[position], words, num_words, &word, &states[i % lanes]);
    position = position + 1 == tables.period ? 0 : position + 1;
  }
  return word;
}

uint32_t EncodeRansLanes(uint32_t lanes, const RansLaneTables<RansEncoding>& tables, const uint8_t* symbols,
                         uint32_t n, uint32_t* states, std::byte* words_end) {
  std::byte* words = words_end;
  const bool simd = lanes == kMaxRansLanes && !ScalarOnly() && HWY_DYNAMIC_DISPATCH(EncodesBySimd)();
  const uint32_t whole = simd ? n / lanes * lanes : 0;
  uint32_t position = n % tables.period;
  for (uint32_t i = n; i-- > whole;) {
    position = position == 0 ? tables.period - 1 : position - 1;
    EncodeRansSymbol(tables, tables.offsets[position] + symbols[i], &words, &states[i % lanes]);
  }
  if (simd) words = HWY_DYNAMIC_DISPATCH(EncodeSimd)(tables, symbols, whole / lanes, states, words);
  return static_cast<uint32_t>((words_end - words) / 2);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
