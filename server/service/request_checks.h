// What every handler checks first: the namespace, the keys, the limits. Free functions, thread-safe.
#ifndef KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_
#define KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/model_descriptor.h"
#include "proto/convert.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

// Trailing metadata that tells a client to open its namespace again and repeat the call.
inline constexpr char kReopenKey[] = "kvcompd-reopen";

// FAILED_PRECONDITION for an id that this daemon does not know; `call` (may be null) then gets kReopenKey.
absl::StatusOr<std::shared_ptr<Namespace>> ResolveNamespace(ServiceContext& context, std::string_view id,
                                                            grpc::CallbackServerContext* call);

// INVALID_ARGUMENT: no key or a bad one; RESOURCE_EXHAUSTED: more than `limit`.
absl::StatusOr<std::vector<BlockKey>> CheckKeys(const google::protobuf::RepeatedPtrField<std::string>& keys,
                                                std::string_view cache_salt, uint32_t limit);

// UNAVAILABLE while draining: go to another daemon, or try again later.
absl::Status CheckNotDraining(const ServiceContext& context);

// kvcompd_rejected_total{reason}: whole calls and blocks that were refused.
void CountRejected(ServiceContext& context, Reason reason);
// kvcompd_misses_total{reason}: blocks asked for and not served.
void CountMiss(ServiceContext& context, Reason reason);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_REQUEST_CHECKS_H_
