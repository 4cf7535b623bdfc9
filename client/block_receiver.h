// BlockReceiver: puts one block of a Get together, layer by layer, and believes nothing that it did not
// check.
//
// Internal to GetStream. One thread, but Unpack of different runs may run on several at once.
//
//   for chunks:  status = receiver.OnChunk(chunk, data, &runs);     // an error fails the block
//   for runs:    receiver.Unpack(run);                              // decodes what came encoded
//   for results: status = receiver.OnLayerEnd(layer);
#ifndef KVCOMPD_CLIENT_BLOCK_RECEIVER_H_
#define KVCOMPD_CLIENT_BLOCK_RECEIVER_H_

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "client/block_types.h"
#include "client/namespace_session.h"
#include "codec/base/model_descriptor.h"
#include "proto/bulk.h"

namespace kvcompd::client {

// What all blocks of a Get have in common.
struct GetPlan {
  std::shared_ptr<NamespaceSession> session;
  GetOptions options;
  ShardRange shard;  // resolved
  AttentionGroup group;
  Deadline deadline;
  std::shared_ptr<Cancellation> cancel;  // of this call

  bool wants(Tensor t) const { return group.has(t) && (t == Tensor::kK ? options.k : options.v); }
};

class BlockReceiver {
 public:
  // K or V of a run of heads of one layer, on its way in.
  struct Run {
    Tensor tensor = Tensor::kK;
    uint32_t layer = 0;       // of the shard
    uint32_t head_begin = 0;  // global
    uint32_t head_count = 0;
    bool encoded = false;
    uint64_t total_bytes = 0;
    uint64_t received = 0;
    std::vector<std::byte> bytes;  // where encoded
    size_t header = 0;             // where encoded: its container's, in headers_
    absl::Status status;           // of Unpack
  };

  // number: of the block in the caller's list. is_tail: a sequence's open tail, always decoded.
  BlockReceiver(const GetPlan* plan, uint32_t number, const GetBlock& block, bool is_tail);

  const BlockKey& key() const { return key_; }
  bool is_tail() const { return is_tail_; }
  uint32_t next_layer() const { return next_layer_; }  // of the shard; those before it are delivered
  uint32_t tokens() const { return tokens_; }
  const std::optional<Generation>& generation() const { return generation_; }

  // A piece of this block; `data` is its bytes. Runs that are complete and encoded are appended to
  // `complete`; their addresses hold until their layer ends. DATA_LOSS: does not verify or does not fit;
  // ABORTED: of another generation; FAILED_PRECONDITION: came decoded and there is no target, or is lossier
  // than allowed.
  absl::Status OnChunk(const v1::GetChunk& chunk, const BulkView& data, std::vector<Run*>* complete);
  // Verifies an encoded run and decodes it to the target, unless segments are taken as they are.
  void Unpack(Run* run) const;
  // DATA_LOSS: the layer is not whole. Hands the layer's segments on where they are taken as they are.
  absl::Status OnLayerEnd(uint32_t layer);
  // A new stream follows; what was not delivered comes anew, of any generation where nothing was delivered
  // and the caller named none.
  void Restart();
  v1::Reason last_reason() const { return reason_; }  // of the last error

 private:
  struct Header {
    codec::BlockHeader header;
    float error_class = 0;
    std::shared_ptr<const codec::CodebookSet> codebooks;
  };
  struct Layer {
    std::deque<Run> runs;
    std::array<std::vector<bool>, 2> heads;  // of K and V: whether some run has them; [shard.head_count]
  };

  absl::Status Fail(v1::Reason reason, absl::Status status);
  absl::Status CheckIdentity(const v1::GetChunk& chunk);
  absl::Status OnHeaderPiece(const v1::GetChunk& chunk, const BulkView& data);
  absl::Status AcceptHeader();
  absl::StatusOr<Run*> RunOf(const v1::GetChunk& chunk, uint32_t layer);
  absl::Status CheckNewRun(const v1::GetChunk& chunk, const Run& run) const;
  absl::Status ScatterPiece(const Run& run, uint64_t offset, const BulkView& data) const;
  absl::StatusOr<EncodedSegment> OpenSegment(const Run& run) const;
  // The newest header that covers a run: a container's header comes just before its first segment, and stored
  // shards may overlap. headers_.size() where there is none.
  size_t HeaderOf(const Run& run) const;

  const GetPlan* const plan_;
  const uint32_t number_;
  const BlockKey key_;
  const BlockKey salted_key_;
  const BlockPlace target_;
  const bool is_tail_;
  bool cut_off_ =
      false;  // a tail of which some layers came before the stream broke: the rest may be another's
  uint32_t next_layer_ = 0;
  uint32_t tokens_ = 0;                        // 0: not known yet
  const std::optional<Generation> requested_;  // by the caller
  std::optional<Generation> generation_;       // and as learnt from what came
  std::map<uint32_t, Layer> layers_;
  std::deque<Header> headers_;
  std::vector<std::byte> header_bytes_;  // of a header on its way in
  Digest header_set_;
  std::optional<float> header_class_;  // as announced
  v1::Reason reason_ = v1::REASON_UNSPECIFIED;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_BLOCK_RECEIVER_H_
