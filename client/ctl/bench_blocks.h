// The blocks that `kvcompctl bench serve` moves: bf16, 64 tokens, 8 KV heads of 128 channels, as many layers
// as make the block size asked for (256 KiB of K and V a layer).
//
// Values are tiled from real samples where a folder is given (rows of 64 tokens of one KV head, whole, so
// that every tile is one that a model computed; equal rows come again after a while), and else drawn at
// random with the broad shape of KV: near normal, some channels of K an order of magnitude larger. Reports
// name which.
//
//   auto blocks = BenchBlocks::Make(1 << 20, /*count=*/128, data_folder);
//   ns = client->OpenNamespace(blocks->Descriptor("raw"));
//   put = {.key = blocks->Key(owner, i), .tokens = 64, .source = {.buffer = &blocks->buffer(), .pages =
//   {i}}};
//
// Const use from any thread.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_BLOCKS_H_
#define KVCOMPD_CLIENT_CTL_BENCH_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/paged_buffer.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"

namespace kvcompd::client {

inline constexpr uint32_t kBenchTokens = 64;
inline constexpr uint32_t kBenchHeads = 8;
inline constexpr uint32_t kBenchHeadDim = 128;
// K and V of one layer.
inline constexpr uint64_t kBenchLayerBytes = uint64_t{2} * kBenchHeads * kBenchTokens * kBenchHeadDim * 2;

// Host memory of `count` blocks as a worker holds it: a page a block, HND.
class BenchMemory {
 public:
  // INVALID_ARGUMENT: no layers or no blocks.
  static absl::StatusOr<std::unique_ptr<BenchMemory>> Make(uint32_t layers, uint32_t count);

  const PagedBuffer& buffer() const { return *buffer_; }
  uint32_t count() const { return count_; }
  BlockPlace place(uint32_t block) const { return {.buffer = buffer_.get(), .pages = {block % count_}}; }
  MutableByteSpan Values(uint32_t layer, Tensor tensor, uint32_t block);  // [heads, tokens, channels], bf16
  ByteSpan Values(uint32_t layer, Tensor tensor, uint32_t block) const;

 private:
  BenchMemory() = default;
  uint32_t layers_ = 0;
  uint32_t count_ = 0;
  std::vector<std::byte> bytes_;  // [layers, 2, count, heads, tokens, channels], bf16
  std::unique_ptr<PagedBuffer> buffer_;
};

class BenchBlocks {
 public:
  // block_bytes: a multiple of kBenchLayerBytes. data_folder: "" for synthetic values; its *.kv.bf16.npy with
  // head_dim 128 and 64 tokens at least are used. INVALID_ARGUMENT; NOT_FOUND: no such sample in the folder.
  static absl::StatusOr<std::unique_ptr<BenchBlocks>> Make(uint64_t block_bytes, uint32_t count,
                                                           const std::string& data_folder);

  uint32_t layers() const { return layers_; }
  uint32_t count() const { return memory_->count(); }
  uint64_t block_bytes() const { return layers_ * kBenchLayerBytes; }
  const BenchMemory& memory() const { return *memory_; }
  const std::string& data() const { return data_; }  // "synthetic", or the samples' names
  // A namespace of its own for each purpose.
  ModelDescriptor Descriptor(const std::string& purpose) const;
  // Of block `number` of one owner; a different one for every pair, and for every purpose of Descriptor.
  static BlockKey Key(uint32_t owner, uint64_t number);

 private:
  BenchBlocks() = default;
  uint32_t layers_ = 0;
  std::string data_;
  std::unique_ptr<BenchMemory> memory_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_BLOCKS_H_
