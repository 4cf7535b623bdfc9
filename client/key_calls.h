// The calls about lists of keys: Match, Exists, Delete, Prefetch, Lease, Pin, Unpin.
//
// Internal to NamespaceHandle, which documents them. Free functions, thread-safe.
#ifndef KVCOMPD_CLIENT_KEY_CALLS_H_
#define KVCOMPD_CLIENT_KEY_CALLS_H_

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/lease_guard.h"
#include "client/namespace_session.h"
#include "client/retry.h"

namespace kvcompd::client {

using SessionPtr = std::shared_ptr<NamespaceSession>;

Deadline LookupDeadline(NamespaceSession& session, uint32_t deadline_ms);
absl::StatusOr<MatchResult> MatchKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                      const MatchOptions& options, const Deadline& deadline);
absl::StatusOr<std::vector<bool>> KeysExist(const SessionPtr& session, std::span<const BlockKey> keys,
                                            const KeyOptions& options);
absl::StatusOr<std::vector<bool>> DeleteKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                             const KeyOptions& options);
absl::StatusOr<std::vector<BlockOutcome>> PrefetchKeys(const SessionPtr& session,
                                                       std::span<const BlockKey> keys,
                                                       const KeyOptions& options);
absl::StatusOr<LeaseResult> LeaseKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                      const KeyOptions& options);
absl::StatusOr<std::vector<BlockOutcome>> PinKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                                  const KeyOptions& options);
absl::StatusOr<std::vector<bool>> UnpinKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                            const KeyOptions& options);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_KEY_CALLS_H_
