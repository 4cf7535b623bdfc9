// A segment: one layer's K or V of a shard, encoded: header, tile index, group index, group headers, tile
// payloads. Self-contained but for its codebook and its place (FORMAT.md, "Segment").
//
//   SegmentShape shape{DType::kBf16, Tensor::kK, heads, tokens, channels};
//   std::string out(SegmentBound(shape, codec), '\0');
//   auto n = EncodeSegment(codec, place, shape, values, params, &ws, MutableBytes(out), &stats);
//
// Thread-safety: free functions and const views; one Workspace a thread. An encode may spread over the
// threads of a TileGroupExecutor.
#ifndef KVCOMPD_CODEC_SEGMENT_H_
#define KVCOMPD_CODEC_SEGMENT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "codec/base/types.h"
#include "codec/codec.h"
#include "codec/tile_group_executor.h"

namespace kvcompd::codec {

// Where a segment belongs; its checksums are seeded with it, so that right bytes in a wrong place fail.
struct SegmentPlace {
  Fingerprint fingerprint;
  BlockKey key;
  uint32_t layer = 0;  // global layer number
  Tensor tensor = Tensor::kK;
};

struct SegmentShape {
  DType dtype = DType::kBf16;
  Tensor tensor = Tensor::kK;
  uint32_t head_begin = 0;  // global
  uint32_t heads = 0;
  uint32_t tokens = 0;  // of the block, 1 to 1024
  uint32_t channels = 0;

  uint32_t groups() const { return (tokens + kTileTokens - 1) / kTileTokens; }
  uint32_t group_tokens(uint32_t g) const {
    return g + 1 < groups() ? kTileTokens : tokens - g * kTileTokens;
  }
  uint64_t raw_bytes() const { return uint64_t{heads} * tokens * channels * ElementBytes(dtype); }
  GroupShape group(uint32_t g) const { return {dtype, tensor, heads, group_tokens(g), channels}; }
};

// Upper bound of the encoded bytes.
uint64_t SegmentBound(const SegmentShape& shape, const Codec& codec);

// Encodes [heads, tokens, channels] values. Returns the bytes written to `out` (at least SegmentBound).
// executor: runs the tile groups; null: one after the other, here. Bytes and stats are the same, whatever
// runs them. INVALID_ARGUMENT: shape or buffer out of range. Where several groups fail, the status is that of
// the first by number. After an error nothing is added to stats. Deterministic.
absl::StatusOr<uint64_t> EncodeSegment(const Codec& codec, const SegmentPlace& place,
                                       const SegmentShape& shape, ByteSpan values, const EncodeParams& params,
                                       Workspace* ws, MutableByteSpan out, EncodeStats* stats,
                                       TileGroupExecutor* executor = nullptr);

struct TileEntry {
  uint32_t offset = 0;  // from the segment's start, a multiple of 16
  uint32_t bytes = 0;   // under 2^24
  TileMode mode = TileMode::kRaw;
  uint32_t encoded_crc = 0;  // of place and payload
  uint32_t decoded_crc = 0;  // of the decoded values, [tokens, channels]
};
struct GroupEntry {
  uint32_t offset = 0;
  uint32_t bytes = 0;
  uint32_t crc = 0;  // of place and group header
};

// A parsed segment over memory that outlives it.
class SegmentView {
 public:
  // Checks header, index CRC, and that every offset and length is the canonical one; no payload and no
  // padding is read (Verify does that). `bytes` may be longer than the segment. DATA_LOSS; UNIMPLEMENTED:
  // must-understand bit, codec, mode, dtype, tensor or shape that is not known here.
  static absl::StatusOr<SegmentView> Parse(ByteSpan bytes);
  // Bytes of the segment that starts here, from its first 64 bytes; for readers of a stream.
  static absl::StatusOr<uint64_t> SegmentBytes(ByteSpan first_bytes);

  const SegmentShape& shape() const { return shape_; }
  CodecId codec_id() const { return codec_id_; }
  uint32_t layer() const { return layer_; }  // global layer number
  ByteSpan bytes() const { return bytes_; }
  TileEntry tile(uint32_t head, uint32_t group) const;  // head counts from shape().head_begin
  GroupEntry group(uint32_t g) const;
  ByteSpan tile_payload(uint32_t head, uint32_t group) const;
  ByteSpan group_header(uint32_t g) const;
  // True where every tile is kRaw and they lie back to back: then the payloads of heads [begin, begin+count)
  // are their decoded values, and this returns them; else empty.
  ByteSpan RawValues(uint32_t head_begin, uint32_t head_count) const;
  // CRC32C of the decoded values of these heads, [count, tokens, channels], whatever the tiles' modes: from
  // the index alone, so that serving RawValues takes no second pass. 0: no such heads.
  uint32_t RawValuesCrc(uint32_t head_begin, uint32_t head_count) const;

  // CRC of place, group headers and payloads of heads [begin, begin+count) (local numbers), the padding after
  // them, and that the group headers are the codec's. DATA_LOSS names the tile; UNIMPLEMENTED: a group header
  // of a newer version; INVALID_ARGUMENT: no such heads.
  absl::Status Verify(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count) const;
  // Verifies and decodes heads [begin, begin+count) to `values`, [count, tokens, channels], and checks the
  // CRC of the decoded values. DATA_LOSS, UNIMPLEMENTED, INVALID_ARGUMENT (size of values). After an error
  // `values` may hold anything.
  // book: null for the built-in one, see FindBook.
  absl::Status Decode(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count,
                      const Codebook* book, Workspace* ws, MutableByteSpan values) const;
  // The two parts of Decode, for callers that decode some heads at a time: the first once, then the second,
  // which takes the group headers as verified. Otherwise the headers would be read once a head.
  absl::Status VerifyGroupHeaders(const SegmentPlace& place) const;
  absl::Status DecodeTiles(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count,
                           const Codebook* book, Workspace* ws, MutableByteSpan values) const;
  // A segment of its own with a run of these heads: header and index anew, payloads and CRCs as they are,
  // nothing verified. What a newer version announced by may-ignore bits is left out; without such a slice of
  // all heads equals the original. INVALID_ARGUMENT: no such heads.
  absl::StatusOr<std::string> Slice(uint32_t head_begin, uint32_t head_count) const;

 private:
  bool HasHeads(uint32_t head_begin, uint32_t head_count) const;
  absl::Status CheckIndex() const;
  absl::Status CheckPlaceMatches(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count) const;
  absl::Status VerifyGroupHeader(uint32_t place_crc, uint32_t g) const;
  absl::Status VerifyTiles(const SegmentPlace& place, uint32_t head_begin, uint32_t head_count) const;
  absl::Status VerifyTile(uint32_t place_crc, uint32_t head, uint32_t g) const;
  absl::Status TileStatus(absl::StatusCode code, absl::string_view what, uint32_t head, uint32_t g) const;
  absl::Status TileError(absl::string_view what, uint32_t head, uint32_t g) const;

  ByteSpan bytes_;
  SegmentShape shape_;
  CodecId codec_id_ = CodecId::kRaw;
  const Codec* codec_ = nullptr;
  uint32_t must_understand_ = 0;
  uint32_t layer_ = 0;
  uint32_t groups_ = 0;
  uint32_t group_index_offset_ = 0;
  uint32_t data_offset_ = 0;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SEGMENT_H_
