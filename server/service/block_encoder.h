// BlockEncoder: turns one shard's raw values into a container, segment by segment, in place in a staging
// slot.
//
// Called by PutSession and by sequences, from worker threads. Not thread-safe: one job at a time.
//
//   BlockEncoder encoder(ns, key, shard, tokens, profile);
//   memory of at least encoder.memory_bytes(): [container ... | assembly area of one segment's raw values]
//   encoder.AssemblyArea(memory)           // fill with [heads, tokens, channels] of the next segment
//   encoder.EncodeNext(memory, ws)         // for every segment, layer-major, K before V
//   auto done = encoder.Finish(memory);    // container bytes and CommitInfo
#ifndef KVCOMPD_SERVER_SERVICE_BLOCK_ENCODER_H_
#define KVCOMPD_SERVER_SERVICE_BLOCK_ENCODER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/container.h"
#include "codec/packkv_tuner.h"
#include "codec/segment.h"
#include "codec/tile_group_executor.h"
#include "server/store/packing_tuner.h"
#include "server/store/store.h"

namespace kvcompd::server {

class BlockEncoder {
 public:
  // A segment with fewer raw bytes is encoded on the calling thread alone, because an idle thread takes some
  // 20 us to come. Two threads against one: at 256 KiB 0.6 to 1.2 times as fast, at 512 KiB kvcomp and packkv
  // 1.4, intq 1.0 and lossless 0.8, at 1 MiB 1.2 to 1.6.
  static constexpr uint64_t kMinSplitBytes = 1 << 20;

  // shard must be resolved against the namespace's descriptor. executor: for the tile groups of long
  // segments, lives until the last EncodeNext(); null: none.
  BlockEncoder(std::shared_ptr<Namespace> ns, const BlockKey& key, const ShardRange& shard, uint32_t tokens,
               const Profile& profile, codec::TileGroupExecutor* executor);

  // Of the staging slot: the container at its longest, and the assembly area behind it.
  uint64_t memory_bytes() const { return assembly_offset_ + assembly_bytes_; }
  uint64_t container_bound() const { return assembly_offset_; }
  const codec::BlockHeader& header() const { return header_; }

  bool complete() const { return next_segment_ == header_.num_segments(); }
  uint32_t next_segment() const { return next_segment_; }
  // Of segment s: its place in the shard and its raw size.
  uint32_t segment_layer(uint32_t s) const;  // index within the shard
  Tensor segment_tensor(uint32_t s) const;
  uint64_t segment_raw_bytes(uint32_t s) const;

  // Where the next segment's raw values are put together, segment_raw_bytes(next_segment()) long.
  MutableByteSpan AssemblyArea(MutableByteSpan memory) const;
  absl::Status EncodeNext(MutableByteSpan memory, codec::Workspace& ws);
  // FAILED_PRECONDITION: not complete.
  absl::StatusOr<CommitInfo> Finish(MutableByteSpan memory);

 private:
  codec::SegmentShape ShapeOf(uint32_t s) const;
  // Lets the namespace sample the groups of a segment.
  void OfferGroups(const codec::SegmentShape& shape, ByteSpan values, codec::Workspace* ws);

  const std::shared_ptr<Namespace> ns_;
  const Profile profile_;
  const codec::Codec* codec_;
  codec::TileGroupExecutor* const executor_;
  std::shared_ptr<const codec::CodebookSet> codebooks_;
  const std::shared_ptr<PackingTuner> packing_;  // null: nothing is open
  const codec::PackkvChoices packing_choices_;   // of the whole block
  codec::BlockHeader header_;
  uint64_t assembly_offset_ = 0;
  uint64_t assembly_bytes_ = 0;
  uint32_t next_segment_ = 0;
  uint64_t cursor_ = 0;  // end of what is written
  std::vector<codec::SegmentExtent> extents_;
  codec::QualityRecord quality_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_BLOCK_ENCODER_H_
