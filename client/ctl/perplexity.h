// What a profile costs a model: the change of its perplexity, and how far its next-token distribution moves,
// when its KV cache goes through the profile.
//
// Called by `kvcompctl bench perplexity`. One call at a time; it uses as many threads as it is told.
//
//   auto lab = PerplexityLab::Make(loaded, {.mode = PerplexityMode::kPrefix});   // StatusOr: runs the
//   reference auto row = (*lab)->Measure(profile);                                         // StatusOr
//
// Reference: the same model with its cache in bf16. Both predict the tokens after the first half of every
// text; a text of T tokens has its first T / 2 for context. prefix: the context's keys and values, taken from
// the reference, are encoded and decoded in blocks of 64 tokens, and the rest is run on them: a decode worker
// that loads a prefix. decode: the whole text goes 64 tokens at a time, and each full block is encoded and
// decoded before the next reads it, so errors add up: a worker that compresses as it goes. Books are trained
// on the other half of the texts (even and odd ones).
#ifndef KVCOMPD_CLIENT_CTL_PERPLEXITY_H_
#define KVCOMPD_CLIENT_CTL_PERPLEXITY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/llama_loader.h"
#include "client/kv_file.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/packkv_tuner.h"

namespace kvcompd::client {

enum class PerplexityMode { kPrefix, kDecode };

struct PerplexityOptions {
  PerplexityMode mode = PerplexityMode::kPrefix;
  uint32_t max_texts = 0;  // 0: all
  uint32_t threads = 0;    // 0: all cores
};

struct PerplexityRow {
  std::string profile;
  uint64_t predictions = 0;
  double perplexity = 0;
  double perplexity_change = 0;  // over the reference, less 1
  double kl_mean = 0;            // of the reference's distribution from this one, nats
  double kl_p99 = 0;
  double same_top = 0;         // share of predictions whose likeliest token is the reference's
  double ratio_effective = 0;  // of the encoded blocks: whole containers, and the codebook set once
  double bits_per_value = 0;
};

class PerplexityLab {
 public:
  // INVALID_ARGUMENT: texts of fewer than 128 tokens, or fewer than two.
  static absl::StatusOr<std::unique_ptr<PerplexityLab>> Make(const LoadedLlama& loaded,
                                                             const PerplexityOptions& options);

  double reference_perplexity() const { return reference_perplexity_; }
  // The same model with its cache in float32: what bf16 itself costs.
  absl::StatusOr<PerplexityRow> MeasureFloat32() const;
  // FAILED_PRECONDITION: the codec is not in this build.
  absl::StatusOr<PerplexityRow> Measure(const Profile& profile) const;

 private:
  // What one text gave, by prediction.
  struct TextResult {
    std::vector<double> nll;
    std::vector<double> kl;
    uint64_t same_top = 0;
    uint64_t raw_bytes = 0;
    uint64_t stored_bytes = 0;
  };
  // Log-probabilities of one text's predictions, [predictions, vocab], and its cache.
  struct Reference {
    std::vector<float> log_probs;
    std::vector<double> nll;
    KvFile kv;  // of the context
  };
  // What is known before a text is encoded.
  struct Training {
    std::shared_ptr<const codec::CodebookSet> set;  // null: the codec has none
    codec::PackkvChoices packing;                   // where the profile leaves it open
  };

  explicit PerplexityLab(const LoadedLlama& loaded, const PerplexityOptions& options);
  Reference RunReference(const std::vector<uint16_t>& text) const;
  absl::StatusOr<TextResult> RunPrefix(size_t text, const Profile& profile, const Training& training) const;
  absl::StatusOr<TextResult> RunDecode(size_t text, const Profile& profile, const Training& training) const;
  TextResult Compare(size_t text, std::vector<float> logits) const;
  // For each parity of texts, from the other one.
  absl::StatusOr<std::vector<Training>> Train(const Profile& profile) const;
  PerplexityRow Sum(const std::string& name, const std::vector<TextResult>& results,
                    uint64_t set_bytes) const;
  KvFile EmptyKv(uint32_t tokens) const;

  const LoadedLlama& loaded_;
  const PerplexityOptions options_;
  size_t num_texts_ = 0;
  uint32_t context_ = 0;  // tokens before the first prediction's
  std::vector<Reference> references_;
  double reference_perplexity_ = 0;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_PERPLEXITY_H_
