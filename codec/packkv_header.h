// The group header of codec packkv: scales and zeros of the tokens, the classes of the packs, and the order
// of the tokens where they were moved (FORMAT.md, "Codec packkv").
//
// Called by packkv_encoder.cc and packkv_codec.cc. Pure functions over the caller's memory.
//
//   uint32_t bytes = WritePackkvHeader(header, params, out);
//   auto header = ParsePackkvHeader(shape, bytes, params);    // StatusOr, every field checked
#ifndef KVCOMPD_CODEC_PACKKV_HEADER_H_
#define KVCOMPD_CODEC_PACKKV_HEADER_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "codec/base/types.h"
#include "codec/codec.h"
#include "codec/pack_classes.h"
#include "codec/quantizer.h"

namespace kvcompd::codec {

inline constexpr TileMode kPackkvPacked{1};

inline constexpr uint32_t kPackkvHeaderFixedBytes = 6;
inline constexpr uint8_t kPackkvWideZeros = 1;  // flags
inline constexpr uint8_t kPackkvReordered = 2;
inline constexpr uint32_t kOrderBits = 6;  // of a token's number

// order[i]: the token that stands at place i, for the tokens of a group.
using TokenOrder = std::array<uint8_t, kTileTokens>;
TokenOrder IdentityOrder();

struct PackkvHeader {
  uint32_t pack = 0;     // 4, 8, 16 or 32
  uint32_t symbols = 0;  // 2 to kMaxSymbols
  PackClasses classes;
  TokenOrder order = IdentityOrder();

  bool Reordered(uint32_t tokens) const;
};

// The longest header of so many tokens.
constexpr uint32_t PackkvHeaderBound(uint32_t tokens) {
  return kPackkvHeaderFixedBytes + 2 * kMaxPackClasses + 6 * tokens + (kOrderBits * tokens + 7) / 8;
}
uint32_t PackkvHeaderBytes(const PackkvHeader& header, std::span<const UnitParams> params);
// params: of each token. Returns the bytes written, PackkvHeaderBytes.
uint32_t WritePackkvHeader(const PackkvHeader& header, std::span<const UnitParams> params,
                           MutableByteSpan out);
// params: [shape.tokens], set. DATA_LOSS: not the header of a group of this shape; UNIMPLEMENTED: a flag or a
// pack that is not known here.
absl::StatusOr<PackkvHeader> ParsePackkvHeader(const GroupShape& shape, ByteSpan bytes,
                                               std::span<UnitParams> params);

// How a tile's packs lie. Rows are packs of all channels, the last one maybe of fewer tokens; a row is cut
// into strips of 8 tokens (4 where the pack is 4), again the last one maybe of fewer.
struct PackGrid {
  PackGrid(uint32_t num_tokens, uint32_t tokens_of_pack)
      : tokens(num_tokens), pack(tokens_of_pack), strip(std::min(tokens_of_pack, 8u)) {}

  uint32_t rows() const { return (tokens + pack - 1) / pack; }
  uint32_t row_tokens(uint32_t row) const { return std::min(pack, tokens - row * pack); }
  uint32_t alignment_bits() const { return strip == 4 ? 4 : 8; }  // of a channel's field

  uint32_t tokens;
  uint32_t pack;
  uint32_t strip;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_HEADER_H_
