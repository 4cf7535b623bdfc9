// GetProducer: the messages of one Get, made one by one, without the transport.
//
// Layer-major: the first layer of all blocks, then the next. Raw values and encoded segments are handed out
// where they lie, kept alive by their slices; decoded values stand in pooled buffers. Every tile that goes
// out was verified first; what does not verify is quarantined and becomes a miss of its block.
//
// Called by GetReactor from worker threads, one at a time.
//
//   auto producer = GetProducer::Create(context, ns, request);   // INVALID_ARGUMENT, FAILED_PRECONDITION,
//   ... while (producer->Next(ws, &buffer)) send(buffer);
#ifndef KVCOMPD_SERVER_SERVICE_GET_PRODUCER_H_
#define KVCOMPD_SERVER_SERVICE_GET_PRODUCER_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/container.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

class GetProducer {
 public:
  static absl::StatusOr<std::unique_ptr<GetProducer>> Create(ServiceContext* context,
                                                             std::shared_ptr<Namespace> ns,
                                                             const v1::GetRequest& request);

  // False: there is nothing more (and *out was not set).
  bool Next(codec::Workspace& ws, grpc::ByteBuffer* out);

 private:
  // A stored shard, parsed once.
  struct Source {
    std::shared_ptr<const StoredShard> shard;
    codec::ContainerView view;
    std::shared_ptr<const codec::CodebookSet> codebooks;
    bool header_sent = false;
  };
  struct Block {
    bool opened = false;
    std::optional<BlockSnapshot> snapshot;
    std::vector<Source> sources;
    bool encoded = false;  // the form it is sent in
    absl::Status status;   // not OK: nothing (more) is sent
    Reason reason = Reason::kNone;
    bool reported = false;
  };
  // A run of heads of one layer tensor that one source has: what is made in one go.
  struct Run {
    Source* source = nullptr;
    Tensor tensor = Tensor::kK;
    uint32_t head_begin = 0;  // global
    uint32_t head_count = 0;
  };
  struct Message {
    v1::GetResponse response;
    std::vector<grpc::Slice> slices;
    uint64_t bytes = 0;
  };

  GetProducer(ServiceContext* context, std::shared_ptr<Namespace> ns, const v1::GetRequest& request,
              const ShardRange& wanted);

  void LookUp(const v1::GetBlock& wanted, Block* block);
  void OpenBlock(const v1::GetBlock& wanted, Block* block);
  absl::Status OpenSources(Block* block);
  void FailBlock(Block* block, const absl::Status& status, Reason reason);
  bool Acceptable(const Source& source) const;
  absl::StatusOr<std::vector<Run>> RunsOf(Block* block, uint32_t layer) const;
  // One run of the current layer of the current block, or that layer's end.
  void ProduceStep(codec::Workspace& ws, Message* message);
  void BeginLayer();
  absl::Status ProduceRun(uint32_t index, const Run& run, codec::Workspace& ws, Message* message);
  absl::Status AddEncoded(const v1::GetChunk& base, const Run& run, const codec::SegmentView& segment,
                          const codec::SegmentPlace& place, uint32_t local_head, Message* message);
  absl::Status AddDecoded(const v1::GetChunk& base, const Run& run, const codec::SegmentView& segment,
                          const codec::SegmentPlace& place, uint32_t local_head, codec::Workspace& ws,
                          Message* message);
  // Appends bytes as pieces within the limit, each described by `base`; splits messages that get too long.
  // whole_crc: of all the bytes, where it is known.
  void AddPieces(const v1::GetChunk& base, ByteSpan bytes, std::shared_ptr<const void> owner,
                 std::optional<uint32_t> whole_crc, Message* message);
  void ReportLayer(uint32_t index, Message* message);
  void ProduceTailLayer(Message* message);
  absl::Status CheckTail(const absl::StatusOr<SequenceLock>& lock, Reason* reason);
  absl::Status CheckTailRange(const ShardRange& held) const;
  void AddTailRows(uint32_t index, const Sequence& sequence, Tensor tensor, Message* message);
  void Flush(Message* message);

  ServiceContext* const context_;
  const std::shared_ptr<Namespace> ns_;
  const v1::GetRequest request_;
  const ShardRange wanted_;
  const AttentionGroup& group_;
  uint64_t max_piece_bytes_ = 0;
  std::vector<Block> blocks_;
  uint32_t layer_ =
      0;  // next to produce, of the blocks and then of the tail, counted from wanted_.layer_begin
  uint32_t block_ = 0;
  bool in_layer_ = false;  // runs_ are those of (layer_, block_)
  std::vector<Run> runs_;
  size_t run_ = 0;  // next of runs_
  bool blocks_done_ = false;
  bool tail_done_ = false;
  std::optional<uint64_t> tail_committed_;  // of the sequence, at the tail's first layer
  uint32_t tail_tokens_ = 0;                // likewise
  Message message_;                     // being filled; what a full one leaves over stays for the next call
  std::deque<grpc::ByteBuffer> ready_;  // made, and not yet handed out
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_GET_PRODUCER_H_
