#include "tests/codec/kv_samples.h"

#include "codec/float_format.h"

namespace kvcompd::testing {

uint64_t Random::Next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Random::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

double Random::Bell() {
  double sum = 0;
  for (int i = 0; i < 12; ++i) sum += Uniform();
  return sum - 6;
}

std::string ToBytes(DType dtype, const std::vector<float>& values) {
  std::string out(values.size() * ElementBytes(dtype), '\0');
  codec::ValuesOfFloats(dtype, values.data(), values.size(), reinterpret_cast<std::byte*>(out.data()));
  return out;
}

std::vector<float> ToFloats(DType dtype, std::string_view bytes) {
  std::vector<float> out(bytes.size() / ElementBytes(dtype));
  codec::FloatsOfValues(dtype, AsBytes(bytes).data(), out.size(), out.data());
  return out;
}

std::string SyntheticKv(DType dtype, Tensor tensor, uint32_t heads, uint32_t tokens, uint32_t channels,
                        uint64_t seed) {
  Random random(seed * 2 + (tensor == Tensor::kV));
  const size_t n = size_t{heads} * tokens * channels;
  if (dtype == DType::kOpaque) {
    std::string bytes(n, '\0');
    for (char& b : bytes) b = static_cast<char>(random.Next());
    return bytes;
  }
  std::vector<float> token_scale(tokens);
  for (float& s : token_scale) s = static_cast<float>(0.5 + random.Uniform());
  std::vector<float> values;
  values.reserve(n);
  for (uint32_t h = 0; h < heads; ++h) {
    std::vector<float> mean(channels), width(channels);
    for (uint32_t c = 0; c < channels; ++c) {
      // Keys: some channels are ten times wider and off zero; values: all alike.
      const bool outlier = tensor == Tensor::kK && random.Below(32) == 0;
      mean[c] = static_cast<float>(outlier ? 8 * random.Bell() : 0.3 * random.Bell());
      width[c] = static_cast<float>((outlier ? 4 : 1) * (0.5 + random.Uniform()));
    }
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t c = 0; c < channels; ++c) {
        values.push_back(mean[c] + width[c] * token_scale[t] * static_cast<float>(random.Bell()));
      }
    }
  }
  return ToBytes(dtype, values);
}

}  // namespace kvcompd::testing
