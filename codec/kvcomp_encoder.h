// Encodes one tile group with codec kvcomp. The reference that other backends reproduce byte for byte: plain
// loops, IEEE arithmetic in the order of FORMAT.md, "Codec kvcomp".
//
// Called by kvcomp_codec.cc, which has checked the arguments. Not thread-safe; one object a group.
//
//   KvcompGroupEncoder(shape, values, stride, profile, book, workspace, out).Run(stats);
#ifndef KVCOMPD_CODEC_KVCOMP_ENCODER_H_
#define KVCOMPD_CODEC_KVCOMP_ENCODER_H_

#include <array>
#include <cstdint>

#include "codec/codec.h"
#include "codec/kvcomp_workspace.h"

namespace kvcompd::codec {

class KvcompGroupEncoder {
 public:
  // book: of AlphabetSize(profile.rel(shape.tensor)) symbols. All pointers outlive the object.
  KvcompGroupEncoder(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                     const Profile& profile, const Codebook& book, MutableByteSpan workspace,
                     GroupOutput* out);
  // Adds to *stats.
  void Run(EncodeStats* stats);

 private:
  enum class Fallback { kSize, kBound, kNonFinite };  // why a tile is raw

  // Finds the finite tiles, and the range of each token over them.
  void ScanTiles();
  // Parameters of the units that heads share. False where one cannot be quantised.
  bool ChooseSharedUnits();
  // Parameters of the channels of the tile in ws_.values. False where one cannot be quantised.
  bool ChooseChannelUnits();
  bool SetUnit(uint32_t i, const UnitRange& range);
  void EncodeTile(uint32_t head, bool shared_units_ok);
  // Codes of the tile in ws_.values. False where a value misses the bound.
  template <UnitsOfRow kUnits>
  bool QuantizeTile();
  // Writes the tile in ws_.codes in its smallest mode.
  void WriteSmallest(uint32_t head);
  void WriteRaw(uint32_t head, Fallback why);
  void WriteHeader();
  void CountCodes();
  double WorstErrorOverRadius() const;

  const std::byte* tile(uint32_t head) const { return values_ + head * stride_; }
  MutableByteSpan payload(uint32_t head) const {
    return out_->payload.subspan(uint64_t{head} * out_->payload_stride, shape_.tile_bytes());
  }

  const GroupShape shape_;
  const std::byte* const values_;
  const uint64_t stride_;
  const double rel_;
  const bool strict_;
  const QuantUnit unit_;
  const Codebook& book_;
  GroupOutput* const out_;
  KvcompWorkspace ws_;
  uint32_t num_units_;  // of ws_.units: of the group, or of the tile for channels
  EncodeStats group_;   // of this group alone
  std::array<uint32_t, kMaxSymbols> histogram_{};
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_ENCODER_H_
