// Synthetic KV tensors for tests and benchmarks: the shapes of real ones (channel outliers and means that
// differ by channel, a scale of its own for each token), from a fixed seed and without the standard library's
// distributions, so that they are the same on every machine. Synthetic: ratios on them say nothing about a
// model.
//
//   std::string k = SyntheticKv(DType::kBf16, Tensor::kK, heads, tokens, channels, /*seed=*/1);
//   // [heads, tokens, channels], little-endian
#ifndef KVCOMPD_TESTS_CODEC_KV_SAMPLES_H_
#define KVCOMPD_TESTS_CODEC_KV_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "codec/base/types.h"

namespace kvcompd::testing {

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // 0 to n-1.
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(Next() % n); }
  double Uniform();  // [0, 1)
  double Bell();     // about normal: mean 0, variance 1, at most 6 from 0

 private:
  uint64_t state_;
};

// Rounds floats to the type's bytes.
std::string ToBytes(DType dtype, const std::vector<float>& values);
std::vector<float> ToFloats(DType dtype, std::string_view bytes);

// [heads, tokens, channels]. kOpaque: random bytes.
std::string SyntheticKv(DType dtype, Tensor tensor, uint32_t heads, uint32_t tokens, uint32_t channels,
                        uint64_t seed);

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_CODEC_KV_SAMPLES_H_
