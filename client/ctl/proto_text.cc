#include "client/ctl/proto_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace kvcompd::client {

std::string TierText(v1::Tier tier) {
  return tier == v1::TIER_UNSPECIFIED ? "" : std::string(absl::StripPrefix(v1::Tier_Name(tier), "TIER_"));
}

std::string ReasonText(v1::Reason reason) {
  if (reason == v1::REASON_UNSPECIFIED) return "";
  return std::string(absl::StripPrefix(v1::Reason_Name(reason), "REASON_"));
}

std::string OutcomeText(const absl::Status& status, v1::Reason reason) {
  if (status.ok()) return "ok";
  std::string text = absl::StatusCodeToString(status.code());
  if (reason != v1::REASON_UNSPECIFIED) absl::StrAppend(&text, " ", ReasonText(reason));
  return absl::StrCat(text, ": ", status.message());
}

std::string Id64Text(uint64_t id) { return absl::StrFormat("%016x", id); }

}  // namespace kvcompd::client
