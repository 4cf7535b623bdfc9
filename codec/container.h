// The encoded block: header | one self-contained segment per (layer, K/V) | footer. FORMAT.md is the
// specification; this file is its C++ form. The same bytes stand in GPU memory, host memory, on disk and on
// the wire.
//
// Called by the daemon's encode and serve paths, by clients in ENCODED form, and by kvcompctl inspect.
// Pure functions over byte buffers; nothing here does I/O or keeps state.
//
//   ContainerWriter: header, then segments layer-major (K before V), then footer.
//   auto view = ContainerView::Parse(bytes);             // every length checked; no tile CRC yet
//   auto seg = view->Segment(layer_index, Tensor::kK);   // SegmentView over the same memory
//   seg->Verify(place, 0, heads) / seg->Decode(place, 0, heads, book, &ws, values);
#ifndef KVCOMPD_CODEC_CONTAINER_H_
#define KVCOMPD_CODEC_CONTAINER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/types.h"
#include "codec/codec.h"
#include "codec/segment.h"

namespace kvcompd::codec {

inline constexpr uint8_t kFormatMajor = 1;
inline constexpr uint8_t kFormatMinor = 0;
inline constexpr uint32_t kFormatVersion = kFormatMajor << 8 | kFormatMinor;
inline constexpr uint64_t kMaxContainerBytes = (uint64_t{1} << 32) - 64;

// Header bits. A reader refuses a must-understand bit that it does not know (UNIMPLEMENTED) and ignores a
// may-ignore bit.
inline constexpr uint32_t kKnownMustUnderstand = 0;

struct BlockHeader {
  uint8_t minor = kFormatMinor;
  uint32_t must_understand = 0;
  uint32_t may_ignore = 0;
  Fingerprint fingerprint;
  BlockKey key;      // as stored, the salt mixed in
  ShardRange shard;  // counts resolved, never 0
  uint32_t tokens = 0;
  DType dtype = DType::kBf16;
  uint32_t head_dim_k = 0;
  uint32_t head_dim_v = 0;       // 0: no V segments
  std::vector<uint32_t> layers;  // [shard.layer_count] global layer numbers
  std::string profile;           // canonical text
  Digest codebook_set;           // zero: the built-in one (or a codec without books)
  float error_bound = 0;         // the profile's, relative to the unit's range; 0: only bit-exact codecs

  // Segments that follow: layer_count * (1 or 2).
  uint32_t num_segments() const { return shard.layer_count * (head_dim_v ? 2 : 1); }
  uint32_t segment_index(uint32_t layer_index, Tensor tensor) const {
    return head_dim_v ? layer_index * 2 + (tensor == Tensor::kV ? 1 : 0) : layer_index;
  }
  // Raw bytes of the whole shard.
  uint64_t raw_bytes() const;
  // Shape and place of a segment. layer_index counts within the shard and must be in `layers`.
  SegmentShape segment_shape(Tensor tensor) const;
  SegmentPlace place(uint32_t layer_index, Tensor tensor) const;
};

// Always of this minor version: what a newer header held beside the fields above is dropped with its bits.
// The fields must be in range (ContainerWriter::Finish checks; ParseBlockHeader of the result tells).
std::string SerializeBlockHeader(const BlockHeader& header);
// Malformed: DATA_LOSS; another major or an unknown must-understand bit: UNIMPLEMENTED. `bytes` may be longer
// than the header; `consumed` = header bytes.
absl::StatusOr<BlockHeader> ParseBlockHeader(ByteSpan bytes, size_t* consumed = nullptr);
// Bytes of the header that starts here, from its first 16 bytes; for readers of a stream. DATA_LOSS,
// UNIMPLEMENTED (another major) as above.
absl::StatusOr<uint32_t> BlockHeaderBytes(ByteSpan first_bytes);

// The footer's record: what a reader counts again, and what only the encoder could measure.
struct QualityRecord {
  uint32_t tiles = 0;
  uint32_t raw_tiles = 0;  // in mode raw, whatever the codec
  uint64_t raw_bytes = 0;
  float max_error_over_r_k = 0;  // of K's tiles that are not raw (FORMAT.md, "Error bound")
  float max_error_over_r_v = 0;  // of V's; 0 without V

  // What encoding one segment of this tensor gave.
  void Add(Tensor tensor, const EncodeStats& stats);
};

// The block's error class (FORMAT.md, "Error class"): what a reader's max_error is compared with. 0 where
// every tile is raw, so bit-exact; else the profile's nominal bound. ContainerView::Parse has checked the
// counts.
inline float ErrorClass(const BlockHeader& header, const QualityRecord& quality) {
  return quality.raw_tiles == quality.tiles ? 0.0f : header.error_bound;
}

struct SegmentExtent {
  uint64_t offset = 0;  // from the container's start, a multiple of 64
  uint64_t bytes = 0;
};

// The footer of a container whose segments end where the footer starts.
std::string SerializeFooter(std::span<const SegmentExtent> segments, const QualityRecord& quality,
                            uint64_t container_bytes);
// Its size; container_bytes = end of the last segment + FooterBytes.
uint64_t FooterBytes(uint32_t num_segments);

// Gathers a container in memory.
class ContainerWriter {
 public:
  explicit ContainerWriter(const BlockHeader& header);
  // In order: layer-major, K then V. FAILED_PRECONDITION: out of order, one too many, of another shape than
  // the header's, or of a codec that is not bit-exact under an error bound of 0; DATA_LOSS, UNIMPLEMENTED as
  // SegmentView::Parse.
  absl::Status AddSegment(ByteSpan segment);
  // `measured`: only the errors are taken, as the rest is counted here. FAILED_PRECONDITION: a segment is
  // missing. INVALID_ARGUMENT: the header has a field out of range.
  absl::StatusOr<std::string> Finish(const QualityRecord& measured) &&;

 private:
  BlockHeader header_;
  QualityRecord counted_;
  std::string out_;
  std::vector<SegmentExtent> extents_;
};

// A parsed container over memory that outlives it.
class ContainerView {
 public:
  // Checks header, footer, every segment's header and index, that all agree, the footer's counts too, and
  // nothing is in between; no tile's payload is read. `bytes` is exactly one container. DATA_LOSS,
  // UNIMPLEMENTED as ParseBlockHeader and SegmentView::Parse.
  static absl::StatusOr<ContainerView> Parse(ByteSpan bytes);

  const BlockHeader& header() const { return header_; }
  const QualityRecord& quality() const { return quality_; }
  ByteSpan header_bytes() const { return bytes_.subspan(0, header_bytes_); }
  ByteSpan footer_bytes() const { return bytes_.subspan(footer_offset_); }
  // layer_index counts within the shard. NOT_FOUND outside.
  absl::StatusOr<SegmentView> Segment(uint32_t layer_index, Tensor tensor) const;
  // Empty outside [0, header().num_segments()).
  ByteSpan SegmentBytes(uint32_t segment_index) const;
  // CRC of every tile and group header in its place, and all padding. DATA_LOSS.
  absl::Status VerifyAll() const;

 private:
  ByteSpan bytes_;
  BlockHeader header_;
  QualityRecord quality_;
  size_t header_bytes_ = 0;
  size_t footer_offset_ = 0;
  std::vector<SegmentExtent> extents_;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_CONTAINER_H_
