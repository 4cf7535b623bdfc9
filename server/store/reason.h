// Why a block was refused, missed or removed: the label of the counter that goes with it. The numbers are
// those of kvcompd.v1.Reason (types.proto), held by a test.
#ifndef KVCOMPD_SERVER_STORE_REASON_H_
#define KVCOMPD_SERVER_STORE_REASON_H_

#include <string_view>

namespace kvcompd::server {

enum class Reason {
  kNone = 0,
  kNotStored = 1,
  kEvicted = 2,
  kDeleted = 3,
  kCorrupt = 4,
  kCodebookMissing = 5,
  kErrorTooLarge = 6,
  kNotAccepted = 7,
  kQuota = 8,
  kMemory = 9,
  kInProgress = 10,
  kPolicy = 11,
  kMalformed = 12,
  kWrongPlace = 13,
  kIncomplete = 14,
  kTimeout = 15,
  kDraining = 16,
  kLeaseExpired = 17,
  kGeneration = 18,
  kGap = 19,
  kUnsupported = 20,
};

std::string_view ReasonName(Reason reason);  // "not_stored"

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_REASON_H_
