// Scratch memory of codec packkv, as views of the caller's workspace.
//
// Called by packkv_encoder.cc and packkv_codec.cc.
//
//   PackkvWorkspace ws = PackkvWorkspace::Carve(shape, workspace);
#ifndef KVCOMPD_CODEC_PACKKV_WORKSPACE_H_
#define KVCOMPD_CODEC_PACKKV_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "codec/packkv_order.h"
#include "codec/quantizer.h"
#include "codec/simd/strip_bits.h"
#include "codec/workspace_arena.h"

namespace kvcompd::codec {

// Rows of packs at most: the smallest pack has 4 tokens.
inline constexpr uint32_t kMaxPackRows = kTileTokens / 4;

struct PackkvWorkspace {
  UnitTable units;               // [64]
  std::span<UnitParams> params;  // [64]
  std::span<uint8_t> class_of;   // [stride]
  std::span<uint64_t> fields;    // [stride]
  std::span<uint8_t> strip;      // [8, stride], codes
  std::span<std::byte> payload;  // a tile's, and what kernels may read or write behind it
  // Encode only.
  std::span<UnitRange> ranges;      // [64]
  std::span<uint8_t> usable;        // [heads]: the tile is finite and keeps the bound
  std::span<uint8_t> codes;         // [heads, 64, stride]
  std::span<uint16_t> entries;      // [heads, kMaxPackRows, stride], of the histogram
  std::span<uint8_t> classes;       // [heads, kMaxPackRows, stride], class numbers, 0 behind the channels
  std::span<uint32_t> tile_bytes;   // [heads], of the packed payload
  std::span<double> worst;          // [heads, 64]: largest |x - y| of each token
  std::span<const uint8_t*> tiles;  // [heads]
  GreedyScratch greedy;
  std::span<uint8_t> low, high;  // [stride]

  static uint64_t Bytes(const GroupShape& shape) {
    WorkspaceArena arena;
    Layout(shape, &arena);
    return arena.bytes();
  }
  // workspace: at least Bytes(shape), any alignment.
  static PackkvWorkspace Carve(const GroupShape& shape, MutableByteSpan workspace) {
    WorkspaceArena arena(workspace);
    return Layout(shape, &arena);
  }

 private:
  static PackkvWorkspace Layout(const GroupShape& shape, WorkspaceArena* arena) {
    const uint64_t stride = StripStride(shape.channels), heads = shape.heads;
    PackkvWorkspace ws;
    ws.units.divisor = arena->Take<float>(kTileTokens).data();
    ws.units.zero = arena->Take<float>(kTileTokens).data();
    ws.units.step = arena->Take<float>(kTileTokens).data();
    ws.units.base = arena->Take<float>(kTileTokens).data();
    ws.units.reciprocal = arena->Take<float>(kTileTokens).data();
    ws.units.clear = arena->Take<float>(kTileTokens).data();
    ws.units.radius = arena->Take<double>(kTileTokens).data();
    ws.units.limit = arena->Take<double>(kTileTokens).data();
    ws.units.worst = arena->Take<double>(kTileTokens).data();
    ws.params = arena->Take<UnitParams>(kTileTokens);
    ws.class_of = arena->Take<uint8_t>(stride);
    ws.fields = arena->Take<uint64_t>(stride);
    ws.strip = arena->Take<uint8_t>(kStripTokens * stride);
    ws.payload = arena->Take<std::byte>(shape.tile_bytes() + kStripOverread);
    ws.ranges = arena->Take<UnitRange>(kTileTokens);
    ws.usable = arena->Take<uint8_t>(heads);
    ws.codes = arena->Take<uint8_t>(heads * kTileTokens * stride);
    ws.entries = arena->Take<uint16_t>(heads * kMaxPackRows * stride);
    ws.classes = arena->Take<uint8_t>(heads * kMaxPackRows * stride);
    ws.tile_bytes = arena->Take<uint32_t>(heads);
    ws.worst = arena->Take<double>(heads * kTileTokens);
    ws.tiles = arena->Take<const uint8_t*>(heads);
    ws.greedy.sums = arena->Take<uint16_t>(heads * stride);
    ws.greedy.low = arena->Take<uint8_t>(heads * stride);
    ws.greedy.high = arena->Take<uint8_t>(heads * stride);
    ws.greedy.mean = arena->Take<uint8_t>(stride);
    ws.low = arena->Take<uint8_t>(stride);
    ws.high = arena->Take<uint8_t>(stride);
    return ws;
  }
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_WORKSPACE_H_
