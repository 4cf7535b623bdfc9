// PutStream: stores a batch of blocks layer by layer, as a prefill computes them.
//
// Called by engines and by NamespaceHandle::PutBlocks. One thread at a time.
//
//   auto put = ns->OpenPut(blocks, {.shard = shard});
//   for (uint32_t layer = 0; layer < layers; ++layer) (*put)->PushLayer(layer, places);   // [blocks]
//   auto results = (*put)->Finish();            // commits what was pushed whole; one PutResult a block
//
// Any thread may Cancel: what is under way, and what comes later, ends with CANCELLED.
//
// The stream does not keep what was pushed. Where it breaks (UNAVAILABLE), open it again with the same put_id
// and push again; blocks committed by then answer `already_stored`. PutBlocks does that by itself.
#ifndef KVCOMPD_CLIENT_PUT_STREAM_H_
#define KVCOMPD_CLIENT_PUT_STREAM_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/byte_stream.h"
#include "client/retry.h"

namespace kvcompd::client {

class NamespaceSession;
class PutMender;
class SessionCall;
struct PutPlan;

class PutStream {
 public:
  // Blocks until the daemon said which blocks it wants; tries again until then. INVALID_ARGUMENT: too many
  // blocks, a key twice, tokens or shard out of range, a profile that does not parse.
  static absl::StatusOr<std::unique_ptr<PutStream>> Open(std::shared_ptr<NamespaceSession> session,
                                                         std::vector<PutBlock> blocks, PutOptions options);
  ~PutStream();  // cancels what was not finished
  PutStream(const PutStream&) = delete;
  PutStream& operator=(const PutStream&) = delete;

  void Cancel();            // thread-safe
  uint32_t layers() const;  // of the shard
  const std::string& put_id() const;
  // False: stored already, refused, in progress elsewhere, or failed since; its values are not read.
  bool wanted(uint32_t block) const;

  // Sends layer `layer` (0-based in the shard, ascending, each once) of every wanted block. places: [blocks].
  // The values are read during the call. FAILED_PRECONDITION: out of order; INVALID_ARGUMENT: a place that
  // does not fit; UNAVAILABLE, DEADLINE_EXCEEDED...: the stream is over.
  absl::Status PushLayer(uint32_t layer, std::span<const BlockPlace> places);
  // Commits blocks whose layers were all pushed. Their results come with Finish.
  absl::Status Commit(std::span<const uint32_t> blocks);
  // Commits what is complete and not committed yet, and waits for the results. A block that is not complete
  // is CANCELLED. An error where the stream broke: results so far are in results().
  absl::StatusOr<std::vector<PutResult>> Finish();

  // What is known of each block; CANCELLED where nothing is.
  std::vector<PutResult> results() const;
  // Whether a block has its final result.
  bool settled(uint32_t block) const;

 private:
  friend class PutRunner;
  struct Impl;
  explicit PutStream(std::unique_ptr<Impl> impl);
  // One attempt. end: where it fails.
  static absl::StatusOr<std::unique_ptr<PutStream>> TryOpen(std::shared_ptr<NamespaceSession> session,
                                                            SessionCall* call, const PutPlan& plan,
                                                            std::vector<PutBlock> blocks,
                                                            ByteStream::End* end);
  // The first reason of a refusal that can be mended.
  v1::Reason MendableReason(const PutMender& mender) const;
  // As PushLayer from containers. containers: [blocks], null for those not wanted.
  absl::Status PushContainerLayer(uint32_t layer, std::span<const codec::ContainerView* const> containers);
  // How the stream ended, with `status` for one that did not end by itself.
  ByteStream::End EndWith(const absl::Status& status) const;
  std::unique_ptr<Impl> impl_;
};

// All of a batch at once, from BlockPlaces or containers; retries what a broken stream left open. Batches
// over the daemon's limit are cut. One result a block; an error only where no block could be tried.
Deadline PutDeadline(NamespaceSession& session, const PutOptions& options);
absl::StatusOr<std::vector<PutResult>> PutBlocks(const std::shared_ptr<NamespaceSession>& session,
                                                 std::span<const PutBlock> blocks, const PutOptions& options,
                                                 const Deadline& deadline);
absl::StatusOr<std::vector<PutResult>> PutContainers(const std::shared_ptr<NamespaceSession>& session,
                                                     std::span<const PutContainer> blocks,
                                                     const PutOptions& options);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_PUT_STREAM_H_
