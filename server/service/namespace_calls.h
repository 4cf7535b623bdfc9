// What OpenNamespace and the codebook calls do, without the transport. Free functions, thread-safe; each
// gives the call's status.
#ifndef KVCOMPD_SERVER_SERVICE_NAMESPACE_CALLS_H_
#define KVCOMPD_SERVER_SERVICE_NAMESPACE_CALLS_H_

#include <grpcpp/server_context.h>

#include "absl/status/statusor.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

inline constexpr char kSoftware[] = "kvcompd/0.1.0";

absl::StatusOr<NamespacePolicy> PolicyFromProto(const v1::NamespacePolicy& message,
                                                const Profile& default_profile);
v1::NamespacePolicy ToProto(const NamespacePolicy& policy);

absl::Status OpenNamespace(ServiceContext& context, const v1::OpenNamespaceRequest& request,
                           v1::OpenNamespaceResponse* response);
absl::Status PutCodebooks(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::PutCodebooksRequest& request, v1::PutCodebooksResponse* response);
absl::Status GetCodebooks(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::GetCodebooksRequest& request, v1::GetCodebooksResponse* response);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_NAMESPACE_CALLS_H_
