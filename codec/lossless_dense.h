// Tiles of codec lossless in mode dense (FORMAT.md, "Codec lossless"): sign and exponent by rANS, with a
// built-in table and a top exponent for the tile or for each channel; mantissas as they are.
//
// Called by lossless_codec.cc. Pure functions over the caller's memory.
//
//   const uint32_t bytes = EncodeLosslessDense(shape, tile, workspace, out);   // 0: raw or fast is no larger
//   absl::Status s = DecodeLosslessDense(shape, payload, workspace, values);
#ifndef KVCOMPD_CODEC_LOSSLESS_DENSE_H_
#define KVCOMPD_CODEC_LOSSLESS_DENSE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "codec/base/types.h"
#include "codec/codec.h"

namespace kvcompd::codec {

// Encode and decode.
uint64_t LosslessDenseWorkspaceBytes(const GroupShape& shape);

// values: a tile of at least kLosslessMinValues values, not opaque. out: tile_bytes(). Returns the payload's
// size, 0 where it would take as much as a raw tile, or one of mode fast, in its segment.
uint32_t EncodeLosslessDense(const GroupShape& shape, const std::byte* values, MutableByteSpan workspace,
                             MutableByteSpan out);

// DATA_LOSS: bytes that no encoder writes; UNIMPLEMENTED: a flag that is not known here.
absl::Status DecodeLosslessDense(const GroupShape& shape, ByteSpan payload, MutableByteSpan workspace,
                                 MutableByteSpan values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_LOSSLESS_DENSE_H_
