// A small model of the Llama shape in float32: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied
// embeddings. It stands in for an inference worker where the effect of a compressed KV cache on the next
// token is measured.
//
// Called by perplexity.cc. The model is immutable, so Forward may run on any thread, each with its own cache.
//
//   LlamaCache cache(model.config);
//   std::vector<float> logits = model.Forward(tokens, &cache);      // [tokens, vocab]
//
// One layer: h = rms(x) * attention_norm; q, k, v = h W^T; RoPE on q and k; x += attention(q, k, v) Wo^T;
// h = rms(x) * ffn_norm; x += (silu(h gate^T) * (h up^T)) down^T. In the end logits = rms(x) * norm
// embedding^T.
#ifndef KVCOMPD_CLIENT_CTL_LLAMA_MODEL_H_
#define KVCOMPD_CLIENT_CTL_LLAMA_MODEL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace kvcompd::client {

struct LlamaConfig {
  std::string name;
  uint32_t dim = 0;
  uint32_t layers = 0;
  uint32_t heads = 0;  // of queries, a multiple of kv_heads
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;  // even
  uint32_t ffn_dim = 0;
  uint32_t vocab = 0;
  uint32_t context = 0;  // tokens at most
  float rms_eps = 1e-5f;
  float rope_theta = 10000;
  // Channel 2i turns with 2i + 1; else i with i + head_dim / 2.
  bool rope_interleaved = false;

  absl::Status Validate() const;  // INVALID_ARGUMENT
};

// y = x W^T, W held transposed: [in, out].
struct LlamaMatrix {
  uint32_t in = 0, out = 0;
  std::vector<float> transposed;
  // values: [out, in].
  static LlamaMatrix Of(uint32_t out, uint32_t in, std::span<const float> values);
};

struct LlamaLayer {
  std::vector<float> attention_norm, ffn_norm;  // [dim]
  LlamaMatrix q, k, v, o, gate, up, down;
};

// Keys after RoPE and values of the tokens so far, float32.
struct LlamaCache {
  explicit LlamaCache(const LlamaConfig& config);
  // [layer][kv_head]: k is [head_dim, context], so that logits are sums of rows; v is [context, head_dim].
  float* k(uint32_t layer, uint32_t head) {
    return k_.data() + (size_t{layer} * kv_heads + head) * head_elems;
  }
  float* v(uint32_t layer, uint32_t head) {
    return v_.data() + (size_t{layer} * kv_heads + head) * head_elems;
  }

  uint32_t tokens = 0;
  // Keys and values are rounded to bf16 as they are written, as a serving engine keeps them.
  bool bf16 = true;

 private:
  uint32_t kv_heads;
  size_t head_elems;
  std::vector<float> k_, v_;
};

class LlamaModel {
 public:
  LlamaConfig config;
  std::vector<float> embedding;  // [vocab, dim]
  std::vector<float> norm;       // [dim]
  std::vector<LlamaLayer> layers;
  LlamaMatrix output;  // of the embedding

  // Logits of every token, [tokens, vocab], after adding the tokens to the cache. A token sees itself and
  // those before it. Preconditions: ids under vocab; cache->tokens + tokens.size() <= context.
  std::vector<float> Forward(std::span<const uint16_t> tokens, LlamaCache* cache) const;

 private:
  void Attend(const LlamaLayer& layer, uint32_t number, uint32_t tokens, std::span<float> x,
              LlamaCache* cache) const;
  void FeedForward(const LlamaLayer& layer, uint32_t tokens, std::span<float> x) const;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_LLAMA_MODEL_H_
