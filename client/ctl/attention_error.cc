#include "client/ctl/attention_error.h"

#include <algorithm>
#include <cmath>

#include "codec/float_format.h"

namespace kvcompd::client {

double SquaredError::RelativeL2() const { return original > 0 ? std::sqrt(difference / original) : 0; }

void AttentionErrors::Add(const AttentionErrors& other) {
  kv.Add(other.kv);
  k_only.Add(other.k_only);
  v_only.Add(other.v_only);
}

std::vector<float> FloatsOf(const KvFile& file) {
  const size_t tensor_elems = size_t{file.tokens} * file.kv_heads * file.head_dim;
  std::vector<float> out(tensor_elems * 2 * file.layers);
  std::vector<std::byte> values(file.TensorBytes(file.tokens));
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      file.CopyTokens(layer, tensor, 0, file.tokens, values).IgnoreError();  // a whole tensor: always fits
      const size_t at = (size_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0)) * tensor_elems;
      codec::FloatsOfValues(file.dtype, values.data(), tensor_elems, out.data() + at);
    }
  }
  return out;
}

AttentionReference::AttentionReference(const KvFile& file) : file_(file), original_(FloatsOf(file)) {
  const size_t outputs = size_t{file.layers} * file.query_tokens * file.query_heads;
  weights_.resize(outputs * file.tokens);
  outputs_.resize(outputs * file.head_dim);
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    for (uint32_t head = 0; head < file.kv_heads; ++head) {
      const std::vector<float> k = Transposed(original_, layer, head);
      const std::span<const float> v = V(original_, layer, head);
      ForQueries(layer, head, [&](const float* query, uint32_t keys, size_t number) {
        float* const weights = weights_.data() + number * file_.tokens;
        Weights(k, query, keys, weights);
        Output(weights, v, keys, outputs_.data() + number * file_.head_dim);
      });
    }
  }
}

template <typename Visit>
void AttentionReference::ForQueries(uint32_t layer, uint32_t head, Visit visit) const {
  const uint32_t share = file_.query_heads / file_.kv_heads;
  const uint32_t first_query = file_.tokens - file_.query_tokens;
  for (uint32_t q = 0; q < file_.query_tokens; ++q) {
    for (uint32_t h = head * share; h < (head + 1) * share; ++h) {
      const size_t number = (size_t{layer} * file_.query_tokens + q) * file_.query_heads + h;
      visit(file_.queries.data() + number * file_.head_dim, first_query + q + 1, number);
    }
  }
}

std::vector<float> AttentionReference::Transposed(std::span<const float> values, uint32_t layer,
                                                  uint32_t head) const {
  const float* const k = values.data() + (size_t{layer} * 2 * file_.kv_heads + head) * HeadElems();
  std::vector<float> out(HeadElems());
  for (uint32_t t = 0; t < file_.tokens; ++t) {
    for (uint32_t c = 0; c < file_.head_dim; ++c)
      out[size_t{c} * file_.tokens + t] = k[t * file_.head_dim + c];
  }
  return out;
}

std::span<const float> AttentionReference::V(std::span<const float> values, uint32_t layer,
                                             uint32_t head) const {
  return values.subspan(((size_t{layer} * 2 + 1) * file_.kv_heads + head) * HeadElems(), HeadElems());
}

void AttentionReference::Weights(std::span<const float> k_transposed, const float* query, uint32_t keys,
                                 float* weights) const {
  std::fill_n(weights, keys, 0.0f);
  const float scale = 1.0f / std::sqrt(static_cast<float>(file_.head_dim));
  for (uint32_t c = 0; c < file_.head_dim; ++c) {
    const float q = query[c] * scale;
    const float* const k = k_transposed.data() + size_t{c} * file_.tokens;
    for (uint32_t t = 0; t < keys; ++t) weights[t] += q * k[t];
  }
  const float top = *std::max_element(weights, weights + keys);
  double sum = 0;
  for (uint32_t t = 0; t < keys; ++t) sum += weights[t] = std::exp(weights[t] - top);
  const auto inverse = static_cast<float>(1 / sum);
  for (uint32_t t = 0; t < keys; ++t) weights[t] *= inverse;
}

void AttentionReference::Output(const float* weights, std::span<const float> v, uint32_t keys,
                                float* out) const {
  std::fill_n(out, file_.head_dim, 0.0f);
  for (uint32_t t = 0; t < keys; ++t) {
    const float weight = weights[t];
    const float* const row = v.data() + size_t{t} * file_.head_dim;
    for (uint32_t c = 0; c < file_.head_dim; ++c) out[c] += weight * row[c];
  }
}

AttentionErrors AttentionReference::Compare(std::span<const float> decoded) const {
  AttentionErrors errors;
  std::vector<float> weights(file_.tokens), out(file_.head_dim);
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (uint32_t head = 0; head < file_.kv_heads; ++head) {
      const std::vector<float> k = Transposed(decoded, layer, head);
      const std::span<const float> v = V(decoded, layer, head), v_original = V(original_, layer, head);
      ForQueries(layer, head, [&](const float* query, uint32_t keys, size_t number) {
        const float* const want = outputs_.data() + number * file_.head_dim;
        const auto add = [&](const float* w, std::span<const float> values, SquaredError* sums) {
          Output(w, values, keys, out.data());
          for (uint32_t c = 0; c < file_.head_dim; ++c) {
            const double difference = static_cast<double>(out[c]) - want[c];
            sums->difference += difference * difference;
            sums->original += static_cast<double>(want[c]) * want[c];
          }
        };
        Weights(k, query, keys, weights.data());
        add(weights.data(), v, &errors.kv);
        add(weights.data(), v_original, &errors.k_only);
        add(weights_.data() + number * file_.tokens, v, &errors.v_only);
      });
    }
  }
  return errors;
}

}  // namespace kvcompd::client
