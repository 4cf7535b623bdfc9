#include "client/ctl/bench_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/kv_file.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kSyntheticSeed = 20240917;
constexpr uint64_t kTileBytes = uint64_t{kBenchTokens} * kBenchHeadDim * 2;

// Tiles of one KV head and 64 tokens, [tokens, channels], of K and of V; taken in turn.
struct TilePool {
  std::vector<std::byte> tiles[2];
  std::string data;

  uint64_t count(Tensor t) const { return tiles[t == Tensor::kV].size() / kTileBytes; }
  ByteSpan tile(Tensor t, uint64_t i) const {
    return ByteSpan(tiles[t == Tensor::kV]).subspan(i % count(t) * kTileBytes, kTileBytes);
  }
};

uint16_t Bf16OfFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

TilePool SyntheticTiles() {
  constexpr uint32_t kTiles = 128;
  std::mt19937_64 random(kSyntheticSeed);
  std::normal_distribution<float> normal;
  TilePool pool;
  pool.data = "synthetic";
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    std::vector<std::byte>& out = pool.tiles[tensor == Tensor::kV];
    out.resize(kTiles * kTileBytes);
    for (uint64_t i = 0; i < out.size() / 2; ++i) {
      const uint64_t channel = i % kBenchHeadDim;
      const float scale = tensor == Tensor::kK && channel % 32 == 5 ? 8.0f : 1.0f;
      const uint16_t bits = Bf16OfFloat(normal(random) * scale);
      std::memcpy(out.data() + i * 2, &bits, sizeof(bits));
    }
  }
  return pool;
}

absl::StatusOr<TilePool> RealTiles(const std::string& folder) {
  const auto samples = FindKvFiles(folder);
  if (!samples.ok()) return samples.status();

  TilePool pool;
  std::vector<std::string> names;
  for (const KvFileName& sample : *samples) {
    if (sample.dtype != DType::kBf16) continue;
    const absl::StatusOr<KvFile> file = LoadKvFile(sample.stem);
    if (!file.ok()) return file.status();
    if (file->head_dim != kBenchHeadDim || file->tokens < kBenchTokens) continue;
    names.push_back(absl::StrCat(file->model, ".", file->sample));
    std::vector<std::byte> heads(file->TensorBytes(kBenchTokens));  // [kv_heads, tokens, channels]
    // Layer by layer, so that the heads of one block and layer come from one layer of the model.
    for (uint32_t layer = 0; layer < file->layers; ++layer) {
      for (uint32_t token = 0; token + kBenchTokens <= file->tokens; token += kBenchTokens) {
        for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
          const absl::Status status = file->CopyTokens(layer, tensor, token, kBenchTokens, heads);
          if (!status.ok()) return status;
          std::vector<std::byte>& out = pool.tiles[tensor == Tensor::kV];
          out.insert(out.end(), heads.begin(), heads.end());
        }
      }
    }
  }
  if (names.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": no bf16 sample with head_dim ", kBenchHeadDim, " and ",
                                            kBenchTokens, " tokens"));
  }
  pool.data = absl::StrJoin(names, ",");
  return pool;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BenchMemory>> BenchMemory::Make(uint32_t layers, uint32_t count) {
  if (layers == 0 || count == 0) return absl::InvalidArgumentError("a benchmark needs layers and blocks");
  std::unique_ptr<BenchMemory> memory(new BenchMemory);
  memory->layers_ = layers;
  memory->count_ = count;
  memory->bytes_.resize(uint64_t{layers} * count * kBenchLayerBytes);
  PagedBuffer::Options options{.layout = PageLayout::kHnd,
                               .dtype = DType::kBf16,
                               .heads = kBenchHeads,
                               .head_dim_k = kBenchHeadDim,
                               .head_dim_v = kBenchHeadDim,
                               .page_tokens = kBenchTokens,
                               .num_pages = count};
  for (uint32_t layer = 0; layer < layers; ++layer) {
    options.k.push_back(memory->Values(layer, Tensor::kK, 0).data());
    options.v.push_back(memory->Values(layer, Tensor::kV, 0).data());
  }
  auto buffer = PagedBuffer::Create(std::move(options));
  if (!buffer.ok()) return buffer.status();
  memory->buffer_ = std::make_unique<PagedBuffer>(*std::move(buffer));
  return memory;
}

ByteSpan BenchMemory::Values(uint32_t layer, Tensor tensor, uint32_t block) const {
  const uint64_t tensor_bytes = kBenchLayerBytes / 2;
  const uint64_t index = (uint64_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0)) * count_ + block % count_;
  return ByteSpan(bytes_).subspan(index * tensor_bytes, tensor_bytes);
}

MutableByteSpan BenchMemory::Values(uint32_t layer, Tensor tensor, uint32_t block) {
  const ByteSpan values = std::as_const(*this).Values(layer, tensor, block);
  return {const_cast<std::byte*>(values.data()), values.size()};
}

absl::StatusOr<std::unique_ptr<BenchBlocks>> BenchBlocks::Make(uint64_t block_bytes, uint32_t count,
                                                               const std::string& data_folder) {
  const uint64_t layers = block_bytes / kBenchLayerBytes;
  if (block_bytes % kBenchLayerBytes != 0 || layers == 0 || layers > kMaxLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("block-bytes must be a multiple of ", kBenchLayerBytes, " and not 0"));
  }
  absl::StatusOr<TilePool> pool = data_folder.empty() ? SyntheticTiles() : RealTiles(data_folder);
  if (!pool.ok()) return pool.status();
  auto memory = BenchMemory::Make(static_cast<uint32_t>(layers), count);
  if (!memory.ok()) return memory.status();

  std::unique_ptr<BenchBlocks> blocks(new BenchBlocks);
  blocks->layers_ = static_cast<uint32_t>(layers);
  blocks->data_ = std::move(pool->data);
  blocks->memory_ = *std::move(memory);
  uint64_t next = 0;
  for (uint32_t block = 0; block < count; ++block) {
    for (uint32_t layer = 0; layer < layers; ++layer) {
      for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const MutableByteSpan values = blocks->memory_->Values(layer, tensor, block);
        for (uint32_t head = 0; head < kBenchHeads; ++head) {
          const ByteSpan tile = pool->tile(tensor, next + head);
          std::memcpy(values.data() + head * kTileBytes, tile.data(), kTileBytes);
        }
      }
      next += kBenchHeads;
    }
  }
  return blocks;
}

ModelDescriptor BenchBlocks::Descriptor(const std::string& purpose) const {
  AttentionGroup group;
  for (uint32_t layer = 0; layer < layers_; ++layer) group.layers.push_back(layer);
  group.kv_heads = kBenchHeads;
  group.head_dim_k = kBenchHeadDim;
  group.head_dim_v = kBenchHeadDim;
  group.dtype = DType::kBf16;
  ModelDescriptor descriptor;
  descriptor.model_id = "kvcompctl-bench";
  descriptor.weights_version = purpose;
  descriptor.groups.push_back(std::move(group));
  descriptor.tokens_per_block = kBenchTokens;
  return descriptor;
}

BlockKey BenchBlocks::Key(uint32_t owner, uint64_t number) {
  return BlockKey::FromDigest(Sha256(absl::StrCat("kvcompctl bench ", owner, " ", number)));
}

}  // namespace kvcompd::client
