// Encodes one tile group with codec packkv (FORMAT.md, "Codec packkv"; after PackKV: token-wise quantisation,
// encode-aware repacking, adaptive bit-packing).
//
// Called by packkv_codec.cc, which has checked the arguments. Not thread-safe; one object a group.
//
//   PackkvGroupEncoder(shape, values, stride, profile, workspace, out).Run(stats);
#ifndef KVCOMPD_CODEC_PACKKV_ENCODER_H_
#define KVCOMPD_CODEC_PACKKV_ENCODER_H_

#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "codec/pack_classes.h"
#include "codec/packkv_header.h"
#include "codec/packkv_workspace.h"

namespace kvcompd::codec {

class PackkvGroupEncoder {
 public:
  // All pointers outlive the object. profile: nothing in it is auto.
  PackkvGroupEncoder(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                     const Profile& profile, MutableByteSpan workspace, GroupOutput* out);
  // Adds to *stats.
  void Run(EncodeStats* stats);

 private:
  enum class Fallback { kSize, kBound, kNonFinite };  // why a tile is raw

  // Formats of the strips: only the very last one may have fewer tokens.
  struct Strips {
    Strips(const PackClasses& classes, const PackGrid& grid);
    StripFormat full, last;
  };

  // How the group would be written with one order of its tokens.
  struct Plan {
    TokenOrder order;
    PackClassChoice classes;
    uint64_t stored_bytes = 0;  // header and tiles, with padding
  };

  // Ranges of the tokens over the finite tiles, and their units. False where one cannot be quantised.
  bool ChooseUnits();
  // Codes of all finite tiles; those that miss the bound become raw.
  void QuantizeTiles();
  // Classes and sizes for an order. Leaves the packs' class numbers and the tiles' sizes in the workspace.
  void MakePlan(const TokenOrder& order, Plan* plan);
  // Fills the entries of all packs.
  PackHistogram CountPacks(const TokenOrder& order);
  // Class numbers from the entries; the packed payload's size.
  uint32_t ChooseClasses(const PackClassChoice& choice, const Strips& strips, uint32_t head);
  // The order to write: the profile's where it pays.
  void ChoosePlan(Plan* plan);
  // Header and tiles; all raw where that is not larger.
  void WriteTiles(const Plan& plan);
  // The rows of one row of packs, in the plan's order. Returns how many.
  uint32_t RowsOf(uint32_t head, uint32_t row, const TokenOrder& order, const uint8_t** rows) const;
  void WriteTile(const Plan& plan, const Strips& strips, uint32_t head);
  // CRC32C of what the tile's codes decode to, whatever their order in the payload. Overwrites ws_.payload.
  uint32_t DecodedCrc(uint32_t head);
  void WriteRaw(uint32_t head, Fallback why);
  double WorstErrorOverRadius(uint32_t head) const;

  const std::byte* tile(uint32_t head) const { return values_ + head * head_stride_; }
  uint8_t* codes(uint32_t head) const { return ws_.codes.data() + uint64_t{head} * kTileTokens * stride_; }
  uint16_t* entries(uint32_t head, uint32_t row) const {
    return ws_.entries.data() + (uint64_t{head} * kMaxPackRows + row) * stride_;
  }
  uint8_t* classes(uint32_t head, uint32_t row) const {
    return ws_.classes.data() + (uint64_t{head} * kMaxPackRows + row) * stride_;
  }

  const GroupShape shape_;
  const std::byte* const values_;
  const uint64_t head_stride_;
  const Profile& profile_;
  const double rel_;
  const uint32_t symbols_;
  const PackGrid grid_;
  const uint64_t stride_;  // of a row of codes
  GroupOutput* const out_;
  PackkvWorkspace ws_;
  EncodeStats group_;  // of this group alone
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_ENCODER_H_
