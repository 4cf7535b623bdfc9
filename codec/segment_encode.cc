// Writing segments: EncodeSegment and SegmentView::Slice.
//
// EncodeSegment lets the codec write each tile into a slot of `out` that is as large as the tile can get, and
// then moves the tiles together, front to back: a tile never moves towards the end, so nothing is overwritten
// before it has moved. A codec that fills its slots (raw) is not moved at all.
//
// Groups share nothing but what they read until all of them are encoded, so each may have a thread of its
// own.
#include <array>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/segment.h"
#include "codec/segment_layout.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kMaxGroups = kMaxBlockTokens / kTileTokens;

// Slots of the largest group headers and tiles.
struct Slots {
  Slots(const SegmentShape& shape, const Codec& codec) {
    const SegmentLayout layout(shape);
    uint64_t at = layout.data;
    for (uint32_t g = 0; g < layout.groups; ++g) {
      header_bytes[g] = codec.GroupHeaderBound(shape.group(g));
      header[g] = at;
      at = AlignUp(at + header_bytes[g], kPayloadAlignment);
    }
    first_tile = at;
    for (uint32_t g = 0; g < layout.groups; ++g) {
      tile[g] = head_stride;
      head_stride += AlignUp(codec.TileBound(shape.group(g)), kPayloadAlignment);
    }
    // A codec asks for heads * stride bytes from its group's first slot on, so later groups look past the
    // end; it writes to its own slots only.
    end = first_tile + head_stride * shape.heads + (layout.groups > 1 ? tile[layout.groups - 1] : 0);
  }
  uint64_t at(uint32_t head, uint32_t group) const { return first_tile + head * head_stride + tile[group]; }

  std::array<uint64_t, kMaxGroups> header{};        // offset from the segment's start
  std::array<uint32_t, kMaxGroups> header_bytes{};  // bound
  std::array<uint64_t, kMaxGroups> tile{};          // offset within a head's slots
  uint64_t first_tile = 0;
  uint64_t head_stride = 0;
  uint64_t end = 0;
};

// Moves [from, from + bytes) of a segment to *cursor and advances it past the zero padding that follows.
void Compact(std::byte* segment, uint64_t from, uint64_t bytes, uint64_t* cursor) {
  if (from != *cursor) std::memmove(segment + *cursor, segment + from, bytes);
  const uint64_t end = *cursor + bytes;
  *cursor = AlignUp(end, kPayloadAlignment);
  std::memset(segment + end, 0, *cursor - end);
}

// What came of one group. Of its own until all groups are done: then they are added up in their order.
struct Part {
  absl::Status status;
  EncodeStats stats;
  std::vector<uint32_t> histogram;
};

// Encodes one segment into `out`; lives for one call. EncodeGroup() may run for several groups at once.
class Encoder {
 public:
  Encoder(const Codec& codec, const SegmentPlace& place, const SegmentShape& shape, ByteSpan values,
          const EncodeParams& params, std::byte* out)
      : codec_(codec),
        shape_(shape),
        values_(values),
        params_(params),
        layout_(shape),
        slots_(shape, codec),
        place_crc_(place, shape.head_begin),
        out_(out),
        tiles_(layout_.tiles) {
    for (uint32_t g = 0; g < layout_.groups; ++g) {
      codec_workspace_bytes_ = std::max(codec_workspace_bytes_, codec.WorkspaceBytes(shape.group(g)));
    }
    codec_workspace_bytes_ = AlignUp(codec_workspace_bytes_, kSegmentAlignment);
  }

  absl::Status EncodeGroups(TileGroupExecutor* executor, Workspace* ws, EncodeStats* stats);
  uint64_t Layout(uint32_t layer);

 private:
  absl::Status EncodeGroup(uint32_t g, Workspace& ws, EncodeStats* stats);
  absl::Status FinishTile(uint32_t head, uint32_t g, const GroupOutput& output, MutableByteSpan workspace);

  const Codec& codec_;
  const SegmentShape& shape_;
  const ByteSpan values_;
  const EncodeParams& params_;
  const SegmentLayout layout_;
  const Slots slots_;
  const PlaceCrc place_crc_;
  std::byte* const out_;
  uint64_t codec_workspace_bytes_ = 0;
  std::vector<TileEntry> tiles_;  // each is written by its group
  std::array<GroupEntry, kMaxGroups> groups_{};
};

absl::Status Encoder::EncodeGroups(TileGroupExecutor* executor, Workspace* ws, EncodeStats* stats) {
  std::vector<Part> parts(layout_.groups);
  const auto encode = [&](uint32_t g, Workspace& own) {
    Part& part = parts[g];
    // No error below the largest one so far is of interest.
    part.stats.max_error_over_r = stats->max_error_over_r;
    if (stats->histogram != nullptr) part.stats.histogram = &part.histogram;
    part.status = EncodeGroup(g, own, &part.stats);
  };
  if (executor != nullptr && layout_.groups > 1) {
    executor->Run(layout_.groups, ws, encode);
  } else {
    for (uint32_t g = 0; g < layout_.groups && (g == 0 || parts[g - 1].status.ok()); ++g) encode(g, *ws);
  }
  for (const Part& part : parts) {
    if (!part.status.ok()) return part.status;
  }
  for (const Part& part : parts) stats->Add(part.stats);
  return absl::OkStatus();
}

absl::Status Encoder::EncodeGroup(uint32_t g, Workspace& ws, EncodeStats* stats) {
  const GroupShape group = shape_.group(g);
  // The codec's, then one decoded tile.
  const MutableByteSpan workspace = ws.Get(codec_workspace_bytes_ + group.tile_bytes());
  const uint64_t head_stride_bytes = uint64_t{shape_.tokens} * group.row_bytes();
  std::vector<GroupOutput::Tile> tiles(shape_.heads);
  GroupOutput output;
  output.header = {out_ + slots_.header[g], slots_.header_bytes[g]};
  output.payload = {out_ + slots_.at(0, g), static_cast<size_t>(slots_.head_stride * shape_.heads)};
  output.payload_stride = static_cast<uint32_t>(slots_.head_stride);
  output.tiles = tiles;
  const std::byte* first = values_.data() + uint64_t{g} * kTileTokens * group.row_bytes();
  absl::Status status = codec_.EncodeGroup(group, first, head_stride_bytes, params_,
                                           workspace.first(codec_workspace_bytes_), &output, stats);
  if (!status.ok()) return status;
  if (output.header_bytes > slots_.header_bytes[g])
    return absl::InternalError("codec's group header over its bound");
  groups_[g].bytes = output.header_bytes;
  groups_[g].crc = ExtendCrc32c(place_crc_.Group(g), output.header.first(output.header_bytes));
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    if (status = FinishTile(head, g, output, workspace); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Checksums of a tile that the codec has just written.
absl::Status Encoder::FinishTile(uint32_t head, uint32_t g, const GroupOutput& output,
                                 MutableByteSpan workspace) {
  const GroupShape group = shape_.group(g);
  const GroupOutput::Tile& written = output.tiles[head];
  if (written.bytes > codec_.TileBound(group)) return absl::InternalError("codec's tile over its bound");
  TileEntry& tile = tiles_[head * layout_.groups + g];
  tile.mode = written.mode;
  tile.bytes = written.bytes;
  const ByteSpan payload = {out_ + slots_.at(head, g), written.bytes};
  const uint32_t place_crc = place_crc_.Tile(head, g);
  if (written.mode == TileMode::kRaw) {
    if (written.bytes != group.tile_bytes())
      return absl::InternalError("codec's raw tile is not of its raw size");
    tile.decoded_crc = Crc32c(payload);
    tile.encoded_crc = CombineCrc32c(place_crc, tile.decoded_crc, payload.size());
    return absl::OkStatus();
  }
  tile.encoded_crc = ExtendCrc32c(place_crc, payload);
  if (written.decoded_crc.has_value()) {
    tile.decoded_crc = *written.decoded_crc;
    return absl::OkStatus();
  }
  const MutableByteSpan decoded = workspace.subspan(codec_workspace_bytes_, group.tile_bytes());
  const absl::Status status =
      codec_.DecodeTile(group, output.header.first(output.header_bytes), written.mode, payload, params_.book,
                        workspace.first(codec_workspace_bytes_), decoded);
  if (!status.ok()) {
    return absl::InternalError(absl::StrCat("codec cannot decode what it encoded: ", status.message()));
  }
  tile.decoded_crc = Crc32c(decoded);
  return absl::OkStatus();
}

// Moves headers and payloads to their final offsets and writes header and indices. Returns the segment's
// size.
uint64_t Encoder::Layout(uint32_t layer) {
  uint64_t cursor = layout_.data;
  for (uint32_t g = 0; g < layout_.groups; ++g) {
    groups_[g].offset = static_cast<uint32_t>(cursor);
    Compact(out_, slots_.header[g], groups_[g].bytes, &cursor);
    WriteGroupEntry(groups_[g], out_ + layout_.group_entry(g));
  }
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    for (uint32_t g = 0; g < layout_.groups; ++g) {
      TileEntry& tile = tiles_[head * layout_.groups + g];
      tile.offset = static_cast<uint32_t>(cursor);
      Compact(out_, slots_.at(head, g), tile.bytes, &cursor);
      WriteTileEntry(tile, out_ + layout_.tile_entry(head, g));
    }
  }
  const uint64_t bytes = AlignUp(cursor, kSegmentAlignment);
  std::memset(out_ + cursor, 0, bytes - cursor);
  SegmentHeaderFields fields;
  fields.layer = layer;
  fields.codec = codec_.id();
  WriteSegmentHeader(shape_, fields, bytes, out_);
  SealSegmentIndex(out_, layout_.data);
  return bytes;
}

}  // namespace

uint64_t SegmentBound(const SegmentShape& shape, const Codec& codec) {
  if (!CheckShape(shape).ok()) return 0;
  return AlignUp(Slots(shape, codec).end, kSegmentAlignment);
}

absl::StatusOr<uint64_t> EncodeSegment(const Codec& codec, const SegmentPlace& place,
                                       const SegmentShape& shape, ByteSpan values, const EncodeParams& params,
                                       Workspace* ws, MutableByteSpan out, EncodeStats* stats,
                                       TileGroupExecutor* executor) {
  if (absl::Status s = CheckShape(shape); !s.ok()) return s;
  if (absl::Status s = CheckPlace(place); !s.ok()) return s;
  if (place.tensor != shape.tensor)
    return absl::InvalidArgumentError("segment's shape and place differ in tensor");
  if (values.size() != shape.raw_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment has ", values.size(), " bytes of values, its shape takes ", shape.raw_bytes()));
  }
  const uint64_t bound = SegmentBound(shape, codec);
  if (bound > kMaxSegmentBytes) return absl::InvalidArgumentError("segment over 2^32 bytes");
  if (out.size() < bound) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment's buffer has ", out.size(), " of ", bound, " bytes"));
  }
  EncodeStats unread;
  if (stats == nullptr) stats = &unread;
  Encoder encoder(codec, place, shape, values, params, out.data());
  if (absl::Status s = encoder.EncodeGroups(executor, ws, stats); !s.ok()) return s;
  return encoder.Layout(place.layer);
}

absl::StatusOr<std::string> SegmentView::Slice(uint32_t head_begin, uint32_t head_count) const {
  if (!HasHeads(head_begin, head_count)) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads [", head_begin, ", +", head_count, ") of a segment of ", shape_.heads));
  }
  SegmentShape shape = shape_;
  shape.head_begin += head_begin;
  shape.heads = head_count;
  const SegmentLayout layout(shape);
  uint64_t bytes = layout.data;
  for (uint32_t g = 0; g < layout.groups; ++g) bytes = AlignUp(bytes + group(g).bytes, kPayloadAlignment);
  for (uint32_t i = 0; i < layout.tiles; ++i) {
    bytes = AlignUp(bytes + tile(head_begin + i / layout.groups, i % layout.groups).bytes, kPayloadAlignment);
  }
  bytes = AlignUp(bytes, kSegmentAlignment);

  std::string out(bytes, '\0');
  std::byte* segment = reinterpret_cast<std::byte*>(out.data());
  uint64_t cursor = layout.data;
  const auto append = [&](ByteSpan part) {
    if (!part.empty()) std::memcpy(segment + cursor, part.data(), part.size());
    cursor = AlignUp(cursor + part.size(), kPayloadAlignment);
  };
  for (uint32_t g = 0; g < layout.groups; ++g) {
    GroupEntry entry = group(g);
    entry.offset = static_cast<uint32_t>(cursor);
    append(group_header(g));
    WriteGroupEntry(entry, segment + layout.group_entry(g));
  }
  for (uint32_t head = 0; head < head_count; ++head) {
    for (uint32_t g = 0; g < layout.groups; ++g) {
      TileEntry entry = tile(head_begin + head, g);
      entry.offset = static_cast<uint32_t>(cursor);
      append(tile_payload(head_begin + head, g));
      WriteTileEntry(entry, segment + layout.tile_entry(head, g));
    }
  }
  SegmentHeaderFields fields;
  fields.must_understand = must_understand_;
  fields.layer = layer_;
  fields.codec = codec_id_;
  WriteSegmentHeader(shape, fields, bytes, segment);
  SealSegmentIndex(segment, layout.data);
  return out;
}

}  // namespace kvcompd::codec
