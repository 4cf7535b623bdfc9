// Reads a model and its evaluation text from a folder.
//
// Called by the perplexity bench. Pure functions; any thread.
//
//   auto loaded = LoadLlama("models/docs6m");           // StatusOr
//   loaded->model.Forward(loaded->texts[0], &cache);
//
// Two forms, told apart by what the folder holds:
//   config.json and weights.npz   d, L, H, KV, hd, ffn, eps, theta, vocab, ctx, rope ("half" or
//   "interleaved"); arrays
//                                 emb, norm and for each layer i.n1 i.n2 i.q i.k i.v i.o i.g i.u i.dn,
//                                 float32, [out, in]
//   *.bin                         llama2.c's first form: seven int32 (dim, hidden, layers, heads, KV heads,
//   vocabulary,
//                                 context), then float32 arrays; the embedding is the output matrix. tok*.bin
//                                 is none.
// and eval_tokens_u16.npy, [texts, tokens].
#ifndef KVCOMPD_CLIENT_CTL_LLAMA_LOADER_H_
#define KVCOMPD_CLIENT_CTL_LLAMA_LOADER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/llama_model.h"
#include "client/npy.h"

namespace kvcompd::client {

struct LoadedLlama {
  LlamaModel model;
  std::vector<std::vector<uint16_t>> texts;  // token ids under vocab, each at most `context` long
};

// NOT_FOUND: no model in the folder. INVALID_ARGUMENT: a file is malformed, or files disagree.
absl::StatusOr<LoadedLlama> LoadLlama(const std::string& folder);

// The models alone. Every length is checked before it is used.
absl::StatusOr<LlamaModel> LlamaOfArrays(const std::string& config_json,
                                         const std::map<std::string, NpyArray>& arrays);
absl::StatusOr<LlamaModel> LlamaOfLlama2c(std::span<const std::byte> file);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_LLAMA_LOADER_H_
