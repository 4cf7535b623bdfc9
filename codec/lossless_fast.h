// Tiles of codec lossless in mode fast (FORMAT.md, "Codec lossless"): exponents as codes of a fixed width
// with escapes, the rest of each value as it is.
//
// Called by lossless_codec.cc. Pure functions over the caller's memory.
//
//   const uint32_t bytes = EncodeLosslessFast(shape, tile, workspace, out);   // 0: raw is not larger
//   absl::Status s = DecodeLosslessFast(shape, payload, values);
#ifndef KVCOMPD_CODEC_LOSSLESS_FAST_H_
#define KVCOMPD_CODEC_LOSSLESS_FAST_H_

#include <cstdint>

#include "absl/status/status.h"
#include "codec/base/types.h"
#include "codec/codec.h"
#include "codec/simd/exponent_codes.h"

namespace kvcompd::codec {

// Smaller tiles are raw: there is little to save, and kernels work in vectors.
inline constexpr uint32_t kLosslessMinValues = 64;

// The code of the smallest estimated size, from the exponents of up to 4 tokens of the tile.
ExponentCode ChooseExponentCode(const GroupShape& shape, const std::byte* values);

// Payload bytes with a code that leaves so many escapes.
uint64_t LosslessFastBytes(const GroupShape& shape, ExponentCode code, uint32_t escapes);

uint64_t LosslessFastWorkspaceBytes(const GroupShape& shape);

// values: a tile of at least kLosslessMinValues values, not opaque. out: tile_bytes(). Returns the payload's
// size, 0 where it would take as much as a raw tile in its segment.
uint32_t EncodeLosslessFast(const GroupShape& shape, const std::byte* values, MutableByteSpan workspace,
                            MutableByteSpan out);

// DATA_LOSS: bytes that no encoder writes.
absl::Status DecodeLosslessFast(const GroupShape& shape, ByteSpan payload, MutableByteSpan values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_LOSSLESS_FAST_H_
