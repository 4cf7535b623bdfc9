// Blocks whose every byte follows from their key, so that a reader knows the only right answer without having
// seen the writer. Used by the chaos tests and their load process.
//
//   ModelDescriptor model = ChaosModel();
//   FillExpected(key, layer, Tensor::kK, values);
//   ok = Matches(key, layer, Tensor::kK, values);
#ifndef KVCOMPD_TESTS_CHAOS_EXPECTED_BLOCK_H_
#define KVCOMPD_TESTS_CHAOS_EXPECTED_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "client/paged_buffer.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"

namespace kvcompd {

inline constexpr uint32_t kChaosTokens = 64;

// One full-attention group, bf16. head_dim 64, 4 KV heads: 64 KiB of K and V a layer.
ModelDescriptor ChaosModel(uint32_t layers);
BlockKey ChaosKey(uint64_t seed, uint64_t number);

void FillExpected(const BlockKey& key, uint32_t layer, Tensor tensor, MutableByteSpan values);
bool Matches(const BlockKey& key, uint32_t layer, Tensor tensor, ByteSpan values);

// Memory of `count` blocks, a page a block.
class ChaosMemory {
 public:
  ChaosMemory(uint32_t layers, uint32_t count);

  client::BlockPlace place(uint32_t block) const { return {.buffer = &*buffer_, .pages = {block}}; }
  void Fill(uint32_t block, const BlockKey& key);
  // So that values of an earlier read are not taken for new ones.
  void Poison(uint32_t block);
  // Whether the first `layers` layers are those of the key.
  bool HoldsLayers(uint32_t block, const BlockKey& key, uint32_t layers) const;

 private:
  MutableByteSpan Values(uint32_t block, uint32_t layer, Tensor tensor) const;

  const uint32_t layers_;
  const uint32_t count_;
  mutable std::vector<std::byte> bytes_;  // [layers, 2, count, heads, tokens, channels], bf16
  std::unique_ptr<client::PagedBuffer> buffer_;
};

}  // namespace kvcompd

#endif  // KVCOMPD_TESTS_CHAOS_EXPECTED_BLOCK_H_
