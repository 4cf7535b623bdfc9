// Why a daemon cannot listen: gRPC only says that it cannot. Free functions.
//
//   if (auto status = CheckSocketFree(address); !status.ok()) return status;
//   if (bound_port == 0) return ListenFailure(address);   // "127.0.0.1:50051: Address already in use"
#ifndef KVCOMPD_SERVER_SERVICE_LISTEN_FAILURE_H_
#define KVCOMPD_SERVER_SERVICE_LISTEN_FAILURE_H_

#include "absl/status/status.h"
#include "server/ops/listen_address.h"

namespace kvcompd::server {

// UNAVAILABLE: somebody answers on this Unix socket (gRPC would unlink it and take its place). OK for TCP.
absl::Status CheckSocketFree(const ListenAddress& address);

// UNAVAILABLE, with the system's reason where a second attempt finds it.
absl::Status ListenFailure(const ListenAddress& address);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_LISTEN_FAILURE_H_
