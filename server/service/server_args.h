// How the daemon's HTTP/2 transport is set up: frame and window sizes for messages near 1 MiB, keepalive, and
// one listener per port. The client and the benchmarks use the same sizes, so they stand here by name.
//
//   grpc::ServerBuilder builder;
//   ApplyServerArgs(options, &builder);
#ifndef KVCOMPD_SERVER_SERVICE_SERVER_ARGS_H_
#define KVCOMPD_SERVER_SERVICE_SERVER_ARGS_H_

#include <grpcpp/server_builder.h>

#include "server/service/service_context.h"

namespace kvcompd::server {

// A message of 1 MiB in one frame instead of in 64.
inline constexpr int kHttp2MaxFrameBytes = 4 << 20;
// What a stream's sender may have in the air before the reader asked for it; larger than one message, so that
// the next is under way while this one is taken in.
inline constexpr int kHttp2LookaheadBytes = 4 << 20;
// A write counts as done once it stands in this buffer, which is also what a slow reader can make us hold.
inline constexpr int kHttp2WriteBufferBytes = 1 << 20;
// Beside the bulk bytes of a message: its header fields, at most kMaxBulkHeaderBytes, and framing.
inline constexpr uint64_t kMessageHeadroomBytes = uint64_t{2} << 20;
// Calls on one connection beside the streams that ServiceOptions::max_streams counts.
inline constexpr uint32_t kUnaryCallsPerConnection = 256;

void ApplyServerArgs(const ServiceOptions& options, grpc::ServerBuilder* builder);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_SERVER_ARGS_H_
