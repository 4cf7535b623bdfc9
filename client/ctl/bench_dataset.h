// The data sets of `kvcompctl bench codecs`: the KV samples of one model and element type, or synthetic ones.
//
// Called by the bench. Plain values; const use from any thread.
//
//   auto sets = LoadDatasets("tests/data", {DType::kBf16});      // StatusOr: one for each model
//   BenchDataset synthetic = SyntheticDataset(/*seed=*/1);
#ifndef KVCOMPD_CLIENT_CTL_BENCH_DATASET_H_
#define KVCOMPD_CLIENT_CTL_BENCH_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/kv_file.h"
#include "codec/base/types.h"

namespace kvcompd::client {

struct BenchDataset {
  std::string name;  // the model's; "synthetic" in it where it is
  DType dtype = DType::kBf16;
  bool synthetic = false;
  std::vector<KvFile> samples;  // of equal layers, heads and head_dim; at least 64 tokens each

  uint64_t raw_bytes() const;
};

// The folder's samples of these types, one set for each model and type, by name. Samples of fewer than 64
// tokens, or without queries, are left out. NOT_FOUND: none is left.
absl::StatusOr<std::vector<BenchDataset>> LoadDatasets(const std::string& folder,
                                                       const std::vector<DType>& dtypes);

// Synthetic KV with what has been reported of models of billions of parameters, whose K has stronger outliers
// and means than small models have: a mean that is 56 % of K's energy and stands in few channels of slow RoPE
// pairs, a spectrum from 10 times to a 200th of the average, tokens of V of log-normal scale, attention
// sinks, and queries whose logits have a standard deviation of about 2.5. bf16, 2 samples of 512 tokens, 4
// layers, 4 KV heads, 8 query heads, head_dim 128. The same on every machine for a seed, up to the rounding
// of the standard library's exp, sin and cos.
BenchDataset SyntheticDataset(uint64_t seed);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_DATASET_H_
