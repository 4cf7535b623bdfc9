#include "client/ctl/codec_trial.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/ctl/sample_coder.h"
#include "client/ctl/sample_packing.h"
#include "codec/float_format.h"

namespace kvcompd::client {
namespace {

using Set = std::shared_ptr<const codec::CodebookSet>;

// Samples that begin alike have most of their values in common, so neither may train what encodes the other.
bool BeginAlike(const KvFile& a, const KvFile& b) {
  const size_t n = SampleCoder::kBlockTokens;
  return a.token_ids.size() >= n && b.token_ids.size() >= n &&
         std::equal(a.token_ids.begin(), a.token_ids.begin() + n, b.token_ids.begin());
}

// What is known before a sample is encoded.
struct Training {
  Set set;  // null: the codec has no books
  codec::PackkvChoices packing;
};

// The samples that sample number `test` is trained on.
std::vector<size_t> TrainingSamples(const BenchDataset& dataset, size_t test) {
  std::vector<size_t> others;
  for (size_t i = 0; i < dataset.samples.size(); ++i) {
    if (i != test && !BeginAlike(dataset.samples[i], dataset.samples[test])) others.push_back(i);
  }
  return others.empty() ? std::vector<size_t>{test} : others;
}

// For each sample.
absl::StatusOr<std::vector<Training>> Train(const BenchDataset& dataset, const Profile& profile,
                                            bool* on_itself) {
  const size_t n = dataset.samples.size();
  *on_itself = false;
  std::vector<Training> all(n);
  const bool has_books = codec::CodebookSet::BuiltIn(profile)->books() != 0;
  if (!has_books && !profile.packing_is_auto()) return all;
  std::vector<SampleCoder::Histograms> histograms;
  for (size_t i = 0; has_books && i < n; ++i) {
    auto counted = SampleCoder(dataset.samples[i], profile).CountCodes();
    if (!counted.ok()) return counted.status();
    histograms.push_back(*std::move(counted));
  }
  const Fingerprint fingerprint = dataset.samples[0].Descriptor(SampleCoder::kBlockTokens).Fingerprint();
  for (size_t test = 0; test < n; ++test) {
    const std::vector<size_t> from = TrainingSamples(dataset, test);
    if (from[0] == test) *on_itself = true;
    codec::CodebookTrainer trainer(fingerprint, profile);
    std::vector<const KvFile*> files;
    for (const size_t i : from) {
      if (has_books) histograms[i].AddTo(&trainer);
      files.push_back(&dataset.samples[i]);
    }
    if (has_books) all[test].set = trainer.Build();
    const auto packing = TunePacking(files, profile);
    if (!packing.ok()) return packing.status();
    all[test].packing = *packing;
  }
  return all;
}

// Compares one decoded tensor with the original, [heads, tokens, channels], and puts it where attention reads
// it.
void TakeDecoded(const KvFile& file, const std::vector<float>& original,
                 const std::vector<float>& block_values, uint32_t layer, Tensor tensor, uint32_t first_token,
                 uint32_t tokens, TrialPart* part, std::vector<float>* decoded) {
  const size_t tensor_index = size_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0);
  for (uint32_t head = 0; head < file.kv_heads; ++head) {
    const size_t to = ((tensor_index * file.kv_heads + head) * file.tokens + first_token) * file.head_dim;
    const size_t from = size_t{head} * tokens * file.head_dim;
    for (size_t i = 0; i < size_t{tokens} * file.head_dim; ++i) {
      const double x = original[to + i], y = block_values[from + i];
      (*decoded)[to + i] = block_values[from + i];
      part->max_error = std::max(part->max_error, std::fabs(x - y));
      part->squared.difference += (x - y) * (x - y);
      part->squared.original += x * x;
    }
  }
  part->values += uint64_t{file.kv_heads} * tokens * file.head_dim;
}

struct LayerBytes {
  uint64_t raw = 0;
  uint64_t segments = 0;
};

absl::Status RunSample(const KvFile& file, const AttentionReference& reference, const Training& training,
                       Trial* trial, std::vector<LayerBytes>* layers) {
  const Set& set = training.set;
  SampleCoder coder(file, trial->profile, training.packing);
  std::vector<float> decoded(reference.original().size()), block_values;
  for (const SampleCoder::Block& block : coder.Blocks(set.get())) {
    const auto encoded = coder.Encode(block, set.get());
    if (!encoded.ok()) return encoded.status();
    const auto view = codec::ContainerView::Parse(AsBytes(encoded->container));
    if (!view.ok()) return view.status();
    uint64_t shared_bytes = encoded->container.size();
    for (uint32_t layer = 0; layer < file.layers; ++layer) {
      for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const SampleCoder::Part& coded = encoded->layers[layer][tensor == Tensor::kV ? 1 : 0];
        TrialPart& part = tensor == Tensor::kV ? trial->v : trial->k;
        part.raw_bytes += coded.stats.raw_bytes;
        part.payload_bytes += coded.stats.payload_bytes;
        part.stored_bytes += static_cast<double>(coded.segment_bytes);
        shared_bytes -= coded.segment_bytes;
        (*layers)[layer].raw += coded.stats.raw_bytes;
        (*layers)[layer].segments += coded.segment_bytes;
        const auto values = coder.Decode(*view, layer, tensor, set.get());
        if (!values.ok()) return values.status();
        block_values.resize(values->size() / ElementBytes(file.dtype));
        codec::FloatsOfValues(file.dtype, values->data(), block_values.size(), block_values.data());
        TakeDecoded(file, reference.original(), block_values, layer, tensor, block.first_token,
                    block.header.tokens, &part, &decoded);
      }
    }
    trial->k.stored_bytes += static_cast<double>(shared_bytes) / 2;
    trial->v.stored_bytes += static_cast<double>(shared_bytes) / 2;
  }
  trial->attention.Add(reference.Compare(decoded));
  return absl::OkStatus();
}

}  // namespace

TrialData::TrialData(const BenchDataset& set) : dataset(set) {
  for (const KvFile& file : set.samples) references.emplace_back(file);
}

void TrialPart::Add(const TrialPart& other) {
  values += other.values;
  raw_bytes += other.raw_bytes;
  payload_bytes += other.payload_bytes;
  stored_bytes += other.stored_bytes;
  max_error = std::max(max_error, other.max_error);
  squared.Add(other.squared);
}

absl::StatusOr<Trial> RunTrial(const TrialData& data, const Profile& profile) {
  if (absl::Status s = profile.Validate(); !s.ok()) return s;
  if (codec::FindCodec(profile.codec) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("codec ", ToAbsl(CodecName(profile.codec)), " is not in this build"));
  }
  Trial trial{.profile = profile};
  const auto trainings = Train(data.dataset, profile, &trial.trained_on_itself);
  if (!trainings.ok()) return trainings.status();
  std::vector<LayerBytes> layers(data.dataset.samples[0].layers);
  for (size_t i = 0; i < data.dataset.samples.size(); ++i) {
    const absl::Status status =
        RunSample(data.dataset.samples[i], data.references[i], (*trainings)[i], &trial, &layers);
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat(ToAbsl(profile.Text()), " on ", data.dataset.name, ".",
                                       data.dataset.samples[i].sample, ": ", status.message()));
    }
  }
  const Set& set = (*trainings)[0].set;
  if (set != nullptr) trial.codebook_bytes = set->canonical_bytes().size();
  trial.k.stored_bytes += static_cast<double>(trial.codebook_bytes) / 2;
  trial.v.stored_bytes += static_cast<double>(trial.codebook_bytes) / 2;
  trial.kv = trial.k;
  trial.kv.Add(trial.v);
  for (const LayerBytes& layer : layers) {
    trial.layer_ratios.push_back(static_cast<double>(layer.raw) / static_cast<double>(layer.segments));
  }
  return trial;
}

}  // namespace kvcompd::client
