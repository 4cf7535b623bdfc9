// A tiny model for tests, made from a seed, and its files in both forms that the loader reads.
#ifndef KVCOMPD_TESTS_CLIENT_CTL_LLAMA_SAMPLES_H_
#define KVCOMPD_TESTS_CLIENT_CTL_LLAMA_SAMPLES_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "client/ctl/llama_model.h"

namespace kvcompd::client {

// The plain matrices, as files have them: [out, in] by name, "emb", "norm", "0.q", ...
struct TinyLlama {
  LlamaConfig config;
  std::map<std::string, std::pair<std::vector<uint64_t>, std::vector<float>>> arrays;
};
TinyLlama MakeTinyLlama(bool rope_interleaved, uint32_t context = 160);

std::string ConfigJsonOf(const TinyLlama& tiny);
std::string NpyOf(const std::vector<uint64_t>& shape, const std::string& descr, const std::string& bytes);
// As np.savez writes it.
std::string NpzOf(const TinyLlama& tiny);
std::string Llama2cOf(const TinyLlama& tiny);
// [texts, tokens] of ids under the vocabulary.
std::vector<std::vector<uint16_t>> TinyTexts(const TinyLlama& tiny, size_t texts, size_t tokens);
std::string TextsNpyOf(const std::vector<std::vector<uint16_t>>& texts);

}  // namespace kvcompd::client

#endif  // KVCOMPD_TESTS_CLIENT_CTL_LLAMA_SAMPLES_H_
