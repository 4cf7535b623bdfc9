// Fuzzes tile decoding and the encoder. Input: 8 bytes that choose codec, shape, mode and header length, then
// header and payload. The decoder must refuse or decode, in its own memory; the rest, taken as values, must
// encode and come back.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "codec/codec.h"

namespace {

using kvcompd::ByteSpan;
using kvcompd::DType;
using kvcompd::KUnit;
using kvcompd::Profile;
using kvcompd::Tensor;
namespace codec = kvcompd::codec;

constexpr size_t kChoiceBytes = 8;

codec::GroupShape ShapeOf(const uint8_t* choice) {
  codec::GroupShape shape;
  shape.dtype = static_cast<DType>(1 + choice[1] % 5);
  shape.tensor = choice[1] & 0x80 ? Tensor::kV : Tensor::kK;
  shape.heads = 1 + choice[2] % 2;
  shape.tokens = 1 + choice[3] % 64;
  shape.channels = 8 + choice[4] % 57;
  return shape;
}

void FuzzDecode(const codec::Codec& c, const codec::GroupShape& shape, const uint8_t* choice, ByteSpan rest) {
  const size_t header_bytes = std::min<size_t>(rest.size(), choice[6] * 2);
  const auto mode = static_cast<codec::TileMode>(choice[5] % 4);
  codec::Workspace ws;
  std::vector<std::byte> values(shape.tile_bytes());
  (void)c.DecodeTile(shape, rest.first(header_bytes), mode, rest.subspan(header_bytes), nullptr,
                     ws.Get(c.WorkspaceBytes(shape)), values);
}

void FuzzRoundTrip(const codec::Codec& c, const codec::GroupShape& shape, const uint8_t* choice,
                   ByteSpan rest) {
  constexpr double kSteps[] = {0.005, 0.01, 0.05, 0.1, 0.2, 0.5};
  Profile profile{.codec = c.id()};
  profile.rel_k = profile.rel_v = kSteps[choice[7] % 6];
  profile.k_unit = choice[7] & 0x40 ? KUnit::kChannel : KUnit::kBlock;
  profile.strict = choice[7] & 0x80;

  std::vector<std::byte> values(size_t{shape.heads} * shape.tile_bytes());
  std::memcpy(values.data(), rest.data(), std::min(values.size(), rest.size()));
  std::vector<std::byte> header(c.GroupHeaderBound(shape)), payload(values.size()),
      decoded(shape.tile_bytes());
  std::vector<codec::GroupOutput::Tile> tiles(shape.heads);
  codec::GroupOutput out{
      .header = header, .payload = payload, .payload_stride = shape.tile_bytes(), .tiles = tiles};
  codec::Workspace ws;
  codec::EncodeStats stats;
  if (!c.EncodeGroup(shape, values.data(), shape.tile_bytes(), {.profile = profile},
                     ws.Get(c.WorkspaceBytes(shape)), &out, &stats)
           .ok()) {
    std::abort();
  }
  for (uint32_t h = 0; h < shape.heads; ++h) {
    const ByteSpan tile = ByteSpan(payload).subspan(size_t{h} * out.payload_stride, tiles[h].bytes);
    if (!c.DecodeTile(shape, ByteSpan(header).first(out.header_bytes), tiles[h].mode, tile, nullptr,
                      ws.Get(c.WorkspaceBytes(shape)), decoded)
             .ok()) {
      std::abort();
    }
    const std::byte* const original = values.data() + size_t{h} * shape.tile_bytes();
    if (tiles[h].mode == codec::TileMode::kRaw &&
        std::memcmp(original, decoded.data(), decoded.size()) != 0) {
      std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kChoiceBytes) return 0;
  const ByteSpan rest(reinterpret_cast<const std::byte*>(data) + kChoiceBytes, size - kChoiceBytes);
  const codec::Codec& c =
      *codec::FindCodec(data[0] % 8 == 0 ? kvcompd::CodecId::kRaw : kvcompd::CodecId::kKvcomp);
  const codec::GroupShape shape = ShapeOf(data);
  FuzzDecode(c, shape, data, rest);
  FuzzRoundTrip(c, shape, data, rest);
  return 0;
}
