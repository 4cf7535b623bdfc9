#include "server/service/request_checks.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

constexpr char kReasonPayload[] = "kvcompd.reason";  // one byte: the reason's number

}  // namespace

absl::Status WithReason(absl::Status status, Reason reason) {
  status.SetPayload(kReasonPayload, absl::Cord(std::string(1, static_cast<char>(reason))));
  return status;
}

Reason ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReasonPayload); payload.has_value() && !payload->empty()) {
    return static_cast<Reason>((*payload)[0]);
  }
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Reason::kNone;
    case absl::StatusCode::kNotFound:
      return Reason::kNotStored;
    case absl::StatusCode::kDataLoss:
      return Reason::kCorrupt;
    case absl::StatusCode::kUnimplemented:
      return Reason::kUnsupported;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kMemory;
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kPolicy;
    case absl::StatusCode::kAborted:
      return Reason::kInProgress;
    case absl::StatusCode::kUnavailable:
      return Reason::kDraining;
    default:
      return Reason::kMalformed;
  }
}

absl::StatusOr<std::shared_ptr<Namespace>> ResolveNamespace(ServiceContext& context, std::string_view id,
                                                            grpc::CallbackServerContext* call) {
  if (context.stopping.load()) {
    if (call != nullptr) call->AddTrailingMetadata(kDrainingKey, "1");
    return absl::UnavailableError("the daemon is stopping; use another or try again later");
  }
  if (auto ns = context.store->FindNamespace(id)) return ns;
  if (call != nullptr) call->AddTrailingMetadata(kReopenKey, "1");
  return WithReason(
      absl::FailedPreconditionError("the namespace is not open in this daemon; call OpenNamespace again"),
      Reason::kNotStored);
}

absl::StatusOr<std::vector<BlockKey>> CheckKeys(const google::protobuf::RepeatedPtrField<std::string>& keys,
                                                std::string_view cache_salt, uint32_t limit) {
  if (keys.empty()) return absl::InvalidArgumentError("no keys; name at least one block");
  if (static_cast<uint64_t>(keys.size()) > limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat(keys.size(), " keys in one call; the limit is ", limit, ": split the call"));
  }
  return KeysFromProto(keys, cache_salt);
}

absl::Status CheckNotDraining(const ServiceContext& context, grpc::CallbackServerContext* call) {
  if (!context.draining.load()) return absl::OkStatus();
  if (call != nullptr) call->AddTrailingMetadata(kDrainingKey, "1");
  return absl::UnavailableError(
      "the daemon is draining and takes nothing new; use another or try again later");
}

absl::Status NoMessageMemory() {
  return absl::ResourceExhaustedError(
      "the messages of other calls have all the memory that there is for them; try again later");
}

void CountRejected(ServiceContext& context, Reason reason) {
  context.metrics
      ->Counter("kvcompd_rejected_total", "Calls and blocks refused, by reason",
                {{"reason", std::string(ReasonName(reason))}})
      .Increment();
}

void CountRejected(ServiceContext& context, const absl::Status& status) {
  if (!status.ok()) CountRejected(context, ReasonOf(status));
}

void CountMiss(ServiceContext& context, Reason reason) {
  context.metrics
      ->Counter("kvcompd_misses_total", "Blocks asked for and not served, by reason",
                {{"reason", std::string(ReasonName(reason))}})
      .Increment();
}

}  // namespace kvcompd::server
