// PackkvTuner: which order and pack of codec packkv take the fewest bytes, by trying all that the profile
// leaves open ("auto") on sample groups, for K and V each.
//
// Called by the daemon, which samples the blocks that it encodes, and by the benchmarks. Not thread-safe.
// What it chooses follows from profile and groups alone.
//
//   PackkvTuner tuner(profile);                      // one with repack=auto or pack=auto
//   while (tuner.Wants(Tensor::kK)) tuner.Add(shape, values, stride, &ws);
//   params.packing = tuner.choices().of(Tensor::kK);
#ifndef KVCOMPD_CODEC_PACKKV_TUNER_H_
#define KVCOMPD_CODEC_PACKKV_TUNER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codec.h"

namespace kvcompd::codec {

// What was chosen for each tensor; unset: nothing yet.
struct PackkvChoices {
  std::optional<PackkvSetting> k, v;

  const std::optional<PackkvSetting>& of(Tensor t) const { return t == Tensor::kK ? k : v; }
};

class PackkvTuner {
 public:
  // Groups of a tensor that make its choice. Settings differ by several percent of bytes where it matters,
  // and the same one leads in most groups; eight, of as many layers, outvote the few others. Each costs some
  // 22 encodes, so more would rather delay the choice than better it.
  static constexpr uint32_t kGroups = 8;
  // A setting that takes longer has to save more than this of the bytes.
  static constexpr uint64_t kNearTiePercent = 1;

  // What decided for one tensor.
  struct Outcome {
    PackkvSetting setting;
    uint64_t stored_bytes = 0;   // of the sample groups, with it
    uint64_t default_bytes = 0;  // without a choice
  };

  // Precondition: profile.packing_is_auto().
  explicit PackkvTuner(const Profile& profile);

  // Whether more groups of the tensor are needed.
  bool Wants(Tensor tensor) const { return sums(tensor).groups < kGroups; }
  // Tries all settings on a group of shape.tensor; nothing where none is wanted. values, head_stride_bytes,
  // errors: as of Codec::EncodeGroup. After an error the group does not count.
  absl::Status Add(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                   Workspace* ws);
  // Unset while more groups are wanted.
  std::optional<Outcome> outcome(Tensor tensor) const;
  PackkvChoices choices() const;

 private:
  static constexpr size_t kMaxCandidates = 12;
  struct Sums {
    uint32_t groups = 0;
    std::array<uint64_t, kMaxCandidates> stored_bytes{};  // by candidate
  };
  const Sums& sums(Tensor t) const { return sums_[t == Tensor::kK ? 0 : 1]; }

  const Profile profile_;
  std::vector<PackkvSetting> candidates_;  // by preference, the default first
  std::array<Sums, 2> sums_;               // K, V
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_TUNER_H_
