// What OpenSequence, Append and Seal do, without the transport. Encoding of filled blocks runs on the worker
// pool, so Append and Seal answer through `done`, once, from any thread; request and response stay valid
// until then. Free functions, thread-safe.
#ifndef KVCOMPD_SERVER_SERVICE_SEQUENCE_CALLS_H_
#define KVCOMPD_SERVER_SERVICE_SEQUENCE_CALLS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <functional>

#include "absl/status/status.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

using DoneFn = std::function<void(const absl::Status&)>;

absl::Status OpenSequence(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::OpenSequenceRequest& request, v1::OpenSequenceResponse* response);
void Append(ServiceContext& context, grpc::CallbackServerContext* call, const grpc::ByteBuffer& request,
            grpc::ByteBuffer* response, DoneFn done);
void Seal(ServiceContext& context, grpc::CallbackServerContext* call, const v1::SealRequest& request,
          v1::SealResponse* response, DoneFn done);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_SEQUENCE_CALLS_H_
