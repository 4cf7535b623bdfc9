// What Match, Exists, Delete, leases, pins and Prefetch do, without the transport. Free functions,
// thread-safe; each gives the call's status.
#ifndef KVCOMPD_SERVER_SERVICE_INDEX_CALLS_H_
#define KVCOMPD_SERVER_SERVICE_INDEX_CALLS_H_

#include <grpcpp/server_context.h>

#include "absl/status/status.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

absl::Status Match(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::MatchRequest& request, v1::MatchResponse* response);
absl::Status Prefetch(ServiceContext& context, grpc::CallbackServerContext* call,
                      const v1::PrefetchRequest& request, v1::PrefetchResponse* response);
absl::Status Exists(ServiceContext& context, grpc::CallbackServerContext* call,
                    const v1::ExistsRequest& request, v1::ExistsResponse* response);
absl::Status Delete(ServiceContext& context, grpc::CallbackServerContext* call,
                    const v1::DeleteRequest& request, v1::DeleteResponse* response);
absl::Status Lease(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::LeaseRequest& request, v1::LeaseResponse* response);
absl::Status Release(ServiceContext& context, grpc::CallbackServerContext* call,
                     const v1::ReleaseRequest& request, v1::ReleaseResponse* response);
absl::Status Pin(ServiceContext& context, grpc::CallbackServerContext* call, const v1::PinRequest& request,
                 v1::PinResponse* response);
absl::Status Unpin(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::UnpinRequest& request, v1::UnpinResponse* response);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_INDEX_CALLS_H_
