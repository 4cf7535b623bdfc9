// What one profile makes of a data set: rate, error of K and V, error of the attention output.
//
// Called by the codec bench. Trials of one TrialData may run on several threads at once.
//
//   TrialData data(dataset);                                     // originals, attention outputs: made once
//   auto trial = RunTrial(data, profile);                        // StatusOr
//   trial->kv.ratio_effective(); trial->attention.kv.RelativeL2();
//
// Books are trained, and packings that the profile leaves open are chosen, as a daemon would have them, on
// other values: for each sample on all other samples of the set, or, where there is one only, on itself
// (`trained_on_itself`).
#ifndef KVCOMPD_CLIENT_CTL_CODEC_TRIAL_H_
#define KVCOMPD_CLIENT_CTL_CODEC_TRIAL_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/attention_error.h"
#include "client/ctl/bench_dataset.h"
#include "codec/base/profile.h"

namespace kvcompd::client {

// One data set with what every trial of it needs.
struct TrialData {
  explicit TrialData(const BenchDataset& dataset);
  const BenchDataset& dataset;
  std::deque<AttentionReference> references;  // one a sample
};

// Rate and error of K, of V, or of both.
struct TrialPart {
  uint64_t values = 0;
  uint64_t raw_bytes = 0;
  uint64_t payload_bytes = 0;  // tile payloads and group headers
  // Whole containers (headers, indices, checksums, padding, footers) and the codebook set, once for the data
  // set. K and V bear their own segments and half of the rest.
  double stored_bytes = 0;
  double max_error = 0;  // |x - y|
  SquaredError squared;

  double ratio_codec() const { return static_cast<double>(raw_bytes) / static_cast<double>(payload_bytes); }
  double ratio_effective() const { return static_cast<double>(raw_bytes) / stored_bytes; }
  double bits_per_value() const { return stored_bytes * 8 / static_cast<double>(values); }
  void Add(const TrialPart& other);
};

struct Trial {
  Profile profile;
  TrialPart k, v, kv;
  AttentionErrors attention;
  std::vector<double> layer_ratios;  // raw bytes over segment bytes, K and V together
  uint64_t codebook_bytes = 0;
  bool trained_on_itself = false;
};

// FAILED_PRECONDITION: the codec is not in this build. DATA_LOSS: what was encoded does not decode.
absl::StatusOr<Trial> RunTrial(const TrialData& data, const Profile& profile);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_CODEC_TRIAL_H_
