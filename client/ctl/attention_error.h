// Attention outputs of a sample's queries over its original K and V, kept, and how far those over decoded K
// and V are from them. What CompareAttention does once for served values, this does for many profiles of one
// sample.
//
// Called by the codec bench. Const use from any thread. float32; the sums of squares are in double.
//
//   AttentionReference reference(file);
//   AttentionErrors errors = reference.Compare(decoded);     // [layers, 2, heads, tokens, channels], float
#ifndef KVCOMPD_CLIENT_CTL_ATTENTION_ERROR_H_
#define KVCOMPD_CLIENT_CTL_ATTENTION_ERROR_H_

#include <cstdint>
#include <span>
#include <vector>

#include "client/kv_file.h"

namespace kvcompd::client {

// Sums of squares, so that samples and layers add up.
struct SquaredError {
  double difference = 0;
  double original = 0;
  void Add(const SquaredError& other) {
    difference += other.difference;
    original += other.original;
  }
  double RelativeL2() const;  // |x - y| / |x|; 0 where x is 0
};

// Of the attention outputs over all layers, queries and heads.
struct AttentionErrors {
  SquaredError kv;      // K and V decoded
  SquaredError k_only;  // K decoded, V original
  SquaredError v_only;
  void Add(const AttentionErrors& other);
};

class AttentionReference {
 public:
  // The file has queries (file.query_tokens > 0), starts its text, and outlives the object.
  explicit AttentionReference(const KvFile& file);

  // softmax(q k / sqrt(head_dim)) v with a causal mask. decoded: [layers, 2, kv_heads, tokens, head_dim].
  AttentionErrors Compare(std::span<const float> decoded) const;
  // The original values in the same order.
  const std::vector<float>& original() const { return original_; }

 private:
  // K is [head_dim, tokens] here, so that a row of logits is a sum of rows.
  std::vector<float> Transposed(std::span<const float> values, uint32_t layer, uint32_t head) const;
  std::span<const float> V(std::span<const float> values, uint32_t layer, uint32_t head) const;
  void Weights(std::span<const float> k_transposed, const float* query, uint32_t keys, float* weights) const;
  void Output(const float* weights, std::span<const float> v, uint32_t keys, float* out) const;
  size_t HeadElems() const { return size_t{file_.tokens} * file_.head_dim; }

  // Calls visit(layer, kv head, query pointer, keys, number of the output) for every output.
  template <typename Visit>
  void ForQueries(uint32_t layer, uint32_t head, Visit visit) const;

  const KvFile& file_;
  std::vector<float> original_;
  std::vector<float> weights_;  // [outputs, tokens], 0 where masked
  std::vector<float> outputs_;  // [outputs, head_dim]
};

// A file's values as float, [layers, 2, kv_heads, tokens, head_dim].
std::vector<float> FloatsOf(const KvFile& file);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_ATTENTION_ERROR_H_
