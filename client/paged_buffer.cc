#include "client/paged_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kMaxPageTokens = 1 << 20;
constexpr uint32_t kMaxLayers = 1 << 16;

absl::Status CheckPointers(absl::string_view field, const std::vector<std::byte*>& pointers) {
  for (size_t i = 0; i < pointers.size(); ++i) {
    if (pointers[i] == nullptr) return absl::InvalidArgumentError(absl::StrCat(field, "[", i, "] is null"));
  }
  return absl::OkStatus();
}

absl::Status CheckDim(absl::string_view field, uint32_t dim, uint32_t low) {
  if (dim >= low && dim <= kMaxOpaqueBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", dim, ", outside ", low, " to ", kMaxOpaqueBytes));
}

}  // namespace

absl::StatusOr<PagedBuffer> PagedBuffer::Create(Options options) {
  const Options& o = options;
  if (ElementBytes(o.dtype) == 0) return absl::InvalidArgumentError("dtype is not known");
  if (o.heads < 1 || o.heads > kMaxHeads) {
    return absl::InvalidArgumentError(absl::StrCat("heads is ", o.heads, ", outside 1 to ", kMaxHeads));
  }
  if (auto s = CheckDim("head_dim_k", o.head_dim_k, 1); !s.ok()) return s;
  if (auto s = CheckDim("head_dim_v", o.head_dim_v, 0); !s.ok()) return s;
  if (o.page_tokens < 1 || o.page_tokens > kMaxPageTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_tokens is ", o.page_tokens, ", outside 1 to ", kMaxPageTokens));
  }
  if (o.num_pages < 1) return absl::InvalidArgumentError("num_pages is 0");
  if (o.k.empty() || o.k.size() > kMaxLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("k has ", o.k.size(), " base pointers; one a layer is needed, at most ", kMaxLayers));
  }
  if (o.v.size() != (o.head_dim_v == 0 ? 0 : o.k.size())) {
    return absl::InvalidArgumentError(absl::StrCat("v has ", o.v.size(), " base pointers, k has ", o.k.size(),
                                                   "; v has as many, or none where head_dim_v is 0"));
  }
  if (auto s = CheckPointers("k", o.k); !s.ok()) return s;
  if (auto s = CheckPointers("v", o.v); !s.ok()) return s;

  PagedBuffer buffer;
  const auto strides = [&o](uint32_t dim, uint64_t page_stride) {
    const uint64_t row = uint64_t{dim} * ElementBytes(o.dtype);
    Strides s;
    s.head = o.layout == PageLayout::kNhd ? row : row * o.page_tokens;
    s.token = o.layout == PageLayout::kNhd ? row * o.heads : row;
    s.page = page_stride != 0 ? page_stride : row * o.heads * o.page_tokens;
    return s;
  };
  buffer.strides_k_ = strides(o.head_dim_k, o.page_stride_bytes_k);
  buffer.strides_v_ = strides(o.head_dim_v, o.page_stride_bytes_v);
  const uint64_t page_values = uint64_t{o.heads} * o.page_tokens;
  for (Tensor t : {Tensor::kK, Tensor::kV}) {
    const uint64_t row = uint64_t{t == Tensor::kK ? o.head_dim_k : o.head_dim_v} * ElementBytes(o.dtype);
    const uint64_t page = (t == Tensor::kK ? buffer.strides_k_ : buffer.strides_v_).page;
    if (o.num_pages > 1 && page < page_values * row) {
      return absl::InvalidArgumentError(absl::StrCat("page_stride_bytes of ", ToAbsl(TensorName(t)), " is ",
                                                     page, ", less than a page's ", page_values * row,
                                                     " bytes"));
    }
  }
  buffer.options_ = std::move(options);
  return buffer;
}

absl::StatusOr<PagedBuffer> PagedBuffer::Contiguous(PageLayout layout, DType dtype, uint32_t heads,
                                                    uint32_t tokens, uint32_t head_dim_k, uint32_t head_dim_v,
                                                    std::vector<std::byte*> k, std::vector<std::byte*> v) {
  Options options;
  options.layout = layout;
  options.dtype = dtype;
  options.heads = heads;
  options.head_dim_k = head_dim_k;
  options.head_dim_v = head_dim_v;
  options.page_tokens = tokens;
  options.num_pages = 1;
  options.k = std::move(k);
  options.v = std::move(v);
  return Create(std::move(options));
}

absl::Status PagedBuffer::CheckPlace(const BlockPlace& place, uint32_t tokens) const {
  if (place.buffer != this) return absl::InvalidArgumentError("the place names another buffer");
  const uint64_t room = uint64_t{options_.page_tokens} * place.pages.size();
  if (uint64_t{place.first_token} + tokens > room) {
    return absl::InvalidArgumentError(absl::StrCat("tokens ", place.first_token, " to ",
                                                   uint64_t{place.first_token} + tokens, " do not fit ",
                                                   place.pages.size(), " pages of ", options_.page_tokens));
  }
  for (uint32_t page : place.pages) {
    if (page >= options_.num_pages) {
      return absl::InvalidArgumentError(
          absl::StrCat("page ", page, " is not in a buffer of ", options_.num_pages, " pages"));
    }
  }
  return absl::OkStatus();
}

absl::Status PagedBuffer::CheckRange(const BlockPlace& place, uint32_t layer, Tensor tensor,
                                     uint32_t head_begin, uint32_t tokens, uint64_t offset,
                                     uint64_t bytes) const {
  if (layer >= layers() || !has(tensor)) {
    return absl::OutOfRangeError(
        absl::StrCat("the buffer has no ", ToAbsl(TensorName(tensor)), " of layer ", layer));
  }
  if (head_begin > options_.heads) return absl::OutOfRangeError("head_begin is past the buffer's heads");
  const uint64_t total = uint64_t{options_.heads - head_begin} * tokens * row_bytes(tensor);
  if (offset > total || bytes > total - offset) {
    return absl::OutOfRangeError(absl::StrCat("bytes ", offset, " to ", offset + bytes, " are past the ",
                                              total, " of heads ", head_begin, " to ", options_.heads));
  }
  if (auto s = CheckPlace(place, tokens); !s.ok()) return absl::OutOfRangeError(s.message());
  return absl::OkStatus();
}

// Calls copy(memory, bytes) for the runs that are contiguous on both sides, in the wire's order.
template <typename Copy>
void PagedBuffer::ForRuns(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                          uint32_t tokens, uint64_t offset, uint64_t bytes, Copy&& copy) const {
  if (bytes == 0) return;  // also where there are no tokens
  std::byte* const base = (tensor == Tensor::kK ? options_.k : options_.v)[layer];
  const Strides s = strides(tensor);
  const uint64_t row_bytes = this->row_bytes(tensor);
  const bool tokens_adjoin = s.token == row_bytes;
  const uint64_t row = offset / row_bytes;
  uint64_t in_row = offset % row_bytes;
  uint64_t head = head_begin + row / tokens;
  uint32_t token = static_cast<uint32_t>(row % tokens);
  while (bytes > 0) {
    const uint64_t at = uint64_t{place.first_token} + token;
    const uint32_t in_page = static_cast<uint32_t>(at % options_.page_tokens);
    const uint32_t rows = tokens_adjoin ? std::min(tokens - token, options_.page_tokens - in_page) : 1;
    const uint64_t take = std::min(bytes, rows * row_bytes - in_row);
    copy(base + place.pages[at / options_.page_tokens] * s.page + head * s.head + in_page * s.token + in_row,
         take);
    bytes -= take;
    in_row = 0;
    token += rows;
    if (token == tokens) {
      token = 0;
      ++head;
    }
  }
}

absl::Status PagedBuffer::Gather(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                                 uint32_t tokens, uint64_t offset, MutableByteSpan out) const {
  if (auto s = CheckRange(place, layer, tensor, head_begin, tokens, offset, out.size()); !s.ok()) return s;
  std::byte* to = out.data();
  ForRuns(place, layer, tensor, head_begin, tokens, offset, out.size(),
          [&to](const std::byte* from, uint64_t n) {
            std::memcpy(to, from, n);
            to += n;
          });
  return absl::OkStatus();
}

absl::Status PagedBuffer::Scatter(const BlockPlace& place, uint32_t layer, Tensor tensor, uint32_t head_begin,
                                  uint32_t tokens, uint64_t offset, ByteSpan in) const {
  if (auto s = CheckRange(place, layer, tensor, head_begin, tokens, offset, in.size()); !s.ok()) return s;
  const std::byte* from = in.data();
  ForRuns(place, layer, tensor, head_begin, tokens, offset, in.size(), [&from](std::byte* to, uint64_t n) {
    std::memcpy(to, from, n);
    from += n;
  });
  return absl::OkStatus();
}

}  // namespace kvcompd::client
