// AdminService: kvcompd.v1.Admin over the store.
//
// Made and registered by Daemon. Thread-safe; the handlers run on gRPC's threads and touch no block's bytes.
//
//   AdminService admin(&context, {.begin_drain = [&] { daemon.BeginDrain(); }, .exit = ...});
//   builder.RegisterService(&admin);
#ifndef KVCOMPD_SERVER_SERVICE_ADMIN_SERVICE_H_
#define KVCOMPD_SERVER_SERVICE_ADMIN_SERVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "proto/kvcompd/v1/admin.grpc.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

class AdminService final : public v1::Admin::CallbackService {
 public:
  struct Hooks {
    std::function<void()> begin_drain;
    // Asks the process to end; must return at once. Null: this daemon has no process of its own.
    std::function<void(uint32_t grace_ms)> exit;
  };
  AdminService(ServiceContext* context, Hooks hooks);

  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* call, const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override;
  grpc::ServerUnaryReactor* ListNamespaces(grpc::CallbackServerContext* call,
                                           const v1::ListNamespacesRequest* request,
                                           v1::ListNamespacesResponse* response) override;
  grpc::ServerUnaryReactor* SetProfile(grpc::CallbackServerContext* call,
                                       const v1::SetProfileRequest* request,
                                       v1::SetProfileResponse* response) override;
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* call, const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* call, const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* Snapshot(grpc::CallbackServerContext* call, const v1::SnapshotRequest* request,
                                     v1::SnapshotResponse* response) override;
  grpc::ServerUnaryReactor* Trim(grpc::CallbackServerContext* call, const v1::TrimRequest* request,
                                 v1::TrimResponse* response) override;

 private:
  absl::Status DoSetProfile(grpc::CallbackServerContext* call, const v1::SetProfileRequest& request,
                            v1::SetProfileResponse* response);

  ServiceContext* const context_;
  const Hooks hooks_;
  const int64_t started_us_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_ADMIN_SERVICE_H_
