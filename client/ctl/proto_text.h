// The contract's enums and numbers as kvcompctl prints them. Pure functions.
//
//   table.AddRow({TierText(info.tier), OutcomeText(result.status, result.reason)});
#ifndef KVCOMPD_CLIENT_CTL_PROTO_TEXT_H_
#define KVCOMPD_CLIENT_CTL_PROTO_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd::client {

// "HOST" for TIER_HOST; "" for none.
std::string TierText(v1::Tier tier);
// "NOT_STORED" for REASON_NOT_STORED; "" for none.
std::string ReasonText(v1::Reason reason);
// "ok", or code, reason and message.
std::string OutcomeText(const absl::Status& status, v1::Reason reason);
// 16 hexadecimal digits: an id of 64 bits is no number that every JSON reader holds.
std::string Id64Text(uint64_t id);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_PROTO_TEXT_H_
