// Interleaved rANS over static tables (FORMAT.md, "Interleaved rANS"): symbols of small alphabets with a
// context a position, in lanes that a vector or a warp takes one each.
//
// Called by codec lossless (dense); made for any codec with tables known beside the tile. RansTables are
// immutable: const use from any thread. The functions are pure.
//
// What is carried: an rANS state holds at least 12 bits at the end of decoding. They are taken from the
// caller's bytes that no coder makes shorter (mantissas, scales), so that lanes cost next to nothing.
//
//   auto tables = RansTables::FromFrequencies(10, 32, frequencies);  // [contexts, 32], each sums to 1 << 10
//   uint32_t bytes = EncodeRans(*tables, contexts, lanes, symbols, carried, workspace, out);  // 0: no room
//   absl::Status s = DecodeRans(*tables, contexts, lanes, stream, symbols, carried);
#ifndef KVCOMPD_CODEC_RANS_H_
#define KVCOMPD_CODEC_RANS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/types.h"
#include "codec/simd/rans_lanes.h"

namespace kvcompd::codec {

inline constexpr uint32_t kMaxRansSymbols = 256;
inline constexpr uint32_t kMaxRansContexts = 64;
inline constexpr uint32_t kMinRansProbBits = 8;
inline constexpr uint32_t kMaxRansProbBits = 12;

// Lanes of a stream: 8 or 32, as the codec has it; most take this, for tiles of n values.
constexpr uint32_t RansLanes(uint32_t n) { return n >= 2048 ? 32 : 8; }
constexpr uint32_t RansCarriedBytes(uint32_t lanes) { return lanes * kRansStateBits / 8; }
// Longest stream of n symbols.
constexpr uint64_t RansBound(uint32_t lanes, uint32_t n) { return uint64_t{lanes} * 4 + 1 + 2 * uint64_t{n}; }
constexpr uint64_t RansWorkspaceBytes(uint32_t n) { return kRansWordSlackBytes + 2 * uint64_t{n}; }  // encode

class RansTables {
 public:
  // frequencies: [contexts, symbols], each 1 or more, summing to 1 << prob_bits in each context; 2 to 256
  // symbols, 1 to kMaxRansContexts contexts. DATA_LOSS otherwise.
  static absl::StatusOr<RansTables> FromFrequencies(uint32_t prob_bits, uint32_t symbols,
                                                    std::span<const uint16_t> frequencies);

  uint32_t prob_bits() const { return prob_bits_; }
  uint32_t symbols() const { return symbols_; }
  uint32_t contexts() const { return static_cast<uint32_t>(encodings_.size() / symbols_); }
  std::span<const uint32_t> decodings() const { return decodings_; }      // [contexts, 1 << prob_bits]
  std::span<const RansEncoding> encodings() const { return encodings_; }  // [contexts, symbols]
  uint32_t frequency(uint32_t context, uint32_t symbol) const {
    return encodings_[context * symbols_ + symbol].packed & 0xfff;
  }

 private:
  uint32_t prob_bits_ = 0;
  uint32_t symbols_ = 0;
  std::vector<uint32_t> decodings_;
  std::vector<RansEncoding> encodings_;
};

// Frequencies for counts of 2 to 1 << prob_bits symbols: 1 or more each, summing to 1 << prob_bits, in
// proportion as near as may be. Integers only, so the same everywhere.
std::vector<uint16_t> RansFrequencies(std::span<const uint64_t> counts, uint32_t prob_bits);

// log2(1 << prob_bits / frequency) in 1/256 bits, rounded down; frequency: 1 to 1 << prob_bits. Integers
// only.
uint32_t RansCost256(uint32_t frequency, uint32_t prob_bits);

// symbols: each under tables.symbols(). contexts: of position i, contexts[i % size]; 1 to kMaxRansPeriod of
// them. carried: RansCarriedBytes(lanes). workspace: RansWorkspaceBytes(n). Returns the stream's size, an
// even number; 0 where it is longer than `out`.
uint32_t EncodeRans(const RansTables& tables, std::span<const uint8_t> contexts, uint32_t lanes,
                    std::span<const uint8_t> symbols, ByteSpan carried, MutableByteSpan workspace,
                    MutableByteSpan out);

// DATA_LOSS: bytes that EncodeRans does not write. Every symbol is then under tables.symbols() all the same.
absl::Status DecodeRans(const RansTables& tables, std::span<const uint8_t> contexts, uint32_t lanes,
                        ByteSpan stream, std::span<uint8_t> symbols, MutableByteSpan carried);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_RANS_H_
