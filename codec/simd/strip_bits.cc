#include "codec/simd/strip_bits.h"

#include <algorithm>
#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/strip_bits.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "codec/simd/targets.h"
#include "hwy/highway.h"

#ifndef KVCOMPD_CODEC_SIMD_STRIP_BITS_SHARED_
#define KVCOMPD_CODEC_SIMD_STRIP_BITS_SHARED_
namespace kvcompd::codec {

inline uint64_t LoadWord(const std::byte* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

inline void StoreWord(uint64_t word, std::byte* at) { std::memcpy(at, &word, sizeof word); }

// The low `width` bits of each byte.
constexpr uint64_t LowBitsOfBytes(uint32_t width) { return 0x0101010101010101u * ((1u << width) - 1); }

namespace scalar {
namespace {

void UnpackClasses(const std::byte* bits, uint32_t index_bits, size_t channels, uint8_t* class_of) {
  for (size_t c = 0; c < channels; ++c) {
    const size_t at = c * index_bits;
    class_of[c] = static_cast<uint8_t>(LoadWord(bits + at / 8) >> (at % 8) & ((1u << index_bits) - 1));
  }
}

void PackClassNumbers(const uint8_t* class_of, uint32_t index_bits, size_t channels, std::byte* out) {
  std::memset(out, 0, (channels * index_bits + 7) / 8);
  for (size_t bit = 0; bit < channels * index_bits; ++bit) {
    const uint32_t set = class_of[bit / index_bits] >> (bit % index_bits) & 1u;
    out[bit / 8] |= static_cast<std::byte>(set << bit % 8);
  }
}

uint64_t StripBits(const StripFormat& format, const uint8_t* class_of, size_t channels) {
  uint64_t bits = 0;
  for (size_t c = 0; c < channels; ++c) bits += format.field_bits[class_of[c]];
  return bits;
}

void UnpackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels, const std::byte* bits,
                 uint64_t*, uint8_t* codes) {
  const size_t stride = StripStride(channels);
  uint64_t at = 0;
  for (size_t c = 0; c < channels; ++c) {
    const uint32_t k = class_of[c], width = format.widths[k];
    uint64_t field = LoadWord(bits + at / 8) >> (at % 8);
    for (uint32_t t = 0; t < format.tokens; ++t) {
      const uint64_t code = (field & ((1u << width) - 1)) + (format.bases[k] & 0xff);
      codes[t * stride + c] = static_cast<uint8_t>(code);
      field >>= width;
    }
    at += format.field_bits[k];
  }
}

void PackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels,
               const uint8_t* const* rows, uint64_t*, std::byte* out) {
  std::memset(out, 0, (scalar::StripBits(format, class_of, channels) + 7) / 8);
  uint64_t at = 0;
  for (size_t c = 0; c < channels; ++c) {
    const uint32_t k = class_of[c];
    uint64_t bit = at;
    for (uint32_t t = 0; t < format.tokens; ++t) {
      const uint64_t code = rows[t][c] - (format.bases[k] & 0xff);
      for (uint32_t i = 0; i < format.widths[k]; ++i, ++bit) {
        out[bit / 8] |= static_cast<std::byte>((code >> i & 1) << bit % 8);
      }
    }
    at += format.field_bits[k];
  }
}

}  // namespace
}  // namespace scalar

}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_STRIP_BITS_SHARED_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR
using namespace scalar;  // NOLINT(google-build-using-namespace): what stands above, under this target's name
#else
namespace hn = hwy::HWY_NAMESPACE;

// `width` bits of each byte that `mask` has, to or from consecutive bits.
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE uint64_t SpreadBits(uint64_t bits, uint32_t, uint64_t mask) { return _pdep_u64(bits, mask); }
HWY_INLINE uint64_t GatherBits(uint64_t bytes, uint32_t, uint64_t mask) { return _pext_u64(bytes, mask); }
#else
HWY_INLINE uint64_t SpreadBits(uint64_t bits, uint32_t width, uint64_t mask) {
  uint64_t bytes = 0;
  for (uint32_t t = 0; t < 8; ++t) bytes |= ((bits >> (t * width)) & 0xff) << (8 * t);
  return bytes & mask;
}
HWY_INLINE uint64_t GatherBits(uint64_t bytes, uint32_t width, uint64_t mask) {
  bytes &= mask;
  uint64_t bits = 0;
  for (uint32_t t = 0; t < 8; ++t) bits |= ((bytes >> (8 * t)) & 0xff) << (t * width);
  return bits;
}
#endif

void UnpackClasses(const std::byte* bits, uint32_t index_bits, size_t channels, uint8_t* class_of) {
  const uint64_t mask = LowBitsOfBytes(index_bits);
  for (size_t c = 0; c < channels; c += 8, bits += index_bits) {
    const uint64_t numbers = SpreadBits(LoadWord(bits), index_bits, mask);
    std::memcpy(class_of + c, &numbers, 8);
  }
}

void PackClassNumbers(const uint8_t* class_of, uint32_t index_bits, size_t channels, std::byte* out) {
  const uint64_t mask = LowBitsOfBytes(index_bits);
  for (size_t c = 0; c < channels; c += 8, out += index_bits) {
    uint64_t numbers;
    std::memcpy(&numbers, class_of + c, 8);
    const uint64_t packed = GatherBits(numbers, index_bits, mask);
    std::memcpy(out, &packed, (std::min<size_t>(channels - c, 8) * index_bits + 7) / 8);
  }
}

uint64_t StripBits(const StripFormat& format, const uint8_t* class_of, size_t channels) {
  const hn::FixedTag<uint8_t, 16> d;
  const hn::Repartition<uint64_t, decltype(d)> d64;
  const auto table = hn::LoadU(d, format.field_bits.data());
  auto sums = hn::Zero(d64);
  size_t c = 0;
  for (; c + 16 <= channels; c += 16) {
    sums = hn::Add(sums, hn::SumsOf8(hn::TableLookupBytes(table, hn::LoadU(d, class_of + c))));
  }
  uint64_t bits = hn::GetLane(hn::SumOfLanes(d64, sums));
  for (; c < channels; ++c) bits += format.field_bits[class_of[c]];
  return bits;
}

// Eight rows of sixteen bytes to sixteen words of eight bytes: word c has byte c of each row, row 0's lowest.
HWY_INLINE void RowsToWords(const uint8_t* const* rows, size_t column, uint64_t* words) {
  const hn::FixedTag<uint8_t, 16> d;
  const hn::Repartition<uint16_t, decltype(d)> d16;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const auto row = [&](size_t r) { return hn::LoadU(d, rows[r] + column); };
  const auto pairs = [&](size_t r, auto* low, auto* high) {  // of rows r and r + 1, as 16-bit lanes
    const auto a = row(r), b = row(r + 1);
    *low = hn::BitCast(d16, hn::InterleaveLower(d, a, b));
    *high = hn::BitCast(d16, hn::InterleaveUpper(d, a, b));
  };
  hn::Vec<decltype(d16)> l01, h01, l23, h23, l45, h45, l67, h67;
  pairs(0, &l01, &h01);
  pairs(2, &l23, &h23);
  pairs(4, &l45, &h45);
  pairs(6, &l67, &h67);
  const auto store = [&](const auto& a, const auto& b, uint64_t* out) {  // 4 rows each, as 32-bit lanes
    const hn::Repartition<uint64_t, decltype(d)> d64;
    hn::StoreU(hn::BitCast(d64, hn::InterleaveLower(d32, a, b)), d64, out);
    hn::StoreU(hn::BitCast(d64, hn::InterleaveUpper(d32, a, b)), d64, out + 2);
  };
  const auto low = [&](const auto& a, const auto& b) {
    return hn::BitCast(d32, hn::InterleaveLower(d16, a, b));
  };
  const auto high = [&](const auto& a, const auto& b) {
    return hn::BitCast(d32, hn::InterleaveUpper(d16, a, b));
  };
  store(low(l01, l23), low(l45, l67), words);
  store(high(l01, l23), high(l45, l67), words + 4);
  store(low(h01, h23), low(h45, h67), words + 8);
  store(high(h01, h23), high(h45, h67), words + 12);
}

// The inverse. out: row r at out + r * stride.
HWY_INLINE void WordsToRows(const uint64_t* words, uint8_t* out, size_t stride) {
  const hn::FixedTag<uint8_t, 16> d;
  const hn::Repartition<uint64_t, decltype(d)> d64;
  const auto load = [&](size_t c) { return hn::BitCast(d, hn::LoadU(d64, words + c)); };
  // Bytes of words 2i and 2i+1 lie 8 apart; three rounds of interleaving with the vector half the words away
  // bring equal rows together.
  hn::Vec<decltype(d)> a[8];
  for (size_t i = 0; i < 4; ++i) {
    const auto x = load(2 * i), y = load(2 * i + 8);
    a[2 * i] = hn::InterleaveLower(d, x, y);      // word 2i with word 2i+8
    a[2 * i + 1] = hn::InterleaveUpper(d, x, y);  // word 2i+1 with word 2i+9
  }
  hn::Vec<decltype(d)> b[8];
  for (size_t i = 0; i < 4; ++i) {  // words i, i+4, i+8, i+12
    b[2 * i] = hn::InterleaveLower(d, a[i], a[i + 4]);
    b[2 * i + 1] = hn::InterleaveUpper(d, a[i], a[i + 4]);
  }
  // b[2i], b[2i+1]: rows 0..3 and 4..7 of words i, i+4, i+8, i+12.
  for (size_t half = 0; half < 2; ++half) {
    const auto l02 = hn::InterleaveLower(d, b[half], b[4 + half]);
    const auto h02 = hn::InterleaveUpper(d, b[half], b[4 + half]);
    const auto l13 = hn::InterleaveLower(d, b[2 + half], b[6 + half]);
    const auto h13 = hn::InterleaveUpper(d, b[2 + half], b[6 + half]);
    uint8_t* const rows = out + half * 4 * stride;
    hn::StoreU(hn::InterleaveLower(d, l02, l13), d, rows);
    hn::StoreU(hn::InterleaveUpper(d, l02, l13), d, rows + stride);
    hn::StoreU(hn::InterleaveLower(d, h02, h13), d, rows + 2 * stride);
    hn::StoreU(hn::InterleaveUpper(d, h02, h13), d, rows + 3 * stride);
  }
}

HWY_INLINE void UnpackByWords(const StripFormat& format, const uint8_t* class_of, size_t channels,
                              const std::byte* bits, uint64_t* fields, uint8_t* codes) {
  const size_t stride = StripStride(channels);
  uint64_t at = 0;
  for (size_t c = 0; c < channels; ++c) {
    const uint32_t k = class_of[c];
    const uint64_t word = LoadWord(bits + at / 8) >> (at % 8);
    fields[c] = SpreadBits(word, format.widths[k], format.code_bits[k]) + format.bases[k];
    at += format.field_bits[k];
  }
  for (size_t c = 0; c < channels; c += 16) WordsToRows(fields + c, codes + c, stride);
}

#if HWY_TARGET <= HWY_AVX3_DL

// Sixteen words by number, for eight channels at a time.
struct WordTable {
  __m512i low, high;
  explicit WordTable(const std::array<uint64_t, kMaxPackClasses>& words)
      : low(_mm512_loadu_si512(words.data())), high(_mm512_loadu_si512(words.data() + 8)) {}
  HWY_INLINE __m512i Of(__m512i numbers) const { return _mm512_permutex2var_epi64(low, numbers, high); }
};

// Byte 8 t + q from byte 8 q + t.
alignas(64) constexpr std::array<uint8_t, 64> kByToken = [] {
  std::array<uint8_t, 64> from{};
  for (size_t i = 0; i < 64; ++i) from[i] = static_cast<uint8_t>(i % 8 * 8 + i / 8);
  return from;
}();

// Eight channels a vector, one in each 64-bit lane: their fields are loaded by one load and brought to their
// lanes by one byte shuffle, whose offsets are the prefix sums of eight field sizes (one multiplication).
// Fields of 8 tokens are whole bytes and at most 64 together.
struct LaneUnpacker {
  explicit LaneUnpacker(const StripFormat& format)
      : offsets(format.bit_offsets), masks(format.code_bits), bases(format.bases) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(format.field_bits.data()));
    bytes = _mm512_broadcast_i32x4(_mm_and_si128(_mm_srli_epi16(bits, 3), _mm_set1_epi8(0x0f)));
    // Lane q of a register takes byte q of each 64-bit lane, so within 128 bits 8 times 2i, 8 times 2i+1.
    lane_of_byte =
        _mm512_set_epi64(0x0707070707070707, 0x0606060606060606, 0x0505050505050505, 0x0404040404040404,
                         0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    byte_of_lane = _mm512_set1_epi64(0x0706050403020100);
    token_major = _mm512_load_si512(kByToken.data());
  }

  // Word t of the result has token t of eight channels.
  HWY_INLINE __m512i EightChannels(const uint8_t* class_of, uint64_t end_bytes, const std::byte* bits) const {
    const __m512i numbers = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(class_of)));
    const __m512i begin = _mm512_set1_epi64(static_cast<int64_t>(end_bytes << 8));
    const __m512i from = _mm512_add_epi8(_mm512_shuffle_epi8(begin, lane_of_byte), byte_of_lane);
    const __m512i fields = _mm512_permutexvar_epi8(from, _mm512_loadu_si512(bits));
    const __m512i codes =
        _mm512_and_si512(_mm512_multishift_epi64_epi8(offsets.Of(numbers), fields), masks.Of(numbers));
    return _mm512_permutexvar_epi8(token_major, _mm512_add_epi8(codes, bases.Of(numbers)));
  }

  WordTable offsets, masks, bases;
  __m512i bytes, lane_of_byte, byte_of_lane, token_major;
};

// 8 x 8 words: word t of v[j] to word j of row t.
HWY_INLINE void StoreTransposed(const __m512i (&v)[8], uint8_t* out, size_t stride) {
  __m512i a[8], b[8];
  for (size_t i = 0; i < 8; i += 2) {
    a[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);      // tokens 0 2 4 6 of channels i, i+1
    a[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);  // tokens 1 3 5 7
  }
  for (size_t i = 0; i < 2; ++i) {
    for (size_t odd = 0; odd < 2; ++odd) {
      const __m512i x = a[4 * i + odd], y = a[4 * i + 2 + odd];
      b[4 * i + odd] = _mm512_shuffle_i64x2(x, y, 0x88);      // tokens 0 4 (or 1 5) of x, then of y
      b[4 * i + 2 + odd] = _mm512_shuffle_i64x2(x, y, 0xdd);  // tokens 2 6 (or 3 7)
    }
  }
  for (size_t odd = 0; odd < 2; ++odd) {
    for (size_t two = 0; two < 2; ++two) {
      const __m512i x = b[2 * two + odd], y = b[4 + 2 * two + odd];
      const size_t t = 2 * two + odd;
      _mm512_storeu_si512(out + t * stride, _mm512_shuffle_i64x2(x, y, 0x88));
      _mm512_storeu_si512(out + (t + 4) * stride, _mm512_shuffle_i64x2(x, y, 0xdd));
    }
  }
}

void UnpackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels, const std::byte* bits,
                 uint64_t* fields, uint8_t* codes) {
  if (format.alignment_bits != 8) {
    return UnpackByWords(format, class_of, channels, bits, fields, codes);
  }
  const LaneUnpacker unpacker(format);
  const size_t stride = StripStride(channels);
  for (size_t c = 0; c < channels; c += kStripColumns) {
    alignas(64) uint64_t sizes[8];
    _mm512_store_si512(sizes, _mm512_shuffle_epi8(unpacker.bytes, _mm512_loadu_si512(class_of + c)));
    __m512i lanes[8];
    for (size_t j = 0; j < 8; ++j) {
      if (c + 8 * j >= channels) {
        lanes[j] = _mm512_setzero_si512();
        continue;
      }
      // Byte i: the end of field i, counted from the first of the eight.
      const uint64_t ends = sizes[j] * 0x0101010101010101u;
      lanes[j] = unpacker.EightChannels(class_of + c + 8 * j, ends, bits);
      bits += ends >> 56;
    }
    StoreTransposed(lanes, codes + c, stride);
  }
}

#else

void UnpackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels, const std::byte* bits,
                 uint64_t* fields, uint8_t* codes) {
  UnpackByWords(format, class_of, channels, bits, fields, codes);
}

#endif  // HWY_TARGET <= HWY_AVX3_DL

void PackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels,
               const uint8_t* const* rows, uint64_t* fields, std::byte* out) {
  // Rows behind the last token repeat it: their bits are not taken.
  const uint8_t* all[kStripTokens];
  for (uint32_t t = 0; t < kStripTokens; ++t) all[t] = rows[std::min(t, format.tokens - 1)];
  for (size_t c = 0; c < channels; c += 16) RowsToWords(all, c, fields + c);
  if (format.alignment_bits == 8) {
    for (size_t c = 0; c < channels; ++c) {
      const uint32_t k = class_of[c];
      StoreWord(GatherBits(fields[c] - format.bases[k], format.widths[k], format.code_bits[k]), out);
      out += format.field_bits[k] / 8;
    }
    return;
  }
  uint64_t pending = 0;  // fields of at most 32 bits, in halves of bytes
  uint32_t pending_bits = 0;
  for (size_t c = 0; c < channels; ++c) {
    const uint32_t k = class_of[c];
    pending |= GatherBits(fields[c] - format.bases[k], format.widths[k], format.code_bits[k]) << pending_bits;
    pending_bits += format.field_bits[k];
    StoreWord(pending, out);
    out += pending_bits / 8;
    pending >>= pending_bits & ~7u;
    pending_bits %= 8;
  }
  if (pending_bits != 0) StoreWord(pending, out);
}

#endif  // HWY_TARGET == HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
HWY_EXPORT(UnpackClasses);
HWY_EXPORT(PackClassNumbers);
HWY_EXPORT(StripBits);
HWY_EXPORT(UnpackStrip);
HWY_EXPORT(PackStrip);

StripFormat::StripFormat(const PackClasses& classes, uint32_t num_tokens, uint32_t alignment)
    : tokens(num_tokens), alignment_bits(alignment) {
  const uint64_t bytes_of_tokens = tokens == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * tokens)) - 1;
  for (uint32_t k = 0; k < classes.count; ++k) {
    const uint32_t width = classes.of[k].width;
    widths[k] = static_cast<uint8_t>(width);
    field_bits[k] = static_cast<uint8_t>((tokens * width + alignment - 1) / alignment * alignment);
    code_bits[k] = LowBitsOfBytes(width) & bytes_of_tokens;
    bases[k] = 0x0101010101010101u * classes.of[k].base;
    bit_offsets[k] = 0x0706050403020100u * width;
  }
}

void UnpackClasses(const std::byte* bits, uint32_t index_bits, size_t channels, uint8_t* class_of) {
  if (ScalarOnly()) {
    scalar::UnpackClasses(bits, index_bits, channels, class_of);
  } else {
    HWY_DYNAMIC_DISPATCH(UnpackClasses)(bits, index_bits, channels, class_of);
  }
  std::memset(class_of + channels, 0, StripStride(channels) - channels);
}

void PackClassNumbers(const uint8_t* class_of, uint32_t index_bits, size_t channels, std::byte* out) {
  if (index_bits == 0) return;
  if (ScalarOnly()) return scalar::PackClassNumbers(class_of, index_bits, channels, out);
  HWY_DYNAMIC_DISPATCH(PackClassNumbers)(class_of, index_bits, channels, out);
}

uint64_t StripBits(const StripFormat& format, const uint8_t* class_of, size_t channels) {
  if (ScalarOnly()) return scalar::StripBits(format, class_of, channels);
  return HWY_DYNAMIC_DISPATCH(StripBits)(format, class_of, channels);
}

void UnpackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels, const std::byte* bits,
                 uint64_t* fields, uint8_t* codes) {
  if (ScalarOnly()) return scalar::UnpackStrip(format, class_of, channels, bits, fields, codes);
  HWY_DYNAMIC_DISPATCH(UnpackStrip)(format, class_of, channels, bits, fields, codes);
}

void PackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels,
               const uint8_t* const* rows, uint64_t* fields, std::byte* out) {
  if (ScalarOnly()) return scalar::PackStrip(format, class_of, channels, rows, fields, out);
  HWY_DYNAMIC_DISPATCH(PackStrip)(format, class_of, channels, rows, fields, out);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
