#include "server/store/reason.h"

namespace kvcompd::server {

std::string_view ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "none";
    case Reason::kNotStored:
      return "not_stored";
    case Reason::kEvicted:
      return "evicted";
    case Reason::kDeleted:
      return "deleted";
    case Reason::kCorrupt:
      return "corrupt";
    case Reason::kCodebookMissing:
      return "codebook_missing";
    case Reason::kErrorTooLarge:
      return "error_too_large";
    case Reason::kNotAccepted:
      return "not_accepted";
    case Reason::kQuota:
      return "quota";
    case Reason::kMemory:
      return "memory";
    case Reason::kInProgress:
      return "in_progress";
    case Reason::kPolicy:
      return "policy";
    case Reason::kMalformed:
      return "malformed";
    case Reason::kWrongPlace:
      return "wrong_place";
    case Reason::kIncomplete:
      return "incomplete";
    case Reason::kTimeout:
      return "timeout";
    case Reason::kDraining:
      return "draining";
    case Reason::kLeaseExpired:
      return "lease_expired";
    case Reason::kGeneration:
      return "generation";
    case Reason::kGap:
      return "gap";
    case Reason::kUnsupported:
      return "unsupported";
  }
  return "unknown";
}

}  // namespace kvcompd::server
