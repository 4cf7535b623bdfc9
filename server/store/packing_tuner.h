// PackingTuner: the packing of one namespace's new blocks under a profile of packkv that leaves it open,
// found on a sample of what is encoded (codec/packkv_tuner.h).
//
// A sample, a trial of each of twelve settings, takes as long as encoding some 22 groups (bf16, 8 heads of
// 128 channels), so one group in kGroupsPerSample of a tensor is one: 5 % of the encodes while the choice is
// open, nothing after it. With 32 layers it stands after some 6300 tokens.
//
// Made by Namespace, called by the encode path. Thread-safe. Nobody waits for a sample that another thread
// takes: it passes.
//
//   std::shared_ptr<PackingTuner> tuner = ns->packing(profile);     // null: nothing is open
//   params.packing = tuner->choices().of(tensor);                   // unset: not yet
//   outcome = tuner->Offer(shape, values, stride, &ws);            // of each group that is encoded
#ifndef KVCOMPD_SERVER_STORE_PACKING_TUNER_H_
#define KVCOMPD_SERVER_STORE_PACKING_TUNER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/packkv_tuner.h"

namespace kvcompd::server {

class PackingTuner {
 public:
  // A prime, so that the samples are of many layers, however many there are.
  static constexpr uint64_t kGroupsPerSample = 449;

  // Precondition: profile.packing_is_auto().
  explicit PackingTuner(const Profile& profile);

  codec::PackkvChoices choices() const;
  // Counts a group that is encoded, and tries all settings on it where a sample is due (PackkvTuner::Add).
  // Returns what was chosen where this sample decided.
  std::optional<codec::PackkvTuner::Outcome> Offer(const codec::GroupShape& shape, const std::byte* values,
                                                   uint64_t head_stride_bytes, codec::Workspace* ws);

 private:
  struct Pace {
    uint64_t groups = 0;       // seen
    uint64_t next_sample = 1;  // due with this group
  };

  // The tuner, for a thread that takes a sample; null where none is due, or another thread is at it.
  std::unique_ptr<codec::PackkvTuner> TakeIfDue(Tensor tensor);

  mutable Mutex mutex_;
  std::array<Pace, 2> paces_ ABSL_GUARDED_BY(mutex_);  // K, V
  // Null while a thread takes a sample.
  std::unique_ptr<codec::PackkvTuner> tuner_ ABSL_GUARDED_BY(mutex_);
  codec::PackkvChoices choices_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_PACKING_TUNER_H_
