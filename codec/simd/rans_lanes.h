// The inner loops of interleaved rANS: symbol i belongs to lane i mod lanes, and the 16-bit words of a step
// of all lanes stand in the order of the lanes (FORMAT.md, "Interleaved rANS"; after Giesen, arXiv
// 1402.3392).
//
// Called by codec/rans.cc. Pure functions over the caller's memory; the bytes are the same for every
// instruction set. lanes is 8 or 32; only 32 are worth vectors, which a warp takes one each.
//
//   const uint32_t used = DecodeRansLanes(lanes, tables, words, num_words, states, symbols, n);
//   if (used != num_words) return Corrupt();          // a stream that is too short gives some symbols or
//   other const uint32_t words = EncodeRansLanes(lanes, tables, symbols, n, states, words_end);   // before
//   words_end
#ifndef KVCOMPD_CODEC_SIMD_RANS_LANES_H_
#define KVCOMPD_CODEC_SIMD_RANS_LANES_H_

#include <cstddef>
#include <cstdint>

namespace kvcompd::codec {

// States are in [2^kRansStateBits, 2^(kRansStateBits + 16)) between symbols.
inline constexpr uint32_t kRansStateBits = 12;
inline constexpr uint32_t kMaxRansLanes = 32;
inline constexpr uint32_t kMaxRansPeriod = 576;

// An entry of a decode table, one a slot: symbol << 24 | (slot - the symbol's first slot) << 12 | frequency.
// An entry of an encode table, one a symbol. With k the least number for which frequency <= 2^k, reciprocal
// is ceil(2^(28 + k) / frequency), which divides every state exactly: floor(x / frequency) is (x *
// reciprocal) >> (28 + k) for x < 2^28.
struct RansEncoding {
  uint32_t reciprocal;
  uint32_t packed;  // k << 24 | first slot << 12 | frequency
};

// Tables of all contexts, one after the other, and which of them a position has.
template <typename Entry>
struct RansLaneTables {
  const Entry* entries;
  uint32_t prob_bits;       // frequencies of a context sum to 1 << prob_bits; at most 12
  const uint32_t* offsets;  // [period + kMaxRansLanes]: where position i % period has its table, cyclically
  uint32_t period;          // 1 to kMaxRansPeriod
};

// words: [num_words] u16, any alignment. states: [lanes]. Returns the words that the symbols took: more than
// num_words where the stream is too short, whose missing words are taken as 0.
uint32_t DecodeRansLanes(uint32_t lanes, const RansLaneTables<uint32_t>& tables, const std::byte* words,
                         uint32_t num_words, uint32_t* states, uint8_t* symbols, uint32_t n);

// Written before the first word, in whole vectors.
inline constexpr uint32_t kRansWordSlackBytes = 32;

// Writes at most n words, downwards from words_end, and up to kRansWordSlackBytes before them; returns how
// many.
uint32_t EncodeRansLanes(uint32_t lanes, const RansLaneTables<RansEncoding>& tables, const uint8_t* symbols,
                         uint32_t n, uint32_t* states, std::byte* words_end);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_RANS_LANES_H_
