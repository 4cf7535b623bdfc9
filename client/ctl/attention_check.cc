#include "client/ctl/attention_check.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "client/ctl/bound_check.h"

namespace kvcompd::client {
namespace {

// One KV head of one layer, [tokens, head_dim].
struct HeadKv {
  std::vector<double> k;
  std::vector<double> v;
};

std::vector<double> ToDoubles(DType dtype, ByteSpan values) {
  const std::vector<double>& table = ValueTable(dtype);
  std::vector<double> out(values.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] =
        table[std::to_integer<uint32_t>(values[2 * i]) | std::to_integer<uint32_t>(values[2 * i + 1]) << 8];
  }
  return out;
}

HeadKv OriginalHead(const KvFile& file, uint32_t layer, uint32_t head) {
  HeadKv out;
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    std::vector<std::byte> all(file.TensorBytes(file.tokens));
    file.CopyTokens(layer, tensor, 0, file.tokens, all).IgnoreError();  // whole tensor: always fits
    const uint64_t head_bytes = all.size() / file.kv_heads;
    (tensor == Tensor::kK ? out.k : out.v) =
        ToDoubles(file.dtype, ByteSpan(all).subspan(head * head_bytes, head_bytes));
  }
  return out;
}

HeadKv ServedHead(const KvFile& file, const SampleMemory& memory, uint32_t layer, uint32_t head) {
  HeadKv out;
  const uint64_t tensor_bytes = file.TensorBytes(file.tokens);
  const uint64_t head_bytes = tensor_bytes / file.kv_heads;
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const uint64_t at = tensor_bytes * (2 * layer + (tensor == Tensor::kV ? 1 : 0)) + head * head_bytes;
    (tensor == Tensor::kK ? out.k : out.v) = ToDoubles(file.dtype, memory.bytes().subspan(at, head_bytes));
  }
  return out;
}

// The output of a query over the first `tokens` tokens.
std::vector<double> Attend(std::span<const float> query, const HeadKv& kv, uint32_t tokens) {
  const size_t dim = query.size();
  std::vector<double> weights(tokens);
  for (uint32_t t = 0; t < tokens; ++t) {
    double dot = 0;
    for (size_t c = 0; c < dim; ++c) dot += query[c] * kv.k[t * dim + c];
    weights[t] = dot / std::sqrt(static_cast<double>(dim));
  }
  const double top = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - top);
  std::vector<double> out(dim, 0.0);
  for (uint32_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < dim; ++c) out[c] += weights[t] / sum * kv.v[t * dim + c];
  }
  return out;
}

struct SquareSums {
  double difference = 0;
  double original = 0;
  double RelativeL2() const { return original > 0 ? std::sqrt(difference / original) : 0; }
};

void AddOutputs(const std::vector<double>& original, const std::vector<double>& served, SquareSums* sums) {
  for (size_t c = 0; c < original.size(); ++c) {
    sums->difference += (served[c] - original[c]) * (served[c] - original[c]);
    sums->original += original[c] * original[c];
  }
}

}  // namespace

absl::StatusOr<AttentionReport> CompareAttention(const KvFile& file, const SampleMemory& memory,
                                                 uint32_t tokens) {
  if (file.query_tokens == 0) return absl::FailedPreconditionError("the sample has no queries");
  if (!file.context_token_ids.empty()) {
    return absl::FailedPreconditionError("the sample does not hold the keys of its context");
  }
  const uint32_t first_query = file.tokens - file.query_tokens;  // token of the first query
  if (tokens <= first_query) return absl::FailedPreconditionError("no query has all of its keys");
  const uint32_t queries = std::min(tokens, file.tokens) - first_query;
  const uint32_t share = file.query_heads / file.kv_heads;

  AttentionReport report;
  SquareSums all;
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    SquareSums of_layer;
    for (uint32_t head = 0; head < file.kv_heads; ++head) {
      const HeadKv original = OriginalHead(file, layer, head);
      const HeadKv served = ServedHead(file, memory, layer, head);
      for (uint32_t q = 0; q < queries; ++q) {
        for (uint32_t h = head * share; h < (head + 1) * share; ++h) {
          const size_t at = ((size_t{layer} * file.query_tokens + q) * file.query_heads + h) * file.head_dim;
          const std::span<const float> query = std::span(file.queries).subspan(at, file.head_dim);
          const uint32_t keys = first_query + q + 1;
          AddOutputs(Attend(query, original, keys), Attend(query, served, keys), &of_layer);
          ++report.outputs;
        }
      }
    }
    if (of_layer.RelativeL2() >= report.worst_layer_l2) {
      report.worst_layer_l2 = of_layer.RelativeL2();
      report.worst_layer = layer;
    }
    all.difference += of_layer.difference;
    all.original += of_layer.original;
  }
  report.relative_l2 = all.RelativeL2();
  return report;
}

}  // namespace kvcompd::client
