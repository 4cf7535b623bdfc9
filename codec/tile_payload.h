// Codes of one tile as bytes: Huffman streams, or packed at a fixed width (FORMAT.md, "Codec kvcomp").
//
// The scalar reference of codec/simd/huffman_streams.h, which reads, and codec/simd/huffman_writer.h.
//
// Called by kvcomp_encoder.cc and kvcomp_codec.cc. Pure functions over the caller's memory.
//
//   HuffmanPlan plan = PlanHuffman(codes, tokens, channels, book);   // exact size before a byte is written
//   WriteHuffman(codes, tokens, channels, book, plan, out.first(plan.bytes));
//   absl::Status s = ReadHuffman(payload, tokens, channels, book, codes);
#ifndef KVCOMPD_CODEC_TILE_PAYLOAD_H_
#define KVCOMPD_CODEC_TILE_PAYLOAD_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "codec/base/types.h"
#include "codec/codebook.h"

namespace kvcompd::codec {

// A tile's streams: consecutive tokens each, the last maybe fewer, so that the lanes of a warp decode one
// each.
inline constexpr uint32_t kMaxStreams = 32;

struct StreamLayout {
  explicit constexpr StreamLayout(uint32_t tile_tokens)
      : tokens(tile_tokens),
        tokens_per_stream((tile_tokens + kMaxStreams - 1) / kMaxStreams),
        streams((tile_tokens + tokens_per_stream - 1) / tokens_per_stream) {}
  constexpr uint32_t tokens_of(uint32_t stream) const {
    return stream + 1 < streams ? tokens_per_stream : tokens - stream * tokens_per_stream;
  }

  uint32_t tokens;
  uint32_t tokens_per_stream;
  uint32_t streams;
};

struct HuffmanPlan {
  std::array<uint32_t, kMaxStreams> stream_bits{};
  uint32_t base = 0;   // of the shortest stream
  uint32_t width = 0;  // bits of a directory entry
  uint64_t bytes = 0;  // directory and streams
};

// What precedes the streams.
struct HuffmanDirectory {
  std::array<uint32_t, kMaxStreams> stream_bits{};
  ByteSpan streams;  // exactly as many bytes as stream_bits take
};
// DATA_LOSS: a directory that no WriteHuffman writes, or streams that do not fill the payload to its last
// bit.
absl::Status ReadHuffmanDirectory(ByteSpan payload, const StreamLayout& layout, HuffmanDirectory* directory);

// Fills in the plan's other fields from stream_bits.
void SizeHuffmanPlan(const StreamLayout& layout, HuffmanPlan* plan);
// Writes what precedes the streams; returns their place. out: plan.bytes.
MutableByteSpan WriteHuffmanDirectory(const StreamLayout& layout, const HuffmanPlan& plan,
                                      MutableByteSpan out);

// codes: [tokens, channels], each under book.num_symbols(); tokens: 1 to 64.
HuffmanPlan PlanHuffman(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book);
// out: plan.bytes.
void WriteHuffman(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book,
                  const HuffmanPlan& plan, MutableByteSpan out);
// DATA_LOSS: bytes that WriteHuffman does not write. Every code is under book.num_symbols().
absl::Status ReadHuffman(ByteSpan payload, uint32_t tokens, uint32_t channels, const Codebook& book,
                         uint8_t* codes);

struct PackedPlan {
  uint32_t base = 0;   // smallest code
  uint32_t width = 0;  // bits of a code less base, 0 to 8
  uint64_t bytes = 0;
};

PackedPlan PackedPlanOf(uint32_t least_code, uint32_t largest_code, uint32_t n);
PackedPlan PlanPacked(const uint8_t* codes, uint32_t n);  // n: 1 or more
void WritePacked(const uint8_t* codes, uint32_t n, const PackedPlan& plan, MutableByteSpan out);
// DATA_LOSS: bytes that WritePacked does not write, or a code that is not under `symbols`.
absl::Status ReadPacked(ByteSpan payload, uint32_t n, uint32_t symbols, uint8_t* codes);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_TILE_PAYLOAD_H_
