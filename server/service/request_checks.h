// What every handler checks first: the namespace, the keys, the limits. Free functions, thread-safe.
#ifndef KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_
#define KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/base/model_descriptor.h"
#include "proto/convert.h"
#include "server/service/service_context.h"
#include "server/store/reason.h"

namespace kvcompd::server {

// Trailing metadata that tells a client to open its namespace again and repeat the call.
inline constexpr char kReopenKey[] = "kvcompd-reopen";
// Trailing metadata of UNAVAILABLE: it does not help to ask this daemon again.
inline constexpr char kDrainingKey[] = "kvcompd-draining";

// FAILED_PRECONDITION for an id that this daemon does not know; `call` (may be null) then gets kReopenKey.
// UNAVAILABLE with kDrainingKey once the daemon is stopping: every handler that begins work asks here first.
absl::StatusOr<std::shared_ptr<Namespace>> ResolveNamespace(ServiceContext& context, std::string_view id,
                                                            grpc::CallbackServerContext* call);

// INVALID_ARGUMENT: no key or a bad one; RESOURCE_EXHAUSTED: more than `limit`.
absl::StatusOr<std::vector<BlockKey>> CheckKeys(const google::protobuf::RepeatedPtrField<std::string>& keys,
                                                std::string_view cache_salt, uint32_t limit);

// UNAVAILABLE while draining: go to another daemon, or try again later. `call` (may be null) gets
// kDrainingKey.
absl::Status CheckNotDraining(const ServiceContext& context, grpc::CallbackServerContext* call);

// RESOURCE_EXHAUSTED: the messages under way have all the memory that they may.
absl::Status NoMessageMemory();

// A call's status with the reason that it is counted under, for codes that have more than one. The reason
// does not leave the process.
absl::Status WithReason(absl::Status status, Reason reason);
// The reason of a status that is not OK: the one it was given, else the usual one of its code.
Reason ReasonOf(const absl::Status& status);

// kvcompd_rejected_total{reason}: whole calls and blocks that were refused.
void CountRejected(ServiceContext& context, Reason reason);
// The same for a call's status; nothing where it is OK.
void CountRejected(ServiceContext& context, const absl::Status& status);
// kvcompd_misses_total{reason}: blocks asked for and not served.
void CountMiss(ServiceContext& context, Reason reason);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_
