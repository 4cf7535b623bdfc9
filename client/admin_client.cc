#include "client/admin_client.h"

#include <utility>

#include "client/client_core.h"
#include "client/unary_call.h"

namespace kvcompd::client {
namespace {

template <typename Request, typename Response>
absl::StatusOr<Response> Call(ClientCore& core,
                              grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                      Response*),
                              absl::string_view verb, uint32_t deadline_ms, const Request& request,
                              Repeat repeat = Repeat::kTransport) {
  Response response;
  const Deadline deadline = core.DeadlineOf(deadline_ms, core.options().deadlines.admin_ms);
  const absl::Status s =
      CallPlain(core, &Lane::admin, method, verb, repeat, deadline, /*cancel=*/nullptr, request, &response);
  if (!s.ok()) return s;
  return response;
}

}  // namespace

AdminClient::AdminClient(std::shared_ptr<ClientCore> core) : core_(std::move(core)) {}

absl::StatusOr<v1::StatsResponse> AdminClient::Stats(uint32_t deadline_ms) {
  return Call(*core_, &v1::Admin::Stub::Stats, "stats", deadline_ms, v1::StatsRequest());
}

absl::StatusOr<v1::ListNamespacesResponse> AdminClient::ListNamespaces(std::string_view tenant,
                                                                       uint32_t deadline_ms) {
  v1::ListNamespacesRequest request;
  request.set_tenant(std::string(tenant));
  return Call(*core_, &v1::Admin::Stub::ListNamespaces, "list namespaces", deadline_ms, request);
}

absl::StatusOr<std::string> AdminClient::SetProfile(std::string_view namespace_id, std::string_view profile,
                                                    uint32_t deadline_ms) {
  v1::SetProfileRequest request;
  request.set_namespace_id(std::string(namespace_id));
  request.set_profile(std::string(profile));
  auto reply = Call(*core_, &v1::Admin::Stub::SetProfile, "set profile", deadline_ms, request);
  if (!reply.ok()) return reply.status();
  return reply->profile();
}

absl::StatusOr<v1::FlushResponse> AdminClient::Flush(std::string_view namespace_id, uint32_t deadline_ms) {
  v1::FlushRequest request;
  request.set_namespace_id(std::string(namespace_id));
  return Call(*core_, &v1::Admin::Stub::Flush, "flush", deadline_ms, request);
}

absl::Status AdminClient::Drain(uint32_t grace_ms, bool exit, uint32_t deadline_ms) {
  v1::DrainRequest request;
  request.set_grace_ms(grace_ms);
  request.set_exit(exit);
  const Repeat repeat = exit ? Repeat::kNever : Repeat::kTransport;
  return Call(*core_, &v1::Admin::Stub::Drain, "drain", deadline_ms, request, repeat).status();
}

absl::Status AdminClient::Snapshot(uint32_t deadline_ms) {
  return Call(*core_, &v1::Admin::Stub::Snapshot, "snapshot", deadline_ms, v1::SnapshotRequest()).status();
}

absl::StatusOr<v1::TrimResponse> AdminClient::Trim(std::optional<uint64_t> target_bytes,
                                                   std::optional<uint64_t> older_than_ms,
                                                   uint32_t deadline_ms) {
  v1::TrimRequest request;
  if (target_bytes.has_value()) request.set_target_bytes(*target_bytes);
  if (older_than_ms.has_value()) request.set_older_than_ms(*older_than_ms);
  return Call(*core_, &v1::Admin::Stub::Trim, "trim", deadline_ms, request);
}

}  // namespace kvcompd::client
