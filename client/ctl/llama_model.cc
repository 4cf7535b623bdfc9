#include "client/ctl/llama_model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/ctl/matmul.h"
#include "codec/base/types.h"
#include "codec/float_format.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kMaxDim = 1 << 16, kMaxVocab = 1 << 16, kMaxContext = 1 << 16, kMaxModelLayers = 256;

void RmsNorm(std::span<const float> x, std::span<const float> weight, float eps, std::span<float> out) {
  const size_t dim = weight.size();
  for (size_t at = 0; at < x.size(); at += dim) {
    double squares = 0;
    for (size_t i = 0; i < dim; ++i) squares += static_cast<double>(x[at + i]) * x[at + i];
    const auto scale = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(dim) + eps));
    for (size_t i = 0; i < dim; ++i) out[at + i] = x[at + i] * scale * weight[i];
  }
}

std::vector<float> Times(std::span<const float> x, const LlamaMatrix& matrix) {
  const size_t rows = x.size() / matrix.in;
  std::vector<float> out(rows * matrix.out);
  MatMul(x.data(), matrix.transposed.data(), rows, matrix.in, matrix.out, out.data());
  return out;
}

// One head's vector at a place in the text.
void Rotate(const LlamaConfig& config, uint32_t place, float* x) {
  const uint32_t half = config.head_dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const double angle = place * std::pow(static_cast<double>(config.rope_theta), -2.0 * i / config.head_dim);
    const auto c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
    float& a = x[config.rope_interleaved ? 2 * i : i];
    float& b = x[config.rope_interleaved ? 2 * i + 1 : i + half];
    const float a0 = a, b0 = b;
    a = a0 * c - b0 * s;
    b = a0 * s + b0 * c;
  }
}

}  // namespace

absl::Status LlamaConfig::Validate() const {
  const auto in = [](uint32_t value, uint32_t low, uint32_t high) { return value >= low && value <= high; };
  if (!in(dim, 1, kMaxDim) || !in(layers, 1, kMaxModelLayers) || !in(heads, 1, kMaxHeads) ||
      !in(kv_heads, 1, heads) || !in(head_dim, kMinHeadDim, kMaxHeadDim) || !in(ffn_dim, 1, kMaxDim) ||
      !in(vocab, 2, kMaxVocab) || !in(context, 2, kMaxContext)) {
    return absl::InvalidArgumentError(absl::StrCat("model ", name, ": a size is out of range"));
  }
  if (heads % kv_heads != 0)
    return absl::InvalidArgumentError("model: query heads are no multiple of KV heads");
  if (head_dim % 2 != 0) return absl::InvalidArgumentError("model: head_dim is odd");
  if (!(rms_eps > 0 && rms_eps < 1) || !(rope_theta > 1 && rope_theta < 1e9f)) {
    return absl::InvalidArgumentError("model: eps or theta is out of range");
  }
  return absl::OkStatus();
}

LlamaMatrix LlamaMatrix::Of(uint32_t out, uint32_t in, std::span<const float> values) {
  LlamaMatrix matrix{.in = in, .out = out, .transposed = std::vector<float>(values.size())};
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) matrix.transposed[i * out + o] = values[o * in + i];
  }
  return matrix;
}

LlamaCache::LlamaCache(const LlamaConfig& config)
    : kv_heads(config.kv_heads),
      head_elems(size_t{config.context} * config.head_dim),
      k_(head_elems * config.kv_heads * config.layers),
      v_(k_.size()) {}

void LlamaModel::Attend(const LlamaLayer& layer, uint32_t number, uint32_t tokens, std::span<float> x,
                        LlamaCache* cache) const {
  std::vector<float> h(x.size());
  RmsNorm(x, layer.attention_norm, config.rms_eps, h);
  std::vector<float> q = Times(h, layer.q), k = Times(h, layer.k), v = Times(h, layer.v);
  const uint32_t dim = config.head_dim, first = cache->tokens;
  for (uint32_t t = 0; t < tokens; ++t) {
    for (uint32_t head = 0; head < config.heads; ++head) {
      Rotate(config, first + t, q.data() + (size_t{t} * config.heads + head) * dim);
    }
    for (uint32_t head = 0; head < config.kv_heads; ++head) {
      Rotate(config, first + t, k.data() + (size_t{t} * config.kv_heads + head) * dim);
    }
  }
  if (cache->bf16) {
    codec::RoundFloats(DType::kBf16, k.data(), k.size(), k.data());
    codec::RoundFloats(DType::kBf16, v.data(), v.size(), v.data());
  }
  for (uint32_t t = 0; t < tokens; ++t) {
    for (uint32_t head = 0; head < config.kv_heads; ++head) {
      const size_t from = (size_t{t} * config.kv_heads + head) * dim;
      float* const keys = cache->k(number, head);
      for (uint32_t c = 0; c < dim; ++c) keys[size_t{c} * config.context + first + t] = k[from + c];
      std::copy_n(v.data() + from, dim, cache->v(number, head) + size_t{first + t} * dim);
    }
  }
  const uint32_t share = config.heads / config.kv_heads;
  std::vector<float> out(q.size()), weights(config.context);
  for (uint32_t head = 0; head < config.heads; ++head) {
    const float* const keys = cache->k(number, head / share);
    const float* const values = cache->v(number, head / share);
    for (uint32_t t = 0; t < tokens; ++t) {
      const size_t at = (size_t{t} * config.heads + head) * dim;
      AttendOnce(q.data() + at, keys, values, first + t + 1, config.context, dim, weights.data(),
                 out.data() + at);
    }
  }
  const std::vector<float> projected = Times(out, layer.o);
  for (size_t i = 0; i < x.size(); ++i) x[i] += projected[i];
}

void LlamaModel::FeedForward(const LlamaLayer& layer, uint32_t tokens, std::span<float> x) const {
  std::vector<float> h(x.size());
  RmsNorm(x, layer.ffn_norm, config.rms_eps, h);
  std::vector<float> gate = Times(h, layer.gate);
  const std::vector<float> up = Times(h, layer.up);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  const std::vector<float> down = Times(gate, layer.down);
  for (size_t i = 0; i < x.size(); ++i) x[i] += down[i];
}

std::vector<float> LlamaModel::Forward(std::span<const uint16_t> tokens, LlamaCache* cache) const {
  std::vector<float> x(tokens.size() * config.dim);
  for (size_t t = 0; t < tokens.size(); ++t) {
    std::copy_n(embedding.data() + size_t{tokens[t]} * config.dim, config.dim, x.data() + t * config.dim);
  }
  const auto count = static_cast<uint32_t>(tokens.size());
  for (uint32_t number = 0; number < config.layers; ++number) {
    Attend(layers[number], number, count, x, cache);
    FeedForward(layers[number], count, x);
  }
  cache->tokens += count;
  std::vector<float> h(x.size());
  RmsNorm(x, norm, config.rms_eps, h);
  return Times(h, output);
}

}  // namespace kvcompd::client
