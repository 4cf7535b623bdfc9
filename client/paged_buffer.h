// PagedBuffer: a worker's KV memory as it lies, and the way from and to the wire's [heads, tokens, channels].
//
// Called by Put (gather) and Get (scatter), and by whoever describes the memory of an engine. The buffer
// describes memory and never owns it. Const use from any thread; two threads may not write the same rows.
//
//   auto kv = PagedBuffer::Create({.heads = 8, .head_dim_k = 128, .head_dim_v = 128, .page_tokens = 16,
//                                  .num_pages = n, .k = k_ptrs, .v = v_ptrs});       // NHD, bf16
//   BlockPlace place{.buffer = &*kv, .pages = {7, 3, 9, 12}};   // the block table's entries of one block
//
// A contiguous tensor is a buffer of one page (Contiguous).
#ifndef KVCOMPD_CLIENT_PAGED_BUFFER_H_
#define KVCOMPD_CLIENT_PAGED_BUFFER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/types.h"

namespace kvcompd::client {

enum class PageLayout {
  kNhd,  // a page is [page_tokens, heads, channels]
  kHnd,  // a page is [heads, page_tokens, channels]
};

class PagedBuffer;

// Where one block's tokens lie: token t is token (first_token + t) of the pages, taken in order.
struct BlockPlace {
  const PagedBuffer* buffer = nullptr;  // outlives the call
  std::vector<uint32_t> pages;          // page numbers in the buffer
  uint32_t first_token = 0;
};

class PagedBuffer {
 public:
  struct Options {
    PageLayout layout = PageLayout::kNhd;
    DType dtype = DType::kBf16;
    uint32_t heads = 0;       // that the buffer holds; equal to the shard's head_count in a Put or Get
    uint32_t head_dim_k = 0;  // channels
    uint32_t head_dim_v = 0;  // 0: there is no V
    uint32_t page_tokens = 16;
    uint32_t num_pages = 0;
    // From a page to the next; 0: they lie back to back. (An engine that keeps K and V of a page side by side
    // has a stride of two pages.)
    uint64_t page_stride_bytes_k = 0;
    uint64_t page_stride_bytes_v = 0;
    // One base pointer a layer of the shard, in its order. A Put only reads.
    std::vector<std::byte*> k;  // [layers] of [num_pages, page], dtype, host
    std::vector<std::byte*> v;  // [layers] of [num_pages, page], or empty where there is no V
  };

  // INVALID_ARGUMENT names the field.
  static absl::StatusOr<PagedBuffer> Create(Options options);
  // One page of `tokens` tokens: [tokens, heads, channels] (NHD) or [heads, tokens, channels] (HND) a layer.
  static absl::StatusOr<PagedBuffer> Contiguous(PageLayout layout, DType dtype, uint32_t heads,
                                                uint32_t tokens, uint32_t head_dim_k, uint32_t head_dim_v,
                                                std::vector<std::byte*> k, std::vector<std::byte*> v);

  const Options& options() const { return options_; }
  uint32_t layers() const { return static_cast<uint32_t>(options_.k.size()); }
  bool has(Tensor t) const { return t == Tensor::kK || options_.head_dim_v != 0; }
  uint32_t row_bytes(Tensor t) const {
    return (t == Tensor::kK ? options_.head_dim_k : options_.head_dim_v) * ElementBytes(options_.dtype);
  }
  // Bytes of the wire's [heads, tokens, channels].
  uint64_t TensorBytes(Tensor t, uint32_t tokens) const {
    return uint64_t{options_.heads} * tokens * row_bytes(t);
  }

  // INVALID_ARGUMENT unless `tokens` tokens of the place lie within its pages, and the pages in the buffer.
  absl::Status CheckPlace(const BlockPlace& place, uint32_t tokens) const;

  // Bytes [offset, offset + size) of heads [head_begin, ...)'s [heads, tokens, channels], from or to the
  // pages; any cut is allowed. OUT_OF_RANGE: layer, heads, offset, or a place that CheckPlace refuses;
  // nothing is copied then.
  absl::Status Gather(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                      uint32_t tokens, uint64_t offset, MutableByteSpan out) const;
  absl::Status Scatter(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                       uint32_t tokens, uint64_t offset, ByteSpan in) const;

 private:
  struct Strides {
    uint64_t page = 0;
    uint64_t head = 0;
    uint64_t token = 0;
  };
  PagedBuffer() = default;
  absl::Status CheckRange(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                          uint32_t tokens, uint64_t offset, uint64_t bytes) const;
  template <typename Copy>
  void ForRuns(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin, uint32_t tokens,
               uint64_t offset, uint64_t bytes, Copy&& copy) const;
  Strides strides(Tensor tensor) const { return tensor == Tensor::kK ? strides_k_ : strides_v_; }

  Options options_;
  Strides strides_k_;
  Strides strides_v_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_PAGED_BUFFER_H_
