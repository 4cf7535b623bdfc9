#include "tests/chaos/expected_block.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd {
namespace {

constexpr uint32_t kHeads = 4;
constexpr uint32_t kHeadDim = 64;
constexpr uint64_t kTensorBytes = uint64_t{kHeads} * kChaosTokens * kHeadDim * 2;

// splitmix64: a sequence of 64-bit words, each from its number alone.
uint64_t Word(uint64_t seed, uint64_t number) {
  uint64_t z = seed + (number + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t SeedOf(const BlockKey& key, uint32_t layer, Tensor tensor) {
  uint64_t seed = 0;
  std::memcpy(&seed, key.view().data(), sizeof(seed));  // keys have 16 bytes at least
  return Word(seed, uint64_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0));
}

}  // namespace

ModelDescriptor ChaosModel(uint32_t layers) {
  AttentionGroup group;
  for (uint32_t layer = 0; layer < layers; ++layer) group.layers.push_back(layer);
  group.kv_heads = kHeads;
  group.head_dim_k = kHeadDim;
  group.head_dim_v = kHeadDim;
  group.dtype = DType::kBf16;
  ModelDescriptor model;
  model.model_id = "chaos";
  model.groups.push_back(std::move(group));
  model.tokens_per_block = kChaosTokens;
  return model;
}

BlockKey ChaosKey(uint64_t seed, uint64_t number) {
  return BlockKey::FromDigest(Sha256(absl::StrCat("chaos ", seed, " ", number)));
}

void FillExpected(const BlockKey& key, uint32_t layer, Tensor tensor, MutableByteSpan values) {
  const uint64_t seed = SeedOf(key, layer, tensor);
  for (uint64_t i = 0; i * sizeof(uint64_t) < values.size(); ++i) {
    const uint64_t word = Word(seed, i);
    std::memcpy(values.data() + i * sizeof(word), &word, sizeof(word));
  }
}

bool Matches(const BlockKey& key, uint32_t layer, Tensor tensor, ByteSpan values) {
  const uint64_t seed = SeedOf(key, layer, tensor);
  for (uint64_t i = 0; i * sizeof(uint64_t) < values.size(); ++i) {
    const uint64_t word = Word(seed, i);
    if (std::memcmp(values.data() + i * sizeof(word), &word, sizeof(word)) != 0) return false;
  }
  return true;
}

ChaosMemory::ChaosMemory(uint32_t layers, uint32_t count)
    : layers_(layers), count_(count), bytes_(uint64_t{layers} * 2 * count * kTensorBytes) {
  client::PagedBuffer::Options options{.layout = client::PageLayout::kHnd,
                                       .dtype = DType::kBf16,
                                       .heads = kHeads,
                                       .head_dim_k = kHeadDim,
                                       .head_dim_v = kHeadDim,
                                       .page_tokens = kChaosTokens,
                                       .num_pages = count};
  for (uint32_t layer = 0; layer < layers; ++layer) {
    options.k.push_back(Values(0, layer, Tensor::kK).data());
    options.v.push_back(Values(0, layer, Tensor::kV).data());
  }
  // The options are right by construction.
  buffer_ = std::make_unique<client::PagedBuffer>(*client::PagedBuffer::Create(std::move(options)));
}

MutableByteSpan ChaosMemory::Values(uint32_t block, uint32_t layer, Tensor tensor) const {
  const uint64_t index = (uint64_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0)) * count_ + block;
  return MutableByteSpan(bytes_).subspan(index * kTensorBytes, kTensorBytes);
}

void ChaosMemory::Fill(uint32_t block, const BlockKey& key) {
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      FillExpected(key, layer, tensor, Values(block, layer, tensor));
    }
  }
}

void ChaosMemory::Poison(uint32_t block) {
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const MutableByteSpan values = Values(block, layer, tensor);
      std::memset(values.data(), 0xa5, values.size());
    }
  }
}

bool ChaosMemory::HoldsLayers(uint32_t block, const BlockKey& key, uint32_t layers) const {
  for (uint32_t layer = 0; layer < layers; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (!Matches(key, layer, tensor, Values(block, layer, tensor))) return false;
    }
  }
  return true;
}

}  // namespace kvcompd
