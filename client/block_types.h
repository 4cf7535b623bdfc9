// What Put, Get and their friends take and give: plain values of the client's public API.
#ifndef KVCOMPD_CLIENT_BLOCK_TYPES_H_
#define KVCOMPD_CLIENT_BLOCK_TYPES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cancellation.h"
#include "client/paged_buffer.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/container.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd::client {

// How bulk bytes travel.
enum class Form {
  kDecoded,  // values
  kEncoded,  // still compressed: the codec runs on this side
};

// ---- Put

// Larger batches are cut: what a call says beside its bulk bytes is limited, and so is what the daemon has
// to keep under way for one caller.
inline constexpr size_t kMaxBatchBlocks = 1024;

struct PutBlock {
  BlockKey key;
  BlockKey parent;      // the key before it in its chain; may be empty
  uint32_t tokens = 0;  // 1 to tokens_per_block
  BlockPlace source;    // PutBlocks only: where its values lie
};

struct PutOptions {
  ShardRange shard;  // of all blocks; counts of 0 mean "all from begin on"
  Form form = Form::kDecoded;
  std::string profile;  // kEncoded: what to encode with; "" is the namespace's
  std::string cache_salt;
  std::string put_id;                    // 16 bytes; "" draws one. The same id takes up a put that broke
  uint32_t deadline_ms = 0;              // 0: CallDeadlines::put_ms
  std::shared_ptr<Cancellation> cancel;  // ends the call; may be null, here and below
};

struct PutResult {
  absl::Status status;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  bool already_stored = false;
  Generation generation;
  uint64_t encoded_bytes = 0;
  uint64_t raw_bytes = 0;
};

// A container as GetContainers gave it, or as codec::ContainerWriter made it.
struct PutContainer {
  BlockKey key;
  BlockKey parent;
  ByteSpan container;  // borrowed for the call
};

// ---- Get

struct GetBlock {
  BlockKey key;
  std::optional<Generation> generation;  // this content only, else ABORTED
  BlockPlace target;                     // where to write
};

// An encoded segment that arrived and verified. Everything is borrowed for the call.
struct EncodedSegment {
  uint32_t block = 0;
  uint32_t layer = 0;  // of the shard asked for
  Tensor tensor = Tensor::kK;
  const codec::BlockHeader* header = nullptr;  // of the stored container that it belongs to
  codec::SegmentView view;
  codec::SegmentPlace place;
  std::shared_ptr<const codec::CodebookSet> codebooks;  // null: the built-in books, or a codec without
};

struct GetOptions {
  ShardRange shard;  // heads and layers wanted; counts of 0 mean "all from begin on"
  bool k = true;
  bool v = true;
  Form form = Form::kDecoded;
  std::optional<double> max_error;         // relative to the unit's range; 0: only lossless blocks
  std::vector<std::string> accept_codecs;  // kEncoded: "raw", "kvcomp"; empty: all
  bool encoded_only = false;  // kEncoded: a block not acceptable as stored fails, and is not sent decoded
  std::string cache_salt;
  std::string lease_id;      // read under this lease
  uint32_t deadline_ms = 0;  // 0: CallDeadlines::get_ms
  // After the blocks, the open tail of this sequence; its result and layers have block number blocks.size().
  std::string sequence;
  BlockPlace tail_target;
  // kEncoded: takes segments as they are (fused kernels, inspection), verified and not decoded; targets are
  // then used only for what comes decoded. Called on the thread that reads the stream. An error fails the
  // block.
  std::function<absl::Status(const EncodedSegment&)> on_segment;
  std::shared_ptr<Cancellation> cancel;
};

// One layer of one block is there, or is not.
struct LayerDone {
  uint32_t block = 0;
  uint32_t layer = 0;  // of the shard asked for, 0-based
  absl::Status status;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  Form form = Form::kDecoded;  // as it was sent
  uint32_t tokens = 0;
};

// Called in order of arrival on the thread that reads the stream; layers of a block ascend, each comes once.
using LayerCallback = std::function<void(const LayerDone&)>;

// Layers [0, layers) of the block are in its target and verified; what lies beyond must not be used.
struct GetResult {
  absl::Status status;  // OK: all layers
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  uint32_t layers = 0;
  uint32_t tokens = 0;
  Generation generation;
};

struct ContainersOfBlock {
  absl::Status status;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  std::vector<std::string> containers;  // one a stored shard that covers a part of what was asked
  Generation generation;
};

// ---- Match and friends

struct BlockInfo {
  uint32_t tokens = 0;
  v1::Tier tier = v1::TIER_UNSPECIFIED;  // the slowest that holds a part of it
  uint64_t encoded_bytes = 0;
  uint64_t raw_bytes = 0;
  double error_bound = 0;  // 0: bit-exact
  Generation generation;
  std::string profile;
};

struct MatchOptions {
  std::string cache_salt;
  bool lease = false;     // lease what matched, atomically with the match
  uint32_t lease_ms = 0;  // 0: the daemon's default
  v1::Tier prefetch = v1::TIER_UNSPECIFIED;
  std::optional<double> max_error;
  std::vector<uint32_t> window_groups;
  uint32_t deadline_ms = 0;  // 0: CallDeadlines::lookup_ms
  std::shared_ptr<Cancellation> cancel;
};

// Options of the smaller calls.
struct KeyOptions {
  std::string cache_salt;
  uint32_t ttl_ms = 0;                   // Lease, Pin; 0: the daemon's default
  v1::Tier tier = v1::TIER_UNSPECIFIED;  // Prefetch
  std::optional<ShardRange> shard;       // Exists: this part of the blocks; nothing: complete blocks
  uint32_t deadline_ms = 0;
  std::shared_ptr<Cancellation> cancel;
};

struct BlockOutcome {
  absl::Status status;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_BLOCK_TYPES_H_
