// Explains an encoded container: every field, every segment, every checksum; and for a damaged one what is
// wrong and where.
//
// Called by `kvcompctl inspect`. Pure functions; any thread. Hostile bytes only give problems.
//
//   InspectReport report = InspectContainer(bytes, /*codebooks=*/nullptr);
//   if (!report.ok()) for (const auto& p : report.problems) Print(p.where, p.offset, p.status);
#ifndef KVCOMPD_CLIENT_CTL_INSPECT_H_
#define KVCOMPD_CLIENT_CTL_INSPECT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/ctl/inspect_fields.h"
#include "client/ctl/table.h"
#include "codec/codebook.h"
#include "codec/container.h"

namespace kvcompd::client {

struct InspectProblem {
  std::string where;    // "segment 3 (layer 1 V), head 2"
  uint64_t offset = 0;  // of the part in the container
  absl::Status status;
};

// One group of 64 tokens of a segment.
struct InspectGroup {
  uint64_t offset = 0;  // of its header, in the container
  uint32_t header_bytes = 0;
  std::string unit;      // "block", "channel", "token"; empty for a codec without group headers
  uint32_t symbols = 0;  // of the alphabet
  // Scales of the units in the header, where there are some.
  uint32_t scales = 0;
  float min_scale = 0;
  float max_scale = 0;
};

struct InspectTile {
  uint32_t head = 0;  // counted from the segment's first
  uint32_t group = 0;
  uint64_t offset = 0;  // in the container
  codec::TileEntry entry;
};

struct InspectSegment {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::vector<InspectField> fields;
  // Where header and indices are sound:
  bool parsed = false;
  uint32_t layer = 0;
  Tensor tensor = Tensor::kK;
  std::string codec;
  codec::SegmentShape shape;
  uint64_t payload_bytes = 0;                    // tiles and group headers
  std::span<const std::string_view> mode_names;  // of the codec
  std::vector<uint32_t> tile_modes;              // how many tiles have each of them
  std::vector<InspectGroup> groups;
  std::vector<InspectTile> tiles;
  bool checksums_ok = false;  // of all tiles and group headers, in their place
  bool decoded = false;       // and all decoded, with the right values
};

struct InspectReport {
  uint64_t bytes = 0;
  std::vector<InspectField> header;
  std::vector<InspectSegment> segments;
  uint64_t footer_offset = 0;
  std::vector<InspectField> footer;
  std::vector<InspectProblem> problems;
  std::optional<codec::BlockHeader> block;  // where the header is sound

  bool ok() const { return problems.empty(); }
  uint64_t raw_bytes() const;      // of the sound segments
  uint64_t payload_bytes() const;  // of the sound segments
};

// codebooks: the set that the container names; without it (and where it does not name the built-in one) tiles
// are checked by their CRC and not decoded.
InspectReport InspectContainer(ByteSpan container, const codec::CodebookSet* codebooks);

Json InspectJson(const InspectReport& report, bool with_tiles);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_INSPECT_H_
