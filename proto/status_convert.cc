#include "proto/status_convert.h"

#include <string>

namespace kvcompd {
namespace {

// Codes are the same numbers in both libraries; one out of range becomes UNKNOWN.
absl::StatusCode CodeOf(int code) {
  if (code < 0 || code > static_cast<int>(absl::StatusCode::kUnauthenticated))
    return absl::StatusCode::kUnknown;
  return static_cast<absl::StatusCode>(code);
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(CodeOf(status.error_code()), status.error_message());
}

void FillBlockStatus(const absl::Status& status, v1::Reason reason, v1::BlockStatus* out) {
  out->set_code(static_cast<int>(status.code()));
  if (status.ok()) return;
  out->set_reason(reason);
  out->set_message(std::string(status.message()));
}

absl::Status FromBlockStatus(const v1::BlockStatus& status) {
  if (status.code() == 0) return absl::OkStatus();
  return absl::Status(CodeOf(status.code()), status.message());
}

}  // namespace kvcompd
