// KvFile: a real KV cache kept in files, with its token ids, as kvcompctl, the demo and benchmarks put it.
//
// A sample named STEM is STEM.json (model, sample, source, tokens, token_ids), STEM.kv.bf16.npy or
// STEM.kv.f16.npy ([layers, 2, tokens, kv_heads, head_dim], K then V, K after RoPE) and, where there are
// queries, STEM.q.f32.npy ([layers, query_tokens, query_heads, head_dim]). Samples: tests/data/PROVENANCE.md.
//
//   auto file = LoadKvFile("tests/data/tiny1m.story1");   // StatusOr
//   descriptor = file->Descriptor(/*tokens_per_block=*/64);
//   file->CopyTokens(layer, Tensor::kK, 0, 64, values);   // [heads, 64, channels], as a Put sends it
//
// Plain values; const use from any thread.
#ifndef KVCOMPD_CLIENT_KV_FILE_H_
#define KVCOMPD_CLIENT_KV_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"

namespace kvcompd::client {

struct KvFile {
  std::string model;
  std::string sample;
  std::string source;
  DType dtype = DType::kBf16;  // bf16 or fp16
  uint32_t layers = 0;
  uint32_t tokens = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  // Of the text before the first token that is held here; empty where the sample starts its text. Block keys
  // chain over it: take ChainKeys of context_token_ids + token_ids, and leave out the context's blocks.
  std::vector<uint32_t> context_token_ids;
  std::vector<uint32_t> token_ids;  // [tokens]
  std::vector<std::byte> kv;        // [layers, 2, tokens, kv_heads, head_dim]

  uint32_t query_tokens = 0;   // queries of the last query_tokens tokens; 0: there are none
  uint32_t query_heads = 0;    // a multiple of kv_heads; head h reads KV head h / (query_heads / kv_heads)
  std::vector<float> queries;  // [layers, query_tokens, query_heads, head_dim], after RoPE

  // Bytes of one layer's K or V of so many tokens, all heads.
  uint64_t TensorBytes(uint32_t num_tokens) const {
    return uint64_t{num_tokens} * kv_heads * head_dim * ElementBytes(dtype);
  }
  // One layer's K or V. Precondition: layer < layers.
  ByteSpan TensorValues(uint32_t layer, Tensor tensor) const;  // [tokens, kv_heads, head_dim]
  // Copies some tokens' values as a Put sends them: out is [kv_heads, num_tokens, head_dim], TensorBytes
  // long. INVALID_ARGUMENT where the layer, the tokens or out do not fit.
  absl::Status CopyTokens(uint32_t layer, Tensor tensor, uint32_t first_token, uint32_t num_tokens,
                          MutableByteSpan out) const;
  // One full-attention group over all layers; model_id is `model`, weights_version and RoPE fields stay
  // default.
  ModelDescriptor Descriptor(uint32_t tokens_per_block) const;
};

// dtype chooses STEM.kv.bf16.npy or STEM.kv.f16.npy. NOT_FOUND: a file is missing. INVALID_ARGUMENT: a file
// is malformed, or two files disagree. The path stands in every message.
absl::StatusOr<KvFile> LoadKvFile(const std::string& stem, DType dtype = DType::kBf16);

struct KvFileName {
  std::string stem;
  DType dtype = DType::kBf16;
};
// The samples of a folder, *.kv.bf16.npy and *.kv.f16.npy, by name. NOT_FOUND: there is none.
absl::StatusOr<std::vector<KvFileName>> FindKvFiles(const std::string& folder);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_KV_FILE_H_
