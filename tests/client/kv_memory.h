// KvMemory: a worker's paged KV memory for the client's tests, filled from a seed or with a canary.
#ifndef KVCOMPD_TESTS_CLIENT_KV_MEMORY_H_
#define KVCOMPD_TESTS_CLIENT_KV_MEMORY_H_

#include <memory>
#include <random>
#include <vector>

#include "client/paged_buffer.h"
#include "codec/base/model_descriptor.h"

namespace kvcompd::client {

class KvMemory {
 public:
  static constexpr std::byte kCanary{0xa5};

  // All heads and layers of the model's first group.
  KvMemory(const ModelDescriptor& model, PageLayout layout, uint32_t page_tokens, uint32_t num_pages) {
    const AttentionGroup& g = model.groups[0];
    PagedBuffer::Options o;
    o.layout = layout;
    o.dtype = g.dtype;
    o.heads = g.kv_heads;
    o.head_dim_k = g.head_dim_k;
    o.head_dim_v = g.head_dim_v;
    o.page_tokens = page_tokens;
    o.num_pages = num_pages;
    const size_t rows = size_t{page_tokens} * num_pages * g.kv_heads;
    for (size_t layer = 0; layer < g.layers.size(); ++layer) {
      for (Tensor t : {Tensor::kK, Tensor::kV}) {
        if (!g.has(t)) continue;
        memory_.emplace_back(rows * g.head_dim(t) * ElementBytes(g.dtype), kCanary);
        (t == Tensor::kK ? o.k : o.v).push_back(memory_.back().data());
      }
    }
    buffer_ = std::make_unique<PagedBuffer>(*PagedBuffer::Create(std::move(o)));
  }

  // Finite bf16 values.
  void Fill(uint32_t seed) {
    std::mt19937 random(seed);
    for (auto& m : memory_) {
      for (size_t i = 0; i + 1 < m.size(); i += 2) {
        m[i] = static_cast<std::byte>(random());
        m[i + 1] = static_cast<std::byte>(0x3f | (random() & 0x80));  // magnitude about 0.5 to 2
      }
    }
  }

  // NaN everywhere: what a lossy codec stores raw.
  void FillNan() {
    for (auto& m : memory_) std::fill(m.begin(), m.end(), std::byte{0xff});
  }

  const PagedBuffer& buffer() const { return *buffer_; }
  // Consecutive pages that hold block `i`.
  BlockPlace Place(uint32_t i, uint32_t tokens = 64) const {
    const uint32_t pages = (tokens + buffer_->options().page_tokens - 1) / buffer_->options().page_tokens;
    BlockPlace place{.buffer = buffer_.get()};
    for (uint32_t p = 0; p < pages; ++p) place.pages.push_back(i * pages + (pages - 1 - p));
    return place;
  }
  // [heads, tokens, channels] of a block's layer.
  std::vector<std::byte> Tensor3d(uint32_t block, uint32_t layer, Tensor tensor, uint32_t tokens = 64) const {
    std::vector<std::byte> out(buffer_->TensorBytes(tensor, tokens));
    if (!buffer_->Gather(Place(block, tokens), layer, tensor, 0, tokens, 0, out).ok()) out.clear();
    return out;
  }

 private:
  std::vector<std::vector<std::byte>> memory_;
  std::unique_ptr<PagedBuffer> buffer_;
};

// Whether all layers of two blocks are the same values, whatever the layouts.
inline bool SameBlock(const KvMemory& a, uint32_t block_a, const KvMemory& b, uint32_t block_b,
                      uint32_t tokens = 64) {
  for (uint32_t layer = 0; layer < a.buffer().layers(); ++layer) {
    for (Tensor t : {Tensor::kK, Tensor::kV}) {
      if (a.buffer().has(t) && a.Tensor3d(block_a, layer, t, tokens) != b.Tensor3d(block_b, layer, t, tokens))
        return false;
    }
  }
  return true;
}

inline bool Untouched(const KvMemory& m, uint32_t block, uint32_t layer) {
  for (Tensor t : {Tensor::kK, Tensor::kV}) {
    if (!m.buffer().has(t)) continue;
    for (std::byte b : m.Tensor3d(block, layer, t)) {
      if (b != KvMemory::kCanary) return false;
    }
  }
  return true;
}

}  // namespace kvcompd::client

#endif  // KVCOMPD_TESTS_CLIENT_KV_MEMORY_H_
