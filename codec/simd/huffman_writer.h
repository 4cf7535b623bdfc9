// Sizes and bytes of a tile's codes (FORMAT.md, "Tile payload"): what PlanHuffman(), PlanPacked() and
// WriteHuffman() of codec/tile_payload.h give, by vectors of codes.
//
// Called by kvcomp_encoder.cc. Pure functions over the caller's memory; const use from any thread. `codes`
// are [tokens, channels], or n, each under the book's symbols, with 64 readable bytes behind the last.
//
//   const HuffmanPlan plan = PlanHuffmanStreams(codes, tokens, channels, book);
//   WriteHuffmanStreams(codes, tokens, channels, book, plan, scratch, out.first(plan.bytes));
#ifndef KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_H_
#define KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_H_

#include <cstdint>

#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/tile_payload.h"

namespace kvcompd::codec {

HuffmanPlan PlanHuffmanStreams(const uint8_t* codes, uint32_t tokens, uint32_t channels,
                               const Codebook& book);
PackedPlan PlanPackedCodes(const uint8_t* codes, uint32_t n);

// Scratch of WriteHuffmanStreams for plans of at most `bytes` bytes.
constexpr uint64_t HuffmanWriterBytes(uint64_t bytes) { return bytes + 64; }
// out: plan.bytes; only they are written.
void WriteHuffmanStreams(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book,
                         const HuffmanPlan& plan, MutableByteSpan scratch, MutableByteSpan out);

// counts[s] += how often s is among n codes; all below 256, [256].
void AddCounts(const uint8_t* codes, size_t n, uint32_t* counts);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_H_
