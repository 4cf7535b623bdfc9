#include "tests/codec/group_coding.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace kvcompd::testing {
namespace {

constexpr uint32_t kGuardBytes = 192;  // three of the widest vectors

bool Holds(ByteSpan bytes, std::byte value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == value; });
}

std::unique_ptr<std::byte[]> HeapCopy(std::string_view bytes) {
  auto copy = std::make_unique<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace

absl::StatusOr<EncodedGroup> EncodeGroup(const codec::Codec& codec, const codec::GroupShape& shape,
                                         std::string_view values, const codec::EncodeParams& params,
                                         uint8_t fill) {
  const auto byte = static_cast<std::byte>(fill);
  const uint32_t header_bound = codec.GroupHeaderBound(shape), tile_bound = codec.TileBound(shape);
  const uint32_t stride = tile_bound + kGuardBytes;
  std::vector<std::byte> header(header_bound + kGuardBytes, byte);
  std::vector<std::byte> payload(size_t{shape.heads} * stride, byte);
  std::vector<std::byte> workspace(codec.WorkspaceBytes(shape), byte);
  std::vector<codec::GroupOutput::Tile> tiles(shape.heads);
  codec::GroupOutput out{.header = MutableByteSpan(header).first(header_bound),
                         .payload = payload,
                         .payload_stride = stride,
                         .tiles = tiles};
  EncodedGroup group;
  group.stats.histogram = &group.histogram;
  const absl::Status status = codec.EncodeGroup(shape, AsBytes(values).data(), shape.tile_bytes(), params,
                                                workspace, &out, &group.stats);
  group.stats.histogram = nullptr;
  if (!status.ok()) return status;
  if (!Holds(ByteSpan(header).subspan(header_bound), byte))
    return absl::InternalError("the codec wrote behind the group header");
  group.header = AsChars(ByteSpan(header).first(out.header_bytes));
  for (uint32_t h = 0; h < shape.heads; ++h) {
    if (!Holds(ByteSpan(payload).subspan(size_t{h} * stride + tile_bound, kGuardBytes), byte))
      return absl::InternalError("the codec wrote behind a tile");
    group.modes.push_back(tiles[h].mode);
    group.decoded_crcs.push_back(tiles[h].decoded_crc);
    group.payloads.emplace_back(
        AsChars(ByteSpan(payload).subspan(size_t{h} * out.payload_stride, tiles[h].bytes)));
  }
  return group;
}

absl::StatusOr<std::string> DecodeTile(const codec::Codec& codec, const codec::GroupShape& shape,
                                       std::string_view header, codec::TileMode mode,
                                       std::string_view payload, const codec::Codebook* book, uint8_t fill) {
  const auto header_copy = HeapCopy(header), payload_copy = HeapCopy(payload);
  std::vector<std::byte> workspace(codec.WorkspaceBytes(shape), static_cast<std::byte>(fill));
  std::vector<std::byte> values(shape.tile_bytes(), static_cast<std::byte>(fill));
  const absl::Status status =
      codec.DecodeTile(shape, ByteSpan(header_copy.get(), header.size()), mode,
                       ByteSpan(payload_copy.get(), payload.size()), book, workspace, values);
  if (!status.ok()) return status;
  return std::string(AsChars(values));
}

}  // namespace kvcompd::testing
