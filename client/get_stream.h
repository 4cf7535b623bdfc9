// GetStream: reads blocks layer by layer into the caller's memory; a decode worker starts with the first.
//
// Called by engines and by NamespaceHandle::GetBlocks. One thread at a time, but any thread may Cancel: every
// block that is open then ends with CANCELLED.
//
//   auto get = ns->OpenGet(blocks, {.shard = shard});
//   LayerDone done;
//   while ((*get)->Next(&done)) if (done.status.ok()) attend(done.block, done.layer);
//   std::vector<GetResult> results = (*get)->Finish();
//
// Every piece is checked (size, offset, heads, generation, CRC) before it is written to the target, and an
// ENCODED one also decodes with all its checksums. A block that fails is over from that layer on; the layers
// before it stay good. A stream that broke goes on at the first layer not delivered, for the same generation.
#ifndef KVCOMPD_CLIENT_GET_STREAM_H_
#define KVCOMPD_CLIENT_GET_STREAM_H_

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/retry.h"

namespace kvcompd::client {

class NamespaceSession;

class GetStream {
 public:
  // Checks the request; the first Next connects. INVALID_ARGUMENT: shard, targets or options out of range.
  static absl::StatusOr<std::unique_ptr<GetStream>> Open(std::shared_ptr<NamespaceSession> session,
                                                         std::vector<GetBlock> blocks, GetOptions options);
  static absl::StatusOr<std::unique_ptr<GetStream>> Open(std::shared_ptr<NamespaceSession> session,
                                                         std::vector<GetBlock> blocks, GetOptions options,
                                                         const Deadline& deadline);
  ~GetStream();  // cancels
  GetStream(const GetStream&) = delete;
  GetStream& operator=(const GetStream&) = delete;

  void Cancel();            // thread-safe
  uint32_t layers() const;  // of the shard
  // Blocks for the next (block, layer). False: there is none; every block has its result.
  bool Next(LayerDone* done);
  // Reads what is left. One result a block (and one for the tail). Where the call failed as a whole, every
  // block that was open carries its status.
  std::vector<GetResult> Finish();

 private:
  struct Impl;
  explicit GetStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

Deadline GetDeadline(NamespaceSession& session, const GetOptions& options);
// INVALID_ARGUMENT, FAILED_PRECONDITION as Open; anything later stands in the results. Batches over the
// daemon's limit are cut (the layers of a later batch come after those of an earlier one).
absl::StatusOr<std::vector<GetResult>> GetBlocks(const std::shared_ptr<NamespaceSession>& session,
                                                 std::span<const GetBlock> blocks, const GetOptions& options,
                                                 const Deadline& deadline, const LayerCallback& on_layer);

// The blocks' containers as bytes, put together from the stored shards and verified, whole layers only. The
// quality record is not on the wire; it holds the raw bytes and tile counts, and no measured error.
absl::StatusOr<std::vector<ContainersOfBlock>> GetContainers(const std::shared_ptr<NamespaceSession>& session,
                                                             std::span<const BlockKey> keys,
                                                             GetOptions options);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_GET_STREAM_H_
