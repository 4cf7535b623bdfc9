// Geometry of an intq tile: units, words of codes, where its parts stand (FORMAT.md, "Codec intq").
//
// Used by the codec and its kernels, which take a valid shape for granted. A plain value; any thread.
//
//   const IntqTile tile{DType::kBf16, Tensor::kK, /*bits=*/4, /*group=*/32, tokens, channels};
//   std::byte* scales = payload + tile.scales_offset();       // [tile.units()]
#ifndef KVCOMPD_CODEC_SIMD_INTQ_TILE_H_
#define KVCOMPD_CODEC_SIMD_INTQ_TILE_H_

#include <algorithm>
#include <cstdint>

#include "codec/base/types.h"

namespace kvcompd::codec {

struct IntqTile {
  DType dtype = DType::kBf16;  // not opaque
  Tensor tensor = Tensor::kK;
  uint32_t bits = 4;      // 2, 4 or 8
  uint32_t group = 32;    // 32, 64 or 128
  uint32_t tokens = 0;    // 1 to 64
  uint32_t channels = 0;  // 8 to 576

  static constexpr uint32_t kMinGroup = 32;
  static constexpr uint32_t kMaxUnits = kTileTokens / kMinGroup * kMaxHeadDim;

  bool per_channel() const { return tensor == Tensor::kK; }
  uint32_t max_code() const { return (1u << bits) - 1; }

  // Units: K [runs of tokens, channels]; V [tokens, runs of channels].
  uint32_t run() const { return per_channel() ? std::min(group, kTileTokens) : group; }
  uint32_t row_units() const { return per_channel() ? channels : (channels + group - 1) / group; }
  uint32_t units() const { return (per_channel() ? (tokens + run() - 1) / run() : tokens) * row_units(); }
  uint32_t unit(uint32_t token, uint32_t channel) const {
    return per_channel() ? token / run() * channels + channel : token * row_units() + channel / group;
  }

  // Code k of word w is that of channel k * row_words() + w; where there is no such channel it is 0.
  uint32_t word_codes() const { return 32 / bits; }
  uint32_t row_words() const { return (channels + word_codes() - 1) / word_codes(); }

  uint32_t row_bytes() const { return channels * ElementBytes(dtype); }  // of values
  uint32_t code_row_bytes() const { return 4 * row_words(); }
  uint32_t scales_offset() const { return tokens * code_row_bytes(); }
  uint32_t zeros_offset() const { return scales_offset() + 2 * units(); }
  uint32_t payload_bytes() const { return zeros_offset() + ElementBytes(dtype) * units(); }
};

// A scale is the bits [30:15] of a positive f32: 8 of exponent, 8 of fraction. The least is normal; the
// largest keeps code * scale finite.
inline constexpr uint32_t kIntqScaleShift = 15;
inline constexpr uint32_t kIntqMinScale = 0x0100;
constexpr uint32_t IntqMaxScale(uint32_t bits) { return (254 - bits) << 8 | 0xff; }

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_INTQ_TILE_H_
