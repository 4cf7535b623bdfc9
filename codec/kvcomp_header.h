// The side information of codec kvcomp: a tile group's header, and the channel parameters that precede a
// tile's codes where K has a unit a channel (FORMAT.md, "Codec kvcomp").
//
// Called by kvcomp_encoder.cc and kvcomp_codec.cc. Pure functions over the caller's memory.
//
//   auto header = ParseKvcompHeader(shape, bytes);         // StatusOr, every length and parameter checked
//   ReadParams(shape.dtype, header->params, header->wide_zeros, params);
#ifndef KVCOMPD_CODEC_KVCOMP_HEADER_H_
#define KVCOMPD_CODEC_KVCOMP_HEADER_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/codec.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

// Tile modes beside raw.
inline constexpr TileMode kKvcompHuffman{1};  // canonical Huffman with the segment's book
inline constexpr TileMode kKvcompPacked{2};   // fixed-width codes
inline constexpr TileMode kKvcompRans{3};     // interleaved rANS with the segment's book

inline constexpr uint32_t kKvcompHeaderFixedBytes = 4;  // unit u8, flags u8, symbols u16
inline constexpr uint32_t kTileParamsFixedBytes = 2;    // flags u8, reserved u8
inline constexpr uint8_t kFlagWideZeros = 1;            // zeros are i32, not i16

// Scales, then zeros, of n units.
constexpr uint32_t ParamsBytes(uint32_t n, bool wide_zeros) { return n * (wide_zeros ? 6 : 4); }
bool NeedWideZeros(std::span<const UnitParams> params);
// out: ParamsBytes(params.size(), wide_zeros).
void WriteParams(std::span<const UnitParams> params, bool wide_zeros, std::byte* out);
// bytes: ParamsBytes(params.size(), wide_zeros). DATA_LOSS: parameters that no encoder writes, or zeros that
// are wide without need.
absl::Status ReadParams(DType dtype, ByteSpan bytes, bool wide_zeros, std::span<UnitParams> params);

// Units of a group header: 1 for a block, the tokens for tokens, none for channels.
uint32_t HeaderUnits(QuantUnit unit, uint32_t tokens);

struct KvcompHeader {
  QuantUnit unit = QuantUnit::kBlock;
  uint32_t symbols = 0;
  bool wide_zeros = false;
  ByteSpan params;  // of HeaderUnits units
};

// Returns the bytes written.
uint32_t WriteKvcompHeader(QuantUnit unit, uint32_t symbols, std::span<const UnitParams> params,
                           MutableByteSpan out);
// Checks the parameters, too. DATA_LOSS: not the header of a group of this shape; UNIMPLEMENTED: a unit or a
// flag that is not known here.
absl::StatusOr<KvcompHeader> ParseKvcompHeader(const GroupShape& shape, ByteSpan bytes);

// Channel parameters with their flags, before the codes of a tile.
uint32_t TileParamsBytes(std::span<const UnitParams> params);
void WriteTileParams(std::span<const UnitParams> params, MutableByteSpan out);
// Reads params.size() channels; `consumed` is where the codes start. DATA_LOSS as ReadParams; UNIMPLEMENTED:
// a flag that is not known here.
absl::Status ReadTileParams(DType dtype, ByteSpan payload, std::span<UnitParams> params, size_t* consumed);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_HEADER_H_
