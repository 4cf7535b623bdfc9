// PutBlock: one wanted block of a Put, from its first chunk to its commit.
//
// Announce() is called in the order of the stream and checks that pieces come in order; TakeIn() and Commit()
// are called from the block's strand, in that same order. The two halves share only the failure flag.
#ifndef KVCOMPD_SERVER_SERVICE_PUT_BLOCK_H_
#define KVCOMPD_SERVER_SERVICE_PUT_BLOCK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "codec/base/mutex.h"
#include "proto/bulk.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/block_encoder.h"
#include "server/service/container_ingest.h"
#include "server/store/store.h"

namespace kvcompd::server {

class PutBlock {
 public:
  struct Outcome {
    absl::Status status;
    Reason reason = Reason::kNone;
    bool already_stored = false;
    Generation generation;
    uint64_t encoded_bytes = 0;
    uint64_t raw_bytes = 0;
  };

  // DECODED form: the daemon encodes.
  PutBlock(uint32_t index, std::unique_ptr<ShardStaging> staging, std::unique_ptr<BlockEncoder> encoder);
  // ENCODED form: the daemon checks.
  PutBlock(uint32_t index, std::unique_ptr<ShardStaging> staging, const IngestExpectation& expected,
           uint32_t num_segments);

  uint32_t index() const { return index_; }

  // In stream order. INVALID_ARGUMENT: not the piece that comes next.
  absl::Status Announce(const v1::PutChunk& chunk);
  // In stream order. True where no commit has named the block before.
  bool AnnounceCommit() { return !std::exchange(commit_announced_, true); }
  // Keeps the block's claim alive. From any thread.
  void TouchClaim() const { claim_.Touch(); }

  // On the strand. DATA_LOSS: the piece's CRC; RESOURCE_EXHAUSTED: longer than announced.
  absl::Status TakeIn(const v1::PutChunk& chunk, const BulkView& data, codec::Workspace& ws);
  Outcome Commit(Store* store, codec::Workspace& ws);

  // The first caller gets true: it reports the outcome. A failed or committed block takes nothing more.
  bool TryResolve() { return !resolved_.exchange(true); }
  bool resolved() const { return resolved_.load(); }
  // Gives the staging memory back (on the strand).
  void Drop();
  // What the commit brought, where it went well (on the strand).
  const std::optional<Outcome>& committed() const { return committed_; }

 private:
  bool encoded_form() const { return encoder_ == nullptr; }
  uint32_t num_parts() const;  // pieces' targets: segments, or header + segments + footer
  absl::Status AnnounceDecoded(const v1::PutChunk& chunk) const;
  absl::Status AnnounceEncoded(const v1::PutChunk& chunk) const;

  const uint32_t index_;
  const PutClaim claim_;
  std::atomic<bool> resolved_{false};

  // Stream side: where the next piece belongs.
  uint32_t part_ = 0;
  uint64_t part_bytes_ = 0;
  bool commit_announced_ = false;

  // Strand side.
  std::unique_ptr<ShardStaging> staging_;
  const std::unique_ptr<BlockEncoder> encoder_;
  const std::optional<IngestExpectation> expected_;
  const uint32_t num_segments_;
  uint32_t taken_parts_ = 0;
  uint64_t taken_in_part_ = 0;
  uint64_t cursor_ = 0;  // ENCODED: end of what is written
  std::optional<Outcome> committed_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_PUT_BLOCK_H_
