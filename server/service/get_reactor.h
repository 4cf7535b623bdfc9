// GetReactor: carries a GetProducer's messages over a gRPC stream. Messages are made ahead on the worker
// pool, up to the window, so that a slow reader holds little and others do not wait for it. Owns itself.
#ifndef KVCOMPD_SERVER_SERVICE_GET_REACTOR_H_
#define KVCOMPD_SERVER_SERVICE_GET_REACTOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <memory>

#include "codec/base/mutex.h"
#include "server/service/get_producer.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

class GetReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GetReactor(ServiceContext* context, grpc::CallbackServerContext* call, const grpc::ByteBuffer* request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What worker jobs touch; they may outlive the stream by a moment.
  struct Shared {
    Mutex mutex;
    GetReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;  // null once the stream is over
    std::unique_ptr<GetProducer> producer;                 // touched by one job at a time
    MessageBudget::Share share;                            // the window
    std::shared_ptr<ActiveStreams::Activity> activity;     // null where there were too many streams
    std::deque<grpc::ByteBuffer> ready ABSL_GUARDED_BY(mutex);
    uint64_t ready_bytes ABSL_GUARDED_BY(mutex) = 0;
    bool producing ABSL_GUARDED_BY(mutex) = false;
    bool exhausted ABSL_GUARDED_BY(mutex) = false;
    bool writing ABSL_GUARDED_BY(mutex) = false;
    bool finished ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };

  // Makes a window's worth of messages at most: then it is another's turn.
  static void Produce(const Clock* clock, const std::shared_ptr<Shared>& shared, codec::Workspace& ws);
  void Advance(Shared& shared) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared.mutex);

  ServiceContext* const context_;
  std::unique_ptr<ActiveStreams::Entry> stream_;
  grpc::ByteBuffer current_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_GET_REACTOR_H_
