// Scratch memory of one encode or decode of codec kvcomp, carved from the caller's workspace.
//
// Called by kvcomp_encoder.cc and kvcomp_codec.cc. Owns nothing; what it holds before use does not matter.
//
//   if (workspace.size() < KvcompWorkspace::Bytes(shape)) return InvalidArgument...;
//   KvcompWorkspace ws = KvcompWorkspace::Carve(shape, workspace);
#ifndef KVCOMPD_CODEC_KVCOMP_WORKSPACE_H_
#define KVCOMPD_CODEC_KVCOMP_WORKSPACE_H_

#include <algorithm>
#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "codec/quantizer.h"
#include "codec/rans.h"
#include "codec/simd/huffman_streams.h"
#include "codec/workspace_arena.h"

namespace kvcompd::codec {

struct KvcompWorkspace {
  UnitTable units;                   // as many as params
  std::span<UnitParams> params;      // [max(tokens, channels)]
  std::span<UnitRange> ranges;       // as many as params
  std::span<UnitRange> tile_ranges;  // as many, of one tile
  std::span<float> values;           // [tokens, channels], of one tile
  std::span<float> approx;           // [channels], x' of one row
  std::span<float> rounded;          // [channels], y of one row
  std::span<std::byte> decoded;      // [tokens, channels], y of one tile
  std::span<uint8_t> codes;      // [tokens, channels]; as many readable bytes again as a vector has behind it
  std::span<std::byte> streams;  // for ReadHuffmanStreams
  std::span<uint8_t> symbols;    // [tokens, channels], of rANS
  std::span<std::byte> words;    // for WriteRansCodes
  std::span<uint8_t> finite;     // [heads]

  static uint64_t Bytes(const GroupShape& shape) {
    WorkspaceArena arena;
    Layout(shape, &arena);
    return arena.bytes();
  }
  // workspace: at least Bytes(shape), any alignment.
  static KvcompWorkspace Carve(const GroupShape& shape, MutableByteSpan workspace) {
    WorkspaceArena arena(workspace);
    return Layout(shape, &arena);
  }

 private:
  static constexpr uint64_t kVectorBytes = 64;  // kernels read whole vectors at the end of a row

  static KvcompWorkspace Layout(const GroupShape& shape, WorkspaceArena* arena) {
    const uint64_t units = std::max(shape.tokens, shape.channels);
    const uint64_t values = uint64_t{shape.tokens} * shape.channels;
    KvcompWorkspace ws;
    ws.units.divisor = arena->Take<float>(units).data();
    ws.units.zero = arena->Take<float>(units).data();
    ws.units.step = arena->Take<float>(units).data();
    ws.units.base = arena->Take<float>(units).data();
    ws.units.reciprocal = arena->Take<float>(units).data();
    ws.units.clear = arena->Take<float>(units).data();
    ws.units.doubt = arena->Take<float>(units).data();
    ws.units.radius = arena->Take<double>(units).data();
    ws.units.limit = arena->Take<double>(units).data();
    ws.units.worst = arena->Take<double>(units).data();
    ws.params = arena->Take<UnitParams>(units);
    ws.ranges = arena->Take<UnitRange>(units);
    ws.tile_ranges = arena->Take<UnitRange>(units);
    ws.values = arena->Take<float>(values);
    ws.approx = arena->Take<float>(shape.channels);
    ws.rounded = arena->Take<float>(shape.channels);
    ws.decoded = arena->Take<std::byte>(shape.tile_bytes());
    ws.codes = arena->Take<uint8_t>(values + kVectorBytes).first(arena->counts_only() ? 0 : values);
    ws.streams = arena->Take<std::byte>(HuffmanScratchBytes(shape.tile_bytes(), values));
    ws.symbols = arena->Take<uint8_t>(values + kVectorBytes);
    ws.words = arena->Take<std::byte>(RansWorkspaceBytes(static_cast<uint32_t>(values)));
    ws.finite = arena->Take<uint8_t>(shape.heads);
    return ws;
  }
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_WORKSPACE_H_
