// Where things stand in a segment (FORMAT.md, "Segment" and "Checksums"): shared by the reader (segment.cc)
// and the writer (segment_encode.cc), and private to them.
//
//   const SegmentLayout layout(shape);
//   PlaceCrc place_crc(place, shape.head_begin);
//   uint32_t crc = ExtendCrc32c(place_crc.Tile(head, group), payload);
#ifndef KVCOMPD_CODEC_SEGMENT_LAYOUT_H_
#define KVCOMPD_CODEC_SEGMENT_LAYOUT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "codec/segment.h"

namespace kvcompd::codec {

inline constexpr uint32_t kSegmentMagic = 0x4753564b;  // "KVSG"
inline constexpr uint32_t kSegmentHeaderBytes = 64;
inline constexpr uint32_t kSegmentCrcOffset = 60;
inline constexpr uint32_t kIndexEntryBytes = 16;
inline constexpr uint64_t kSegmentAlignment = 64;
inline constexpr uint64_t kMaxSegmentBytes = (uint64_t{1} << 32) - kSegmentAlignment;
inline constexpr uint32_t kMaxPayloadBytes = (1u << 24) - 1;
inline constexpr uint32_t kGroupHeaderHead = 0xffff;  // stands for the head in a group header's place
inline constexpr uint32_t kKnownSegmentMustUnderstand = 0;
// What a newer version may put between the group index and the data, where it sets a may-ignore bit.
inline constexpr uint32_t kMaxExtensionBytes = 1 << 16;
inline constexpr uint32_t kExtensionAlignment = 16;

// INVALID_ARGUMENT names the field outside FORMAT.md's limits.
absl::Status CheckShape(const SegmentShape& shape);
// The same of a shape that was read: UNIMPLEMENTED, as a newer version may have other limits; DATA_LOSS where
// there is nothing in the segment.
absl::Status CheckStoredShape(const SegmentShape& shape);
// INVALID_ARGUMENT: a layer or tensor that no place has.
absl::Status CheckPlace(const SegmentPlace& place);

// Offsets that follow from a valid shape alone. At most 1024 * 16 tiles: no overflow.
struct SegmentLayout {
  explicit SegmentLayout(const SegmentShape& shape)
      : groups(shape.groups()),
        tiles(shape.heads * groups),
        group_index(kSegmentHeaderBytes + kIndexEntryBytes * tiles),
        data(group_index + kIndexEntryBytes * groups) {}

  uint32_t tile_entry(uint32_t head, uint32_t group) const {
    return kSegmentHeaderBytes + kIndexEntryBytes * (head * groups + group);
  }
  uint32_t group_entry(uint32_t group) const { return group_index + kIndexEntryBytes * group; }

  uint32_t groups;
  uint32_t tiles;
  uint32_t group_index;
  uint32_t data;  // first group header, where there is no extension
};

// The fields of a segment's header that are not fixed by the others.
struct SegmentHeaderFields {
  uint32_t must_understand = 0;
  uint32_t layer = 0;
  CodecId codec = CodecId::kRaw;
};

void WriteSegmentHeader(const SegmentShape& shape, const SegmentHeaderFields& fields, uint64_t segment_bytes,
                        std::byte* segment);
void WriteTileEntry(const TileEntry& entry, std::byte* at);
void WriteGroupEntry(const GroupEntry& entry, std::byte* at);
// CRC of header and both indices; `segment` has at least layout.data bytes.
uint32_t SegmentIndexCrc(const std::byte* segment, uint32_t data_offset);
// Writes the CRC that the above computes: the last step of writing a segment.
void SealSegmentIndex(std::byte* segment, uint32_t data_offset);

// CRCs of the places of one segment's tiles and group headers; what they share is computed once.
class PlaceCrc {
 public:
  PlaceCrc(const SegmentPlace& place, uint32_t head_begin);
  uint32_t Tile(uint32_t local_head, uint32_t group) const { return Extend(head_begin_ + local_head, group); }
  uint32_t Group(uint32_t group) const { return Extend(kGroupHeaderHead, group); }

 private:
  uint32_t Extend(uint32_t head, uint32_t group) const;
  uint32_t prefix_crc_;
  uint32_t head_begin_;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SEGMENT_LAYOUT_H_
