// Encodes one tile group with codec kvcomp (FORMAT.md, "Codec kvcomp"). Two stages a tile: values to codes,
// decoded values and the largest error; then codes to bytes. Each has a scalar reference, plain loops over
// codec/quantizer.h and codec/tile_payload.h, which other backends reproduce byte for byte, and kernels of
// codec/simd.
//
// Called by kvcomp_codec.cc, which has checked the arguments. Not thread-safe; one object a group.
//
//   KvcompGroupEncoder(shape, values, stride, profile, book, workspace, out).Run(stats);
#ifndef KVCOMPD_CODEC_KVCOMP_ENCODER_H_
#define KVCOMPD_CODEC_KVCOMP_ENCODER_H_

#include <array>
#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "codec/kvcomp_rans.h"
#include "codec/kvcomp_workspace.h"

namespace kvcompd::codec {

class KvcompGroupEncoder {
 public:
  // book: of the profile's coder and BookSymbols(profile, shape.tensor) symbols. All pointers outlive the
  // object.
  KvcompGroupEncoder(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                     const Profile& profile, const Codebook& book, MutableByteSpan workspace,
                     GroupOutput* out);
  // Adds to *stats.
  void Run(EncodeStats* stats);

 private:
  enum class Fallback { kSize, kBound, kNonFinite };  // why a tile is raw

  // Finds the finite tiles, and the ranges of the units that heads share over them.
  void ScanTiles();
  // The ranges of a tile, into ws_.tile_ranges. False where it is not finite.
  bool ScanTile(uint32_t head);
  bool ScanTileReference(uint32_t head);
  // Parameters of num_units_ units. False where one cannot be quantised.
  bool ChooseUnits(std::span<const UnitRange> ranges);
  void EncodeTile(uint32_t head, bool shared_units_ok);
  // The tile to ws_.codes and ws_.decoded, its largest error over r to tile_error_. False where a value
  // misses the bound.
  bool Quantize(uint32_t head);
  template <UnitsOfRow kUnits>
  bool QuantizeReference(uint32_t head);
  // Writes the tile in ws_.codes in its smallest mode.
  void WriteSmallest(uint32_t head);
  // An entropy-coded form of ws_.codes, where its stored size with side_bytes before it is under `limit`, to
  // `out`. Returns its size; 0 where it is not smaller.
  uint32_t WriteHuffmanUnder(uint64_t limit, uint64_t side_bytes, MutableByteSpan out);
  uint32_t WriteRansUnder(uint64_t limit, uint64_t side_bytes, MutableByteSpan out);
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
  const uint32_t num_codes_;
  const Codebook& book_;
  GroupOutput* const out_;
  KvcompWorkspace ws_;
  uint32_t num_units_;    // of ws_.units: of the group, or of the tile for channels
  const bool reference_;  // plain loops
  RansCodes rans_;        // of the tile in hand, where that is the coder
  bool count_codes_ = false;
  double known_error_ = 0;  // largest error over r that the caller has seen: a smaller one changes nothing
  double tile_error_ = 0;   // of the tile, or known_error_ where that is larger
  EncodeStats group_;       // of this group alone
  std::array<uint32_t, kMaxSymbols> histogram_{};
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_ENCODER_H_
