// DataSessionReactor: one OpenDataSession call. Picks the first data plane of the client's list that this
// daemon serves ("grpc"), says why those before it were left out, and stays open until the client half-closes
// or goes away.
//
// Made by KvCacheService through StartDataSession; deletes itself in OnDone.
#ifndef KVCOMPD_SERVER_SERVICE_DATA_SESSION_REACTOR_H_
#define KVCOMPD_SERVER_SERVICE_DATA_SESSION_REACTOR_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "codec/base/mutex.h"
#include "google/protobuf/repeated_field.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

struct PlaneChoice {
  std::string plane;
  std::string reason;  // why those before it were left out; empty where it was the first
};
// INVALID_ARGUMENT: no plane offered, or more than kMaxPlanes; UNIMPLEMENTED: none of them is served.
inline constexpr int kMaxPlanes = 16;
absl::StatusOr<PlaneChoice> ChoosePlane(const google::protobuf::RepeatedPtrField<std::string>& offered);

class DataSessionReactor final
    : public grpc::ServerBidiReactor<v1::DataSessionRequest, v1::DataSessionResponse> {
 public:
  DataSessionReactor(ServiceContext* context, grpc::CallbackServerContext* call);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  absl::Status Admit();
  absl::Status Negotiate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Finishes once; not while the reply is being written.
  void End(const absl::Status& status);
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ServiceContext* const context_;
  grpc::CallbackServerContext* const call_;
  std::unique_ptr<ActiveStreams::Entry> stream_;
  v1::DataSessionRequest request_;
  v1::DataSessionResponse response_;
  bool negotiated_ = false;  // of the reading side

  Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

// For KvCacheService: the reactor of one OpenDataSession call.
grpc::ServerBidiReactor<v1::DataSessionRequest, v1::DataSessionResponse>* StartDataSession(
    ServiceContext* context, grpc::CallbackServerContext* call);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_DATA_SESSION_REACTOR_H_
