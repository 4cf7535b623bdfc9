#include "client/put_result.h"

#include "proto/convert.h"
#include "proto/status_convert.h"

namespace kvcompd::client {
namespace {

// What both messages have.
template <typename Message>
PutResult CommonOf(const Message& message) {
  PutResult result;
  result.status = FromBlockStatus(message.status());
  result.reason = message.status().reason();
  result.generation = FromProto(message.generation());
  result.encoded_bytes = message.encoded_bytes();
  result.raw_bytes = message.raw_bytes();
  return result;
}

}  // namespace

PutResult PutResultOf(const v1::PutResult& message) {
  PutResult result = CommonOf(message);
  result.already_stored = message.already_stored();
  return result;
}

PutResult PutResultOf(const v1::PutDisposition& message) {
  PutResult result = CommonOf(message);
  switch (message.verdict()) {
    case v1::PutDisposition::ALREADY_STORED:
      result.status = absl::OkStatus();
      result.already_stored = true;
      break;
    case v1::PutDisposition::IN_PROGRESS:
      if (result.status.ok()) result.status = absl::AbortedError("another put of this shard is under way");
      result.reason = v1::REASON_IN_PROGRESS;
      break;
    default:
      if (result.status.ok())
        result.status = absl::InternalError("the daemon refused the block and did not say why");
      break;
  }
  return result;
}

}  // namespace kvcompd::client
