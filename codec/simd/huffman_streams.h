// The Huffman streams of a tile (FORMAT.md, "Tile payload") read several at a time: four runs of streams
// interleaved, several codes a look (codec/symbol_run_table.h). Accepts exactly what ReadHuffman() of
// codec/tile_payload.h accepts, and gives the same codes.
//
// Called by kvcomp_codec.cc. Pure function over the caller's memory; const use from any thread.
//
//   TokenRows rows;                                                    // where each token's codes stand
//   auto s = ReadHuffmanStreams(payload, tokens, channels, book, scratch, &rows);
//   rows[t];                                                           // [channels] codes in `scratch`
//
// Why runs of streams can be read on end: a stream starts where the one before ends, so decoding goes on
// across the border by itself. Whether each stream ends where the directory says is checked afterwards, by
// the sum of its codes' lengths; the first stream that does not is the first that the reference finds.
#ifndef KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_H_
#define KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "codec/base/types.h"
#include "codec/codebook.h"

namespace kvcompd::codec {

using TokenRows = std::array<const uint8_t*, kTileTokens>;

// Bytes of `scratch` for a payload that is shorter than tile_bytes and n = tokens * channels codes.
uint64_t HuffmanScratchBytes(uint64_t tile_bytes, uint64_t n);

// Sets (*rows)[0..tokens): each row is followed by 64 readable bytes. DATA_LOSS: bytes that WriteHuffman does
// not write. payload: shorter than HuffmanScratchBytes' tile_bytes. Every code is under book.num_symbols().
absl::Status ReadHuffmanStreams(ByteSpan payload, uint32_t tokens, uint32_t channels, const Codebook& book,
                                MutableByteSpan scratch, TokenRows* rows);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_H_
