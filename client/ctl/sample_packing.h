// What packkv's setting would be where a profile leaves it open (repack=auto, pack=auto): the choice of a
// daemon that had seen these samples. No daemon takes part.
//
// Called by the benchmarks of the codecs. Pure function.
//
//   auto packing = TunePacking({&file}, profile);                     // StatusOr
//   SampleCoder coder(other_file, profile, *packing);
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_PACKING_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_PACKING_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/kv_file.h"
#include "codec/base/profile.h"
#include "codec/packkv_tuner.h"

namespace kvcompd::client {

// Groups are taken from all over the samples' whole blocks and layers. Chooses nothing where the profile
// leaves nothing open, or no block is whole.
absl::StatusOr<codec::PackkvChoices> TunePacking(const std::vector<const KvFile*>& samples,
                                                 const Profile& profile);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_PACKING_H_
