// Checks an encoded block that a client sent before the store believes it: header against what was announced,
// structure, every CRC, and, by the namespace's policy, every tile decoded once (DESIGN: ENCODED puts).
//
// Called by PutSession from worker threads. Free function, thread-safe.
#ifndef KVCOMPD_SERVER_SERVICE_CONTAINER_INGEST_H_
#define KVCOMPD_SERVER_SERVICE_CONTAINER_INGEST_H_

#include "absl/status/statusor.h"
#include "codec/container.h"
#include "server/store/reason.h"
#include "server/store/store.h"

namespace kvcompd::server {

struct IngestExpectation {
  std::shared_ptr<Namespace> ns;
  BlockKey key;
  ShardRange shard;
  uint32_t tokens = 0;
  Profile profile;
  std::shared_ptr<const codec::CodebookSet> codebooks;  // null: a codec without books
};

// What to commit. INVALID_ARGUMENT or DATA_LOSS or FAILED_PRECONDITION with *reason set.
absl::StatusOr<CommitInfo> CheckContainer(const IngestExpectation& expected, ByteSpan container,
                                          codec::Workspace& ws, Reason* reason);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_CONTAINER_INGEST_H_
