#include "client/ctl/bench_dataset.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kMinTokens = 64;

// SplitMix64, and normal numbers by the sum of twelve uniform ones: equal on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double Uniform() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }

 private:
  uint64_t state_;
};

constexpr uint32_t kLayers = 4, kTokens = 512, kHeads = 4, kDim = 128, kQueryHeads = 8, kQueryTokens = 64;
constexpr double kRopeTheta = 10000;
constexpr double kMeanEnergy = 0.56;
constexpr double kMeanChannelShare = 0.08;
constexpr uint32_t kSinkTokens = 4;

uint16_t Bf16Bits(double value) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Channel i turns with i + kDim / 2.
void Rotate(uint32_t token, std::vector<double>* x) {
  for (uint32_t i = 0; i < kDim / 2; ++i) {
    const double angle = token * std::pow(kRopeTheta, -2.0 * i / kDim);
    const double a = (*x)[i], b = (*x)[i + kDim / 2];
    (*x)[i] = a * std::cos(angle) - b * std::sin(angle);
    (*x)[i + kDim / 2] = a * std::sin(angle) + b * std::cos(angle);
  }
}

// One head's model: the mean of K, the deviation of every channel of K and V.
struct HeadModel {
  std::vector<double> mean_k = std::vector<double>(kDim);
  std::vector<double> deviation_k = std::vector<double>(kDim);
  std::vector<double> deviation_v = std::vector<double>(kDim);
};

// A permutation of the channels decides which is how large.
std::vector<uint32_t> Shuffled(Random* random) {
  std::vector<uint32_t> order(kDim);
  for (uint32_t i = 0; i < kDim; ++i) order[i] = i;
  for (uint32_t i = kDim - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<uint32_t>(random->Uniform() * (i + 1))]);
  }
  return order;
}

HeadModel MakeHead(Random* random) {
  HeadModel head;
  const std::vector<uint32_t> order_k = Shuffled(random), order_v = Shuffled(random);
  double variance_k = 0;
  for (uint32_t i = 0; i < kDim; ++i) {
    const double place = static_cast<double>(i) / (kDim - 1);
    const double variance = 10 * std::pow(1.0 / 2000, place);  // 10 to 1/200
    head.deviation_k[order_k[i]] = std::sqrt(variance);
    variance_k += variance;
    // 90 % of V's energy in 64 % of its channels.
    head.deviation_v[order_v[i]] = std::sqrt(std::exp(-3.4 * place));
  }
  // The mean in few channels, of pairs that turn slowly: those at the end of each half.
  const auto channels = static_cast<uint32_t>(kDim * kMeanChannelShare);
  const double energy = variance_k * kMeanEnergy / (1 - kMeanEnergy) / channels;
  for (uint32_t i = 0; i < channels; ++i) {
    const auto pair = static_cast<uint32_t>(kDim / 2 - 1 - random->Uniform() * kDim / 8);
    const uint32_t channel = pair + (random->Uniform() < 0.5 ? kDim / 2 : 0);
    head.mean_k[channel] += (random->Uniform() < 0.5 ? -1 : 1) * std::sqrt(energy);
  }
  return head;
}

// Fills one layer's K and V of one head, and the queries of the query heads that read it.
void FillHead(uint32_t layer, uint32_t head, const HeadModel& model, Random* random, KvFile* file) {
  std::vector<double> x(kDim);
  const auto put = [&](uint32_t tensor, uint32_t token) {
    const size_t row = ((size_t{layer} * 2 + tensor) * kTokens + token) * kHeads + head;
    for (uint32_t c = 0; c < kDim; ++c) {
      const uint16_t bits = Bf16Bits(x[c]);
      std::memcpy(file->kv.data() + 2 * (row * kDim + c), &bits, 2);
    }
  };
  for (uint32_t t = 0; t < kTokens; ++t) {
    const double sink = t < kSinkTokens ? 0.05 : 1;
    const double outlier = random->Uniform() < 0.001 ? 4 : 1;
    for (uint32_t c = 0; c < kDim; ++c) {
      x[c] = model.mean_k[c] + outlier * model.deviation_k[c] * random->Normal();
    }
    Rotate(t, &x);
    put(0, t);
    const double scale = sink * std::exp(0.3 * random->Normal());
    for (uint32_t c = 0; c < kDim; ++c) x[c] = scale * model.deviation_v[c] * random->Normal();
    put(1, t);
  }
  // Isotropic queries, so large that the logits of one query deviate by about 2.5.
  double variance = 0;
  for (uint32_t c = 0; c < kDim; ++c) variance += model.deviation_k[c] * model.deviation_k[c];
  const double size = 2.5 * std::sqrt(kDim / variance);
  const uint32_t share = kQueryHeads / kHeads;
  for (uint32_t q = 0; q < kQueryTokens; ++q) {
    for (uint32_t h = head * share; h < (head + 1) * share; ++h) {
      for (uint32_t c = 0; c < kDim; ++c) x[c] = size * random->Normal();
      Rotate(kTokens - kQueryTokens + q, &x);
      float* const out = file->queries.data() + ((size_t{layer} * kQueryTokens + q) * kQueryHeads + h) * kDim;
      for (uint32_t c = 0; c < kDim; ++c) out[c] = static_cast<float>(x[c]);
    }
  }
}

}  // namespace

uint64_t BenchDataset::raw_bytes() const {
  uint64_t bytes = 0;
  for (const KvFile& file : samples) bytes += file.kv.size();
  return bytes;
}

absl::StatusOr<std::vector<BenchDataset>> LoadDatasets(const std::string& folder,
                                                       const std::vector<DType>& dtypes) {
  const auto names = FindKvFiles(folder);
  if (!names.ok()) return names.status();
  std::map<std::pair<std::string, DType>, BenchDataset> sets;
  for (const KvFileName& name : *names) {
    if (std::find(dtypes.begin(), dtypes.end(), name.dtype) == dtypes.end()) continue;
    auto file = LoadKvFile(name.stem, name.dtype);
    if (!file.ok()) return file.status();
    if (file->tokens < kMinTokens || file->query_tokens == 0 || !file->context_token_ids.empty()) continue;
    BenchDataset& set = sets[{file->model, file->dtype}];
    if (!set.samples.empty() &&
        (set.samples[0].layers != file->layers || set.samples[0].kv_heads != file->kv_heads ||
         set.samples[0].head_dim != file->head_dim)) {
      return absl::InvalidArgumentError(absl::StrCat(name.stem, ": another shape than others of its model"));
    }
    set.name = file->model;
    set.dtype = file->dtype;
    set.samples.push_back(*std::move(file));
  }
  std::vector<BenchDataset> out;
  for (auto& [key, set] : sets) out.push_back(std::move(set));
  if (out.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": no sample of ", kMinTokens, " tokens with queries"));
  }
  return out;
}

BenchDataset SyntheticDataset(uint64_t seed) {
  BenchDataset set{.name = "synthetic", .dtype = DType::kBf16, .synthetic = true};
  Random model_random(seed);
  std::vector<HeadModel> heads;
  for (uint32_t i = 0; i < kLayers * kHeads; ++i) heads.push_back(MakeHead(&model_random));
  for (const char* sample : {"a", "b"}) {
    KvFile file;
    file.model = set.name;
    file.sample = sample;
    file.source = "synthetic";
    file.layers = kLayers;
    file.tokens = kTokens;
    file.kv_heads = kHeads;
    file.head_dim = kDim;
    file.query_tokens = kQueryTokens;
    file.query_heads = kQueryHeads;
    file.kv.resize(size_t{kLayers} * 2 * kTokens * kHeads * kDim * 2);
    file.queries.resize(size_t{kLayers} * kQueryTokens * kQueryHeads * kDim);
    Random random(seed * 1000 + static_cast<uint64_t>(sample[0]));
    for (uint32_t t = 0; t < kTokens; ++t) {
      file.token_ids.push_back(static_cast<uint32_t>(random.Uniform() * 30000));
    }
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      for (uint32_t head = 0; head < kHeads; ++head) {
        FillHead(layer, head, heads[layer * kHeads + head], &random, &file);
      }
    }
    set.samples.push_back(std::move(file));
  }
  return set;
}

}  // namespace kvcompd::client
