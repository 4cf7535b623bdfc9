#include "server/service/request_checks.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {

absl::StatusOr<std::shared_ptr<Namespace>> ResolveNamespace(ServiceContext& context, std::string_view id,
                                                            grpc::CallbackServerContext* call) {
  if (auto ns = context.store->FindNamespace(id)) return ns;
  if (call != nullptr) call->AddTrailingMetadata(kReopenKey, "1");
  return absl::FailedPreconditionError("the namespace is not open in this daemon; call OpenNamespace again");
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

absl::Status CheckNotDraining(const ServiceContext& context) {
  if (!context.draining.load()) return absl::OkStatus();
  return absl::UnavailableError(
      "the daemon is draining and takes nothing new; use another or try again later");
}

void CountRejected(ServiceContext& context, Reason reason) {
  context.metrics
      ->Counter("kvcompd_rejected_total", "Calls and blocks refused, by reason",
                {{"reason", std::string(ReasonName(reason))}})
      .Increment();
}

void CountMiss(ServiceContext& context, Reason reason) {
  context.metrics
      ->Counter("kvcompd_misses_total", "Blocks asked for and not served, by reason",
                {{"reason", std::string(ReasonName(reason))}})
      .Increment();
}

}  // namespace kvcompd::server
