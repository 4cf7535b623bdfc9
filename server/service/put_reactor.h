// PutReactor: carries a PutSession over a gRPC stream. Lives until OnDone, and as long as a worker's job may
// still report to it.
#ifndef KVCOMPD_SERVER_SERVICE_PUT_REACTOR_H_
#define KVCOMPD_SERVER_SERVICE_PUT_REACTOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "codec/base/mutex.h"
#include "server/service/put_session.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

class PutReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  static PutReactor* Start(ServiceContext* context, grpc::CallbackServerContext* call);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit PutReactor(ServiceContext* context) : context_(context) {}
  // The first message asks the store for every block, which may evict others: a worker's job.
  void TakeHeader();
  void RunHeader(PutSession& session);
  void Send(const v1::PutResponse& response);
  void FinishWith(const absl::Status& status);
  void FinishCancelled();
  void MaybeRead();  // the next read, where one is due and work has not piled up
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // the next write, or the end

  ServiceContext* const context_;
  std::shared_ptr<PutReactor> self_;  // until OnDone
  std::unique_ptr<ActiveStreams::Entry> stream_;
  grpc::ByteBuffer incoming_;
  // One at a time, as PutSession wants it: a cancellation may come while a message is being taken.
  Mutex session_mutex_;  // before mutex_
  std::shared_ptr<PutSession> session_;
  std::function<uint64_t()> session_jobs_;

  bool header_taken_ = false;  // touched by OnReadDone alone

  Mutex mutex_;
  bool header_running_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<grpc::ByteBuffer> outgoing_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool read_due_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> last_ ABSL_GUARDED_BY(mutex_);  // what to finish with, once all is written
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_PUT_REACTOR_H_
