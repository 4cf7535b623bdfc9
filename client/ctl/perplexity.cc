#include "client/ctl/perplexity.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/sample_coder.h"
#include "client/ctl/sample_packing.h"
#include "codec/codec.h"
#include "codec/float_format.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kBlock = SampleCoder::kBlockTokens;
constexpr uint32_t kMinTextTokens = 2 * kBlock;

// In place: [rows, vocab] logits become log-probabilities.
void LogSoftmax(std::vector<float>* logits, size_t vocab) {
  for (size_t at = 0; at < logits->size(); at += vocab) {
    float* const row = logits->data() + at;
    const float top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - top);
    const auto shift = static_cast<float>(top + std::log(sum));
    for (size_t i = 0; i < vocab; ++i) row[i] -= shift;
  }
}

// Rounds to bf16 between a cache and a KvFile, [layers, 2, tokens, kv_heads, head_dim].
size_t PlaceIn(const KvFile& kv, uint32_t layer, bool is_v, uint32_t token, uint32_t head) {
  return (((size_t{layer} * 2 + (is_v ? 1 : 0)) * kv.tokens + token) * kv.kv_heads + head) * kv.head_dim * 2;
}

void CopyFromCache(const LlamaConfig& config, LlamaCache* cache, uint32_t first_token, KvFile* kv) {
  std::vector<float> row(config.head_dim);
  for (uint32_t layer = 0; layer < kv->layers; ++layer) {
    for (uint32_t head = 0; head < kv->kv_heads; ++head) {
      for (uint32_t t = 0; t < kv->tokens; ++t) {
        for (uint32_t c = 0; c < config.head_dim; ++c) {
          row[c] = cache->k(layer, head)[size_t{c} * config.context + first_token + t];
        }
        codec::ValuesOfFloats(DType::kBf16, row.data(), row.size(),
                              kv->kv.data() + PlaceIn(*kv, layer, false, t, head));
        codec::ValuesOfFloats(DType::kBf16, cache->v(layer, head) + size_t{first_token + t} * config.head_dim,
                              config.head_dim, kv->kv.data() + PlaceIn(*kv, layer, true, t, head));
      }
    }
  }
}

// Decoded values of one layer's K or V, [heads, tokens, channels], to their place.
void CopyToCache(const LlamaConfig& config, ByteSpan values, uint32_t layer, Tensor tensor,
                 uint32_t first_token, uint32_t tokens, LlamaCache* cache) {
  std::vector<float> row(config.head_dim);
  for (uint32_t head = 0; head < config.kv_heads; ++head) {
    for (uint32_t t = 0; t < tokens; ++t) {
      const size_t from = (size_t{head} * tokens + t) * config.head_dim * 2;
      codec::FloatsOfValues(DType::kBf16, values.data() + from, row.size(), row.data());
      for (uint32_t c = 0; c < config.head_dim; ++c) {
        if (tensor == Tensor::kK) {
          cache->k(layer, head)[size_t{c} * config.context + first_token + t] = row[c];
        } else {
          cache->v(layer, head)[size_t{first_token + t} * config.head_dim + c] = row[c];
        }
      }
    }
  }
}

// All blocks of kv through the profile and into the cache, from first_token on. Adds what they take.
absl::Status PassThrough(const LlamaConfig& config, const KvFile& kv, const Profile& profile,
                         const codec::CodebookSet* set, const codec::PackkvChoices& packing,
                         uint32_t first_token, LlamaCache* cache, uint64_t* stored_bytes) {
  SampleCoder coder(kv, profile, packing);
  for (const SampleCoder::Block& block : coder.Blocks(set)) {
    const auto encoded = coder.Encode(block, set);
    if (!encoded.ok()) return encoded.status();
    *stored_bytes += encoded->container.size();
    const auto view = codec::ContainerView::Parse(AsBytes(encoded->container));
    if (!view.ok()) return view.status();
    for (uint32_t layer = 0; layer < kv.layers; ++layer) {
      for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const auto values = coder.Decode(*view, layer, tensor, set);
        if (!values.ok()) return values.status();
        CopyToCache(config, *values, layer, tensor, first_token + block.first_token, block.header.tokens,
                    cache);
      }
    }
  }
  return absl::OkStatus();
}

// Runs work(i) for i in [0, n) on threads; the first error.
absl::Status ForAll(size_t n, uint32_t threads, const std::function<absl::Status(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  absl::Status failure;
  const auto run = [&] {
    for (size_t i = next++; i < n; i = next++) {
      const absl::Status status = work(i);
      const std::lock_guard lock(mutex);
      failure.Update(status);
    }
  };
  std::vector<std::thread> others;
  for (uint32_t t = 1; t < threads; ++t) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  return failure;
}

uint32_t ThreadsOf(const PerplexityOptions& options) {
  return options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

PerplexityLab::PerplexityLab(const LoadedLlama& loaded, const PerplexityOptions& options)
    : loaded_(loaded), options_(options), num_texts_(loaded.texts.size()) {
  if (options.max_texts != 0) num_texts_ = std::min<size_t>(num_texts_, options.max_texts);
}

absl::StatusOr<std::unique_ptr<PerplexityLab>> PerplexityLab::Make(const LoadedLlama& loaded,
                                                                   const PerplexityOptions& options) {
  auto lab = std::unique_ptr<PerplexityLab>(new PerplexityLab(loaded, options));
  if (lab->num_texts_ < 2) return absl::InvalidArgumentError("fewer than two texts");
  const size_t tokens = loaded.texts[0].size();
  for (const auto& text : loaded.texts) {
    if (text.size() != tokens || tokens < kMinTextTokens) {
      return absl::InvalidArgumentError(absl::StrCat("texts need ", kMinTextTokens, " tokens, all as many"));
    }
  }
  lab->context_ = static_cast<uint32_t>(tokens / 2 / kBlock * kBlock);
  lab->references_.resize(lab->num_texts_);
  const absl::Status status = ForAll(lab->num_texts_, ThreadsOf(options), [&](size_t i) {
    lab->references_[i] = lab->RunReference(loaded.texts[i]);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  double nll = 0;
  uint64_t count = 0;
  for (const Reference& reference : lab->references_) {
    for (const double value : reference.nll) nll += value;
    count += reference.nll.size();
  }
  lab->reference_perplexity_ = std::exp(nll / static_cast<double>(count));
  return lab;
}

KvFile PerplexityLab::EmptyKv(uint32_t tokens) const {
  const LlamaConfig& config = loaded_.model.config;
  KvFile kv;
  kv.model = config.name;
  kv.sample = "text";
  kv.source = "model";
  kv.layers = config.layers;
  kv.tokens = tokens;
  kv.kv_heads = config.kv_heads;
  kv.head_dim = config.head_dim;
  kv.token_ids.resize(tokens);
  kv.kv.resize(size_t{config.layers} * 2 * kv.TensorBytes(tokens));
  return kv;
}

PerplexityLab::Reference PerplexityLab::RunReference(const std::vector<uint16_t>& text) const {
  const LlamaConfig& config = loaded_.model.config;
  LlamaCache cache(config);
  const std::span<const uint16_t> all(text);
  loaded_.model.Forward(all.first(context_), &cache);
  Reference reference;
  // The last token predicts nothing that is known.
  reference.log_probs = loaded_.model.Forward(all.subspan(context_, text.size() - context_ - 1), &cache);
  LogSoftmax(&reference.log_probs, config.vocab);
  for (size_t i = 0; i + context_ + 1 < text.size(); ++i) {
    reference.nll.push_back(
        -static_cast<double>(reference.log_probs[i * config.vocab + text[context_ + i + 1]]));
  }
  reference.kv = EmptyKv(context_);
  for (uint32_t t = 0; t < context_; ++t) reference.kv.token_ids[t] = text[t];
  CopyFromCache(config, &cache, 0, &reference.kv);
  return reference;
}

PerplexityLab::TextResult PerplexityLab::Compare(size_t text, std::vector<float> logits) const {
  const size_t vocab = loaded_.model.config.vocab;
  const Reference& reference = references_[text];
  LogSoftmax(&logits, vocab);
  TextResult result;
  for (size_t i = 0; i < reference.nll.size(); ++i) {
    const float* const p = reference.log_probs.data() + i * vocab;
    const float* const q = logits.data() + i * vocab;
    double kl = 0;
    for (size_t v = 0; v < vocab; ++v)
      kl += std::exp(static_cast<double>(p[v])) * (static_cast<double>(p[v]) - q[v]);
    result.kl.push_back(kl);
    result.nll.push_back(-static_cast<double>(q[loaded_.texts[text][context_ + i + 1]]));
    result.same_top += std::max_element(p, p + vocab) - p == std::max_element(q, q + vocab) - q;
  }
  return result;
}

absl::StatusOr<PerplexityLab::TextResult> PerplexityLab::RunPrefix(size_t text, const Profile& profile,
                                                                   const Training& training) const {
  const LlamaConfig& config = loaded_.model.config;
  const std::span<const uint16_t> all(loaded_.texts[text]);
  LlamaCache cache(config);
  uint64_t stored_bytes = 0;
  const absl::Status status = PassThrough(config, references_[text].kv, profile, training.set.get(),
                                          training.packing, 0, &cache, &stored_bytes);
  if (!status.ok()) return status;
  cache.tokens = context_;
  TextResult result =
      Compare(text, loaded_.model.Forward(all.subspan(context_, all.size() - context_ - 1), &cache));
  result.raw_bytes = references_[text].kv.kv.size();
  result.stored_bytes = stored_bytes;
  return result;
}

absl::StatusOr<PerplexityLab::TextResult> PerplexityLab::RunDecode(size_t text, const Profile& profile,
                                                                   const Training& training) const {
  const LlamaConfig& config = loaded_.model.config;
  const std::span<const uint16_t> all(loaded_.texts[text]);
  LlamaCache cache(config);
  std::vector<float> predictions;
  uint64_t stored_bytes = 0, raw_bytes = 0;
  for (uint32_t first = 0; first + 1 < all.size(); first += kBlock) {
    const auto tokens = static_cast<uint32_t>(std::min<size_t>(kBlock, all.size() - 1 - first));
    const std::vector<float> logits = loaded_.model.Forward(all.subspan(first, tokens), &cache);
    if (first >= context_) predictions.insert(predictions.end(), logits.begin(), logits.end());
    if (tokens < kBlock) {
      // An open tail stays raw, and counts as such.
      const uint64_t tail_bytes = EmptyKv(tokens).kv.size();
      raw_bytes += tail_bytes;
      stored_bytes += tail_bytes;
      break;
    }
    KvFile block = EmptyKv(kBlock);
    for (uint32_t t = 0; t < kBlock; ++t) block.token_ids[t] = all[first + t];
    CopyFromCache(config, &cache, first, &block);
    raw_bytes += block.kv.size();
    const absl::Status status = PassThrough(config, block, profile, training.set.get(), training.packing,
                                            first, &cache, &stored_bytes);
    if (!status.ok()) return status;
  }
  TextResult result = Compare(text, std::move(predictions));
  result.raw_bytes = raw_bytes;
  result.stored_bytes = stored_bytes;
  return result;
}

absl::StatusOr<std::vector<PerplexityLab::Training>> PerplexityLab::Train(const Profile& profile) const {
  std::vector<Training> trainings;
  for (const size_t parity : {0, 1}) {
    std::vector<const KvFile*> files;
    codec::CodebookTrainer trainer(references_[0].kv.Descriptor(kBlock).Fingerprint(), profile);
    for (size_t i = 1 - parity; i < num_texts_; i += 2) {
      const auto histograms = SampleCoder(references_[i].kv, profile).CountCodes();
      if (!histograms.ok()) return histograms.status();
      histograms->AddTo(&trainer);
      files.push_back(&references_[i].kv);
    }
    const auto packing = TunePacking(files, profile);
    if (!packing.ok()) return packing.status();
    trainings.push_back({trainer.Build(), *packing});
  }
  return trainings;
}

PerplexityRow PerplexityLab::Sum(const std::string& name, const std::vector<TextResult>& results,
                                 uint64_t set_bytes) const {
  PerplexityRow row{.profile = name};
  double nll = 0, same_top = 0;
  uint64_t raw_bytes = 0, stored_bytes = set_bytes;
  std::vector<double> kl;
  for (const TextResult& result : results) {
    for (const double value : result.nll) nll += value;
    kl.insert(kl.end(), result.kl.begin(), result.kl.end());
    same_top += static_cast<double>(result.same_top);
    raw_bytes += result.raw_bytes;
    stored_bytes += result.stored_bytes;
  }
  row.predictions = kl.size();
  const auto n = static_cast<double>(kl.size());
  row.perplexity = std::exp(nll / n);
  row.perplexity_change = row.perplexity / reference_perplexity_ - 1;
  for (const double value : kl) row.kl_mean += value / n;
  std::sort(kl.begin(), kl.end());
  row.kl_p99 = kl[static_cast<size_t>(0.99 * (n - 1))];
  row.same_top = same_top / n;
  if (raw_bytes > 0) {
    row.ratio_effective = static_cast<double>(raw_bytes) / static_cast<double>(stored_bytes);
    row.bits_per_value = 16 / row.ratio_effective;
  }
  return row;
}

absl::StatusOr<PerplexityRow> PerplexityLab::MeasureFloat32() const {
  std::vector<TextResult> results(num_texts_);
  const absl::Status status = ForAll(num_texts_, ThreadsOf(options_), [&](size_t i) {
    const std::span<const uint16_t> all(loaded_.texts[i]);
    LlamaCache cache(loaded_.model.config);
    cache.bf16 = false;
    loaded_.model.Forward(all.first(context_), &cache);
    results[i] = Compare(i, loaded_.model.Forward(all.subspan(context_, all.size() - context_ - 1), &cache));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return Sum("float32", results, 0);
}

absl::StatusOr<PerplexityRow> PerplexityLab::Measure(const Profile& profile) const {
  if (codec::FindCodec(profile.codec) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("codec ", ToAbsl(CodecName(profile.codec)), " is not in this build"));
  }
  const auto trainings = Train(profile);
  if (!trainings.ok()) return trainings.status();
  std::vector<TextResult> results(num_texts_);
  const absl::Status status = ForAll(num_texts_, ThreadsOf(options_), [&](size_t i) {
    auto result = options_.mode == PerplexityMode::kPrefix ? RunPrefix(i, profile, (*trainings)[i % 2])
                                                           : RunDecode(i, profile, (*trainings)[i % 2]);
    if (!result.ok()) return result.status();
    results[i] = *std::move(result);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const codec::CodebookSet* const set = (*trainings)[0].set.get();
  return Sum(profile.Text(), results, set == nullptr ? 0 : set->canonical_bytes().size());
}

}  // namespace kvcompd::client
