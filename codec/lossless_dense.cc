#include "codec/lossless_dense.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/bit_io.h"
#include "codec/exponent_classes.h"
#include "codec/lossless_fast.h"
#include "codec/rans.h"
#include "codec/simd/exponent_symbols.h"
#include "codec/simd/float_fields.h"

namespace kvcompd::codec {
namespace {

// top, class, u16 bytes of the rANS stream
constexpr uint32_t kTrailerBytes = 4;

// A class byte: bits 0 to 2 the class, bit 3 the flip; bits 4 to 7 of a channel's how far its top is below
// the tile's, of the tile's the flags.
constexpr uint32_t kClassMask = 7;
constexpr uint32_t kFlip = 8;
constexpr uint32_t kMaxBelowTop = 15;
constexpr uint32_t kPerChannel = 16;  // flag: class bytes of the channels follow
constexpr uint8_t kNarrowBit = 32;    // of ExponentChannels::bits

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

constexpr uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

// Classes of the tile (a period of 1) or of its channels, as the kernels take them.
struct ClassArrays {
  void Set(uint32_t i, uint32_t top, uint32_t number, bool flip) {
    tops[i] = static_cast<uint8_t>(top);
    bits[i] = static_cast<uint8_t>(flip ? 1 : 0);
    contexts[i] = static_cast<uint8_t>(number);
  }
  // Repeats the first `period` for vectors that reach beyond the last.
  ExponentChannels Cycle(uint32_t period) {
    for (size_t i = period; i < period + kVectorSlackBytes; ++i) {
      tops[i] = tops[i - period];
      bits[i] = bits[i - period];
    }
    return {.tops = tops.data(), .bits = bits.data(), .period = period};
  }

  std::array<uint8_t, kMaxHeadDim + kVectorSlackBytes> tops, bits;
  std::array<uint8_t, kMaxHeadDim> contexts;
};

// The parts of the workspace.
struct Scratch {
  Scratch(uint32_t n, std::byte* workspace) {
    const uint64_t part = AlignUp(n, 64) + kVectorSlackBytes;
    std::byte* at = workspace;
    const auto take = [&at](uint64_t size) {
      std::byte* const begin = at;
      at += size;
      return begin;
    };
    symbols = reinterpret_cast<uint8_t*>(take(part));
    fields = take(part);
    exponents = reinterpret_cast<uint8_t*>(take(part));
    signs = reinterpret_cast<uint8_t*>(take(part));
    plane = take(part);
    escapes = take(part);
    words = {take(RansWorkspaceBytes(n)), RansWorkspaceBytes(n)};
  }
  static uint64_t Bytes(uint32_t n) {
    return 6 * (AlignUp(n, 64) + kVectorSlackBytes) + RansWorkspaceBytes(n);
  }

  uint8_t *symbols, *exponents, *signs;
  std::byte *fields, *plane, *escapes;
  MutableByteSpan words;
};

// Sizes of the parts of a payload, in their order, but for the stream before and the escapes after them.
struct Parts {
  explicit Parts(const GroupShape& shape) {
    const FloatFields of = FloatFieldsOf(shape.dtype, SignPlace::kCoded);
    n = shape.tokens * shape.channels;
    plane = of.plane ? n : 0;
    field_bits = uint64_t{n} * of.side_bits;
    all_fields = BytesOfBits(field_bits);
    lanes = RansLanes(n);
    carried = RansCarriedBytes(lanes);
    fields = all_fields - carried;  // kLosslessMinValues values have more than are carried
  }
  uint32_t n, lanes;
  uint64_t plane, field_bits, all_fields, carried, fields;
};

// rows of `channels` bytes: loops that the compiler makes vectors of, which pointers to other bytes would
// keep it from.
void MaxOfRows(const uint8_t* __restrict rows, uint32_t num_rows, uint32_t channels,
               uint8_t* __restrict largest) {
  for (uint32_t t = 0; t < num_rows; ++t, rows += channels) {
    for (uint32_t c = 0; c < channels; ++c) largest[c] = std::max(largest[c], rows[c]);
  }
}
void SumOfRows(const uint8_t* __restrict rows, uint32_t num_rows, uint32_t channels,
               uint8_t* __restrict sum) {
  for (uint32_t t = 0; t < num_rows; ++t, rows += channels) {
    for (uint32_t c = 0; c < channels; ++c) sum[c] = static_cast<uint8_t>(sum[c] + rows[c]);
  }
}
void DepthsOfRows(const uint8_t* __restrict rows, uint32_t num_rows, uint32_t channels,
                  const uint8_t* __restrict largest, uint16_t* __restrict depths) {
  for (uint32_t t = 0; t < num_rows; ++t, rows += channels) {
    for (uint32_t c = 0; c < channels; ++c) {
      const auto depth = static_cast<uint8_t>(std::max(largest[c], rows[c]) - rows[c]);
      depths[c] = static_cast<uint16_t>(depths[c] + std::min<uint8_t>(depth, kEscapeDepth));
    }
  }
}
void EscapesOfRows(const uint8_t* __restrict rows, uint32_t num_rows, uint32_t channels, ExponentCode code,
                   uint8_t* __restrict escapes) {
  const auto escape = static_cast<uint8_t>(code.escape());
  for (uint32_t t = 0; t < num_rows; ++t, rows += channels) {
    for (uint32_t c = 0; c < channels; ++c) {
      const auto of = static_cast<uint8_t>(rows[c] - code.base);
      escapes[c] = static_cast<uint8_t>(escapes[c] + (std::max(of, escape) == of ? 1 : 0));
    }
  }
}

using ChannelBytes = std::array<uint8_t, kMaxHeadDim>;

// Mean exponents and signs of the channels, and of the tile. Exponents above `cap` count as that: a single
// NaN would else hide where all others are.
struct ExponentMoments {
  ExponentMoments(const GroupShape& shape, const Scratch& scratch, uint8_t cap) {
    const uint32_t channels = shape.channels, tokens = shape.tokens;
    ChannelBytes largest{}, negative{};
    std::array<uint16_t, kMaxHeadDim> depths{};
    MaxOfRows(scratch.exponents, tokens, channels, largest.data());
    for (uint32_t c = 0; c < channels; ++c) largest[c] = std::min(largest[c], cap);
    SumOfRows(scratch.signs, tokens, channels, negative.data());
    DepthsOfRows(scratch.exponents, tokens, channels, largest.data(), depths.data());
    uint64_t sum = 0;
    for (uint32_t c = 0; c < channels; ++c) {
      const uint32_t exponents = largest[c] * tokens - depths[c];
      mean_2048[c] = 2048 * exponents / tokens;
      flips[c] = 2 * uint32_t{negative[c]} > tokens ? 1 : 0;
      sum += exponents;
    }
    tile_mean_2048 = static_cast<uint32_t>(2048 * sum / (uint64_t{tokens} * channels));
  }

  // Of exponents that count as at least 15 below the channel's largest, times 2048, rounded down.
  std::array<uint32_t, kMaxHeadDim> mean_2048;
  uint32_t tile_mean_2048;
  ChannelBytes flips;
};

// Twice the top, rounded, that puts the mean depth of the shape's values at a mean exponent; or one less.
// Even numbers are wide classes, odd ones narrow classes of the top above.
constexpr uint32_t HalfOctaves(uint32_t mean_2048, uint32_t mean_depth, uint32_t less) {
  return (mean_2048 + 2 * mean_depth + 512 - 1024 * less) >> 10;
}

// Chooses classes, of the tile or of its channels, whichever are estimated to take less.
class ClassChooser {
 public:
  // code: the one of mode fast.
  ClassChooser(const GroupShape& shape, const Scratch& scratch, ExponentCode code)
      : shape_(shape), scratch_(scratch), moments_(shape, scratch, CapOf(code)) {}

  // Fills `classes`; returns the class byte of the tile, kPerChannel with those of the channels.
  uint32_t Choose(ClassArrays* classes, uint32_t* top, uint8_t* channel_classes) {
    const uint64_t tile_cost = ChooseForTile();
    const uint64_t channel_cost = ChooseForChannels();
    if (channel_cost + uint64_t{8 * kCostUnits} * shape_.channels >= tile_cost) {
      *top = (tile_half_ + 1) >> 1;
      classes->Set(0, *top, tile_half_ & 1, false);
      return tile_half_ & 1;
    }
    *top = 0;
    for (uint32_t c = 0; c < shape_.channels; ++c) *top = std::max<uint32_t>(*top, (best_half_[c] + 1) >> 1);
    for (uint32_t c = 0; c < shape_.channels; ++c) {
      const uint32_t below = std::min(*top - ((best_half_[c] + 1) >> 1), kMaxBelowTop);
      const uint32_t number = 2u * best_shape_[c] + (best_half_[c] & 1);
      const bool flip = moments_.flips[c] != 0;
      classes->Set(c, *top - below, number, flip);
      channel_classes[c] = static_cast<uint8_t>(number | (flip ? kFlip : 0) | below << 4);
    }
    return kPerChannel;
  }

 private:
  // 8 above the last exponent with a code.
  static uint8_t CapOf(ExponentCode code) {
    return static_cast<uint8_t>(std::min<uint32_t>(code.base + code.escape() + 7, 255));
  }

  uint64_t ChooseForTile() {
    uint64_t best = UINT64_MAX;
    for (const uint32_t less : {1u, 0u}) {
      const uint32_t half = HalfOctaves(moments_.tile_mean_2048, MeanDepth(0), less);
      trial_.tops[0] = static_cast<uint8_t>((half + 1) >> 1);
      trial_.bits[0] = (half & 1) != 0 ? kNarrowBit : 0;
      CostsOfSymbols(scratch_.exponents, scratch_.signs, shape_.tokens, shape_.channels, trial_.Cycle(1),
                     ExponentClassCosts(0), costs_.data());
      uint64_t cost = 0;
      for (uint32_t c = 0; c < shape_.channels; ++c) cost += costs_[c];
      if (cost >= best) continue;
      best = cost;
      tile_half_ = half;
    }
    return best;
  }

  uint64_t ChooseForChannels() {
    const uint32_t channels = shape_.channels;
    std::fill_n(best_cost_.data(), channels, UINT32_MAX);
    for (uint32_t shape = 0; shape < kExponentShapes; ++shape) {
      const uint32_t depth = MeanDepth(shape);
      for (const uint32_t less : {1u, 0u}) {
        for (uint32_t c = 0; c < channels; ++c) {
          const uint32_t half = HalfOctaves(moments_.mean_2048[c], depth, less);
          halves_[c] = static_cast<uint16_t>(half);
          trial_.tops[c] = static_cast<uint8_t>((half + 1) >> 1);
          trial_.bits[c] = static_cast<uint8_t>(moments_.flips[c] | (half & 1) * kNarrowBit);
        }
        CostsOfSymbols(scratch_.exponents, scratch_.signs, shape_.tokens, channels, trial_.Cycle(channels),
                       ExponentClassCosts(shape), costs_.data());
        for (uint32_t c = 0; c < channels; ++c) {
          const bool better = costs_[c] < best_cost_[c];
          best_cost_[c] = better ? costs_[c] : best_cost_[c];
          best_half_[c] = better ? halves_[c] : best_half_[c];
          best_shape_[c] = better ? static_cast<uint8_t>(shape) : best_shape_[c];
        }
      }
    }
    uint64_t sum = 0;
    for (uint32_t c = 0; c < channels; ++c) sum += best_cost_[c];
    return sum;
  }

  const GroupShape& shape_;
  const Scratch& scratch_;
  const ExponentMoments moments_;
  ClassArrays trial_;
  uint32_t tile_half_ = 0;
  std::array<uint32_t, kMaxHeadDim> costs_, best_cost_;
  std::array<uint16_t, kMaxHeadDim> halves_, best_half_;
  ChannelBytes best_shape_;
};

// Payload bytes of mode fast.
uint64_t FastBytes(const GroupShape& shape, ExponentCode code, const Scratch& scratch) {
  ChannelBytes escapes{};
  EscapesOfRows(scratch.exponents, shape.tokens, shape.channels, code, escapes.data());
  uint32_t sum = 0;
  for (uint32_t c = 0; c < shape.channels; ++c) sum += escapes[c];
  return LosslessFastBytes(shape, code, sum);
}

void Append(const void* from, size_t size, std::byte** to) {
  std::memcpy(*to, from, size);
  *to += size;
}

}  // namespace

uint64_t LosslessDenseWorkspaceBytes(const GroupShape& shape) {
  return Scratch::Bytes(shape.tokens * shape.channels);
}

uint32_t EncodeLosslessDense(const GroupShape& shape, const std::byte* values, MutableByteSpan workspace,
                             MutableByteSpan out) {
  const Parts parts(shape);
  const Scratch scratch(parts.n, workspace.data());
  SplitExponents(shape.dtype, values, parts.n, scratch.exponents, scratch.signs, scratch.plane,
                 scratch.fields);

  ClassArrays classes;
  std::array<uint8_t, kMaxHeadDim> channel_classes;
  uint32_t top = 0;
  const ExponentCode code = ChooseExponentCode(shape, values);
  const uint32_t tile_class =
      ClassChooser(shape, scratch, code).Choose(&classes, &top, channel_classes.data());
  const uint32_t period = tile_class == kPerChannel ? shape.channels : 1;
  const uint32_t escapes = ExponentSymbols(scratch.exponents, scratch.signs, parts.n, classes.Cycle(period),
                                           scratch.symbols, scratch.escapes);
  const uint64_t class_bytes = tile_class == kPerChannel ? shape.channels : 0;
  const uint64_t rest = parts.plane + parts.fields + class_bytes + escapes + kTrailerBytes;
  const uint64_t limit = AlignUp(shape.tile_bytes(), kPayloadAlignment);
  if (AlignUp(rest, kPayloadAlignment) >= limit) return 0;
  const uint32_t stream =
      EncodeRans(ExponentClassTables(), std::span(classes.contexts).first(period), parts.lanes,
                 {scratch.symbols, parts.n}, {scratch.fields + parts.fields, parts.carried}, scratch.words,
                 out.first(shape.tile_bytes() - rest));
  const uint64_t stored = AlignUp(stream + rest, kPayloadAlignment);
  if (stream == 0 || stored >= limit) return 0;
  if (stored >= AlignUp(FastBytes(shape, code, scratch), kPayloadAlignment)) return 0;

  std::byte* at = out.data() + stream;
  Append(scratch.plane, parts.plane, &at);
  Append(scratch.fields, parts.fields, &at);
  Append(channel_classes.data(), class_bytes, &at);
  Append(scratch.escapes, escapes, &at);
  const uint8_t trailer[kTrailerBytes] = {static_cast<uint8_t>(top), static_cast<uint8_t>(tile_class),
                                          static_cast<uint8_t>(stream), static_cast<uint8_t>(stream >> 8)};
  Append(trailer, sizeof trailer, &at);
  return static_cast<uint32_t>(stream + rest);
}

absl::Status DecodeLosslessDense(const GroupShape& shape, ByteSpan payload, MutableByteSpan workspace,
                                 MutableByteSpan values) {
  const Parts parts(shape);
  if (payload.size() < kTrailerBytes) return Corrupt("lossless dense tile: length");
  ByteReader trailer(payload.last(kTrailerBytes));
  const uint32_t top = trailer.U8(), tile_class = trailer.U8(), stream_bytes = trailer.U16();
  if (tile_class >= 2 * kPerChannel) return absl::UnimplementedError("lossless dense tile: unknown flag");
  const bool per_channel = (tile_class & kPerChannel) != 0;
  if (per_channel && tile_class != kPerChannel) return Corrupt("lossless dense tile: class");
  ByteReader r(payload.first(payload.size() - kTrailerBytes));
  const ByteSpan stream = r.Bytes(stream_bytes), plane = r.Bytes(parts.plane), fields = r.Bytes(parts.fields),
                 channel_classes = r.Bytes(per_channel ? shape.channels : 0),
                 escapes = r.Bytes(r.remaining());
  if (!r.ok()) return Corrupt("lossless dense tile: length");

  ClassArrays classes;
  if (!per_channel) classes.Set(0, top, tile_class & kClassMask, (tile_class & kFlip) != 0);
  for (uint32_t c = 0; c < channel_classes.size(); ++c) {
    const auto of_channel = static_cast<uint32_t>(channel_classes[c]);
    classes.Set(c, top - (of_channel >> 4), of_channel & kClassMask, (of_channel & kFlip) != 0);
  }
  const uint32_t period = per_channel ? shape.channels : 1;
  const Scratch scratch(parts.n, workspace.data());
  std::memcpy(scratch.fields, fields.data(), fields.size());
  if (absl::Status s =
          DecodeRans(ExponentClassTables(), std::span(classes.contexts).first(period), parts.lanes, stream,
                     {scratch.symbols, parts.n}, {scratch.fields + parts.fields, parts.carried});
      !s.ok()) {
    return s;
  }
  if (!PaddingIsZero({scratch.fields, parts.all_fields}, parts.field_bits)) {
    return Corrupt("lossless dense tile: padding");
  }
  if (!DecodeExponentSymbols(shape.dtype, scratch.symbols, parts.n, classes.Cycle(period), plane.data(),
                             scratch.fields, escapes.data(), static_cast<uint32_t>(escapes.size()),
                             values.data())) {
    return Corrupt("lossless dense tile: escapes, or an exponent that the type does not have");
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
