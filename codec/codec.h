// Codec: turns a tile group into bytes and its tiles back into values. One implementation per codec and
// backend; the bytes are the same for every backend (FORMAT.md, "Determinism").
//
// Called by codec/segment.h, which adds checksums, index and place; callers outside codec/ use that.
// A Codec has no state: const use from any number of threads, each with a workspace of its own.
//
//   const Codec& codec = *FindCodec(CodecId::kKvcomp);
//   Workspace ws;
//   auto s = codec.EncodeGroup(shape, values, stride, params, ws.Get(codec.WorkspaceBytes(shape)), &out,
//   &stats);
#ifndef KVCOMPD_CODEC_CODEC_H_
#define KVCOMPD_CODEC_CODEC_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codebook.h"

namespace kvcompd::codec {

// A tile group: the tiles of one layer, K or V, and up to 64 tokens, over the heads of a shard.
struct GroupShape {
  DType dtype = DType::kBf16;
  Tensor tensor = Tensor::kK;
  uint32_t heads = 0;     // 1 to 1024
  uint32_t tokens = 0;    // 1 to 64
  uint32_t channels = 0;  // 8 to 576 (opaque: 1 to 65536)

  uint32_t row_bytes() const { return channels * ElementBytes(dtype); }
  uint32_t tile_bytes() const { return tokens * row_bytes(); }  // raw

  absl::Status Validate() const;  // INVALID_ARGUMENT: a field out of the ranges above
};

// Payloads and group headers start at multiples of this in their segment.
inline constexpr uint64_t kPayloadAlignment = 16;

// How a tile's payload is written. Frozen in the file format. 0 is raw for every codec: the values, [tokens,
// channels], little-endian. 1 to 255 are each codec's own, named in its header.
enum class TileMode : uint8_t { kRaw = 0 };

struct EncodeParams {
  Profile profile;
  const Codebook* book = nullptr;  // of this layer and tensor; null: the built-in one
  // For what is auto in a profile of packkv; unset: the defaults.
  std::optional<PackkvSetting> packing = std::nullopt;
};

// What an encode did, for reports, quality records and codebook training. Sums over calls.
struct EncodeStats {
  uint64_t tiles = 0;
  uint64_t raw_tiles = 0;        // fell back
  uint64_t nonfinite_tiles = 0;  // of these, because of NaN or Inf
  uint64_t bound_tiles = 0;      // of these, because a value missed the bound
  uint64_t payload_bytes = 0;    // tile payloads and group headers, without index, padding and container
  uint64_t raw_bytes = 0;
  double max_error_over_r = 0;  // max |x-y|/r over the values of lossy tiles (r: FORMAT.md, "Error bound")
  // If set: counts of codes 0..255 are added to its 256 entries, of every tile that kept the bound, whichever
  // mode was then the smallest (a bad book that makes tiles raw would else never be replaced).
  std::vector<uint32_t>* histogram = nullptr;

  // Adds the counters; the histogram only where both have one of their own.
  void Add(const EncodeStats& other);
};

class Codec;

// Bytes of one encoded group. `header` and `payload` are the caller's; tile h's payload starts at
// h * payload_stride. A codec writes nothing outside the GroupHeaderBound() bytes of the header and the
// TileBound() bytes of each tile: between tiles another thread may be writing another group.
struct GroupOutput {
  MutableByteSpan header;  // at least GroupHeaderBound(shape)
  uint32_t header_bytes = 0;
  MutableByteSpan payload;      // at least heads * payload_stride
  uint32_t payload_stride = 0;  // at least TileBound(shape)
  struct Tile {
    TileMode mode = TileMode::kRaw;
    uint32_t bytes = 0;
    // CRC32C of what DecodeTile gives, from a codec that has had the decoded values in its hands; else the
    // caller decodes the tile for it. Not for raw tiles.
    std::optional<uint32_t> decoded_crc = std::nullopt;
  };
  std::span<Tile> tiles;  // [heads]

  absl::Status Validate(const GroupShape& shape, const Codec& codec) const;  // INVALID_ARGUMENT: too small
};

class Codec {
 public:
  virtual ~Codec() = default;
  virtual CodecId id() const = 0;
  // Whether every value comes back bit by bit, whatever the profile.
  virtual bool bit_exact() const = 0;
  // Names of the codec's modes, by their number; [0] is "raw".
  virtual std::span<const std::string_view> mode_names() const = 0;
  bool KnowsMode(TileMode mode) const { return static_cast<size_t>(mode) < mode_names().size(); }

  // Upper bounds; a tile is never longer than its raw form.
  virtual uint32_t GroupHeaderBound(const GroupShape& shape) const = 0;
  uint32_t TileBound(const GroupShape& shape) const { return shape.tile_bytes(); }
  virtual uint64_t WorkspaceBytes(const GroupShape& shape) const = 0;  // encode and decode

  // values: head h's tile is [tokens, channels], contiguous, at values + h * head_stride_bytes.
  // INVALID_ARGUMENT: shape, workspace, output or book out of range; FAILED_PRECONDITION: the thread's
  // floating-point environment. A pure function of (values, params).
  virtual absl::Status EncodeGroup(const GroupShape& shape, const std::byte* values,
                                   uint64_t head_stride_bytes, const EncodeParams& params,
                                   MutableByteSpan workspace, GroupOutput* out, EncodeStats* stats) const = 0;

  // Whether a group header is one that this codec writes for the shape, or empty. DATA_LOSS; UNIMPLEMENTED:
  // it has what a newer version added.
  virtual absl::Status CheckGroupHeader(const GroupShape& shape, ByteSpan header) const = 0;

  // Decodes one tile into `values`, [tokens, channels].
  // book: as in EncodeParams. DATA_LOSS: bytes that no encoder writes, or another alphabet than the book's;
  // UNIMPLEMENTED: a mode not known here; INVALID_ARGUMENT, FAILED_PRECONDITION as above. Never reads outside
  // `header` and `payload`, never writes outside `values`, whatever the bytes are.
  virtual absl::Status DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                                  const Codebook* book, MutableByteSpan workspace,
                                  MutableByteSpan values) const = 0;
};

// The CPU backend's codecs; null for an id not known here.
const Codec* FindCodec(CodecId id);

// Reusable scratch memory of one thread, 64-byte aligned; grows, never shrinks.
class Workspace {
 public:
  MutableByteSpan Get(uint64_t bytes);

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  uint64_t bytes_ = 0;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_CODEC_H_
