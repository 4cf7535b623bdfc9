// absl::Status and grpc::Status, the one into the other (gRPC 1.51 has no conversion of its own), and the
// per-block form. Pure functions.
#ifndef KVCOMPD_PROTO_STATUS_CONVERT_H_
#define KVCOMPD_PROTO_STATUS_CONVERT_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd {

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

// reason stays unspecified for OK.
void FillBlockStatus(const absl::Status& status, v1::Reason reason, v1::BlockStatus* out);
absl::Status FromBlockStatus(const v1::BlockStatus& status);

}  // namespace kvcompd

#endif  // KVCOMPD_PROTO_STATUS_CONVERT_H_
