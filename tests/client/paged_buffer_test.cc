#include "client/paged_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

namespace kvcompd::client {
namespace {

constexpr uint32_t kHeads = 3;
constexpr uint32_t kDim[] = {10, 6};
constexpr uint32_t kPages = 9;

// Rows in memory by the definition of the layouts, one element at a time.
struct Model {
  PageLayout layout;
  uint32_t page_tokens;
  uint64_t page_stride;  // bytes; 0: dense
  uint32_t dim;

  uint64_t PageBytes() const { return uint64_t{page_tokens} * kHeads * dim * 2; }
  uint64_t Offset(const std::vector<uint32_t>& pages, uint32_t token, uint32_t head, uint32_t channel) const {
    const uint32_t in_page = token % page_tokens;
    const uint64_t page = pages[token / page_tokens] * (page_stride != 0 ? page_stride : PageBytes());
    const uint64_t element = layout == PageLayout::kNhd
                                 ? (uint64_t{in_page} * kHeads + head) * dim + channel
                                 : (uint64_t{head} * page_tokens + in_page) * dim + channel;
    return page + element * 2;
  }
};

class LayoutTest : public ::testing::TestWithParam<std::tuple<PageLayout, uint32_t, bool>> {
 protected:
  void SetUp() override {
    std::mt19937 random(7);
    for (int t = 0; t < 2; ++t) {
      models_[t] = {layout(), page_tokens(), 0, kDim[t]};
      // K and V of a page side by side: the stride is that of both.
      if (interleaved()) models_[t].page_stride = uint64_t{page_tokens()} * kHeads * (kDim[0] + kDim[1]) * 2;
    }
    const uint64_t bytes = uint64_t{page_tokens()} * kHeads * (kDim[0] + kDim[1]) * 2 * kPages;
    for (auto& layer : memory_) {
      layer.resize(bytes);
      for (auto& b : layer) b = static_cast<std::byte>(random());
    }
    PagedBuffer::Options o;
    o.layout = layout();
    o.heads = kHeads;
    o.head_dim_k = kDim[0];
    o.head_dim_v = kDim[1];
    o.page_tokens = page_tokens();
    o.num_pages = kPages;
    o.page_stride_bytes_k = models_[0].page_stride;
    o.page_stride_bytes_v = models_[1].page_stride;
    for (auto& layer : memory_) {
      o.k.push_back(layer.data());
      o.v.push_back(layer.data() + v_begin());
    }
    buffer_ = std::make_unique<PagedBuffer>(*PagedBuffer::Create(o));
  }
  PageLayout layout() const { return std::get<0>(GetParam()); }
  uint32_t page_tokens() const { return std::get<1>(GetParam()); }
  bool interleaved() const { return std::get<2>(GetParam()); }
  uint64_t v_begin() const {
    return interleaved() ? models_[0].PageBytes() : models_[0].PageBytes() * kPages;
  }

  std::vector<std::byte> Wire(uint32_t layer, Tensor t, const BlockPlace& place, uint32_t tokens) const {
    const Model& m = models_[t == Tensor::kK ? 0 : 1];
    std::vector<std::byte> out;
    for (uint32_t h = 0; h < kHeads; ++h) {
      for (uint32_t n = 0; n < tokens; ++n) {
        for (uint32_t c = 0; c < m.dim; ++c) {
          const uint64_t at =
              m.Offset(place.pages, place.first_token + n, h, c) + (t == Tensor::kK ? 0 : v_begin());
          out.push_back(memory_[layer][at]);
          out.push_back(memory_[layer][at + 1]);
        }
      }
    }
    return out;
  }

  Model models_[2];
  std::vector<std::byte> memory_[2];
  std::unique_ptr<PagedBuffer> buffer_;
};

TEST_P(LayoutTest, GatherIsTheModelsAndScatterItsInverse) {
  std::mt19937 random(11);
  for (uint32_t tokens : {1u, 15u, 16u, 40u, 64u}) {
    for (uint32_t first : {0u, 5u, page_tokens() - 1}) {
      BlockPlace place{.buffer = buffer_.get(), .first_token = first};
      const uint32_t pages = (first + tokens + page_tokens() - 1) / page_tokens();
      if (pages > kPages) continue;
      for (uint32_t p = 0; p < pages; ++p)
        place.pages.push_back((p * 4 + 2) % kPages);  // 4 and 9 are coprime
      for (Tensor t : {Tensor::kK, Tensor::kV}) {
        const std::vector<std::byte> want = Wire(1, t, place, tokens);
        ASSERT_EQ(want.size(), buffer_->TensorBytes(t, tokens));
        std::vector<std::byte> got(want.size());
        ASSERT_TRUE(buffer_->Gather(place, 1, t, 0, tokens, 0, got).ok());
        ASSERT_EQ(got, want);

        // Cut anywhere, in the middle of elements too; and other bytes of the memory stay as they are.
        std::vector<std::byte> values(want.size());
        for (auto& b : values) b = static_cast<std::byte>(random());
        const auto before = memory_[0];
        const auto other_before = Wire(0, t == Tensor::kK ? Tensor::kV : Tensor::kK, place, tokens);
        for (size_t at = 0; at < values.size();) {
          const size_t n = std::min<size_t>(1 + random() % 97, values.size() - at);
          ASSERT_TRUE(buffer_->Scatter(place, 0, t, 0, tokens, at, std::span(values).subspan(at, n)).ok());
          at += n;
        }
        EXPECT_EQ(Wire(0, t, place, tokens), values);
        EXPECT_EQ(Wire(0, t == Tensor::kK ? Tensor::kV : Tensor::kK, place, tokens), other_before);
        size_t changed = 0;
        for (size_t i = 0; i < before.size(); ++i) changed += before[i] != memory_[0][i];
        EXPECT_LE(changed, values.size());
      }
    }
  }
}

TEST_P(LayoutTest, ARunOfHeads) {
  BlockPlace place{.buffer = buffer_.get()};
  for (uint32_t p = 0; p * page_tokens() < 64; ++p) place.pages.push_back(p);
  const std::vector<std::byte> all = Wire(0, Tensor::kK, place, 64);
  const uint64_t head = all.size() / kHeads;
  std::vector<std::byte> last(head);
  ASSERT_TRUE(buffer_->Gather(place, 0, Tensor::kK, 2, 64, 0, last).ok());
  EXPECT_EQ(last, std::vector<std::byte>(all.begin() + static_cast<std::ptrdiff_t>(2 * head), all.end()));
  std::vector<std::byte> too_long(head + 1);
  EXPECT_EQ(buffer_->Gather(place, 0, Tensor::kK, 2, 64, 0, too_long).code(), absl::StatusCode::kOutOfRange);
}

INSTANTIATE_TEST_SUITE_P(Pages, LayoutTest,
                         ::testing::Combine(::testing::Values(PageLayout::kNhd, PageLayout::kHnd),
                                            ::testing::Values(16u, 32u, 64u, 128u, 256u, 40u),
                                            ::testing::Bool()));

class BoundsTest : public ::testing::Test {
 protected:
  std::vector<std::byte> memory_ = std::vector<std::byte>(4 * 16 * 2 * 8 * 2);
  PagedBuffer::Options Options() {
    PagedBuffer::Options o;
    o.heads = 2;
    o.head_dim_k = 8;
    o.page_tokens = 16;
    o.num_pages = 4;
    o.k = {memory_.data()};
    return o;
  }
};

TEST_F(BoundsTest, WhatDoesNotFitIsRefusedAndNothingIsCopied) {
  const PagedBuffer buffer = *PagedBuffer::Create(Options());
  std::vector<std::byte> bytes(buffer.TensorBytes(Tensor::kK, 16), std::byte{1});
  const auto scatter = [&](BlockPlace place, uint32_t layer, Tensor t, uint32_t head, uint32_t tokens,
                           uint64_t offset) {
    return buffer.Scatter(place, layer, t, head, tokens, offset, bytes).code();
  };
  const BlockPlace good{.buffer = &buffer, .pages = {1}};
  const auto kOut = absl::StatusCode::kOutOfRange;
  EXPECT_EQ(scatter({.buffer = &buffer, .pages = {4}}, 0, Tensor::kK, 0, 16, 0), kOut);
  EXPECT_EQ(scatter({.buffer = &buffer, .pages = {}}, 0, Tensor::kK, 0, 16, 0), kOut);
  EXPECT_EQ(scatter({.buffer = &buffer, .pages = {1}, .first_token = 1}, 0, Tensor::kK, 0, 16, 0), kOut);
  EXPECT_EQ(scatter({.buffer = &buffer, .pages = {1}, .first_token = UINT32_MAX}, 0, Tensor::kK, 0, 16, 0),
            kOut);
  EXPECT_EQ(scatter({.buffer = nullptr, .pages = {1}}, 0, Tensor::kK, 0, 16, 0), kOut);
  EXPECT_EQ(scatter(good, 1, Tensor::kK, 0, 16, 0), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kV, 0, 16, 0), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kK, 1, 16, 0), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kK, 3, 16, 0), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kK, 0, 16, 1), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kK, 0, 16, UINT64_MAX), kOut);
  EXPECT_EQ(scatter(good, 0, Tensor::kK, 0, 17, 0), kOut);
  EXPECT_EQ(std::count(memory_.begin(), memory_.end(), std::byte{1}), 0);
  EXPECT_TRUE(buffer.Scatter(good, 0, Tensor::kK, 0, 16, 0, bytes).ok());
  EXPECT_EQ(std::count(memory_.begin(), memory_.end(), std::byte{1}),
            static_cast<std::ptrdiff_t>(bytes.size()));
}

TEST_F(BoundsTest, OptionsAreChecked) {
  ASSERT_TRUE(PagedBuffer::Create(Options()).ok());
  const auto refused = [this](const std::function<void(PagedBuffer::Options*)>& change) {
    PagedBuffer::Options o = Options();
    change(&o);
    return PagedBuffer::Create(o).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](auto* o) { o->heads = 0; }));
  EXPECT_TRUE(refused([](auto* o) { o->head_dim_k = 0; }));
  EXPECT_TRUE(refused([](auto* o) { o->page_tokens = 0; }));
  EXPECT_TRUE(refused([](auto* o) { o->num_pages = 0; }));
  EXPECT_TRUE(refused([](auto* o) { o->k.clear(); }));
  EXPECT_TRUE(refused([](auto* o) { o->k[0] = nullptr; }));
  EXPECT_TRUE(refused([](auto* o) { o->v = o->k; }));
  EXPECT_TRUE(refused([](auto* o) { o->head_dim_v = 8; }));
  EXPECT_TRUE(refused([](auto* o) { o->page_stride_bytes_k = 16 * 2 * 8 * 2 - 1; }));
  EXPECT_TRUE(refused([](auto* o) { o->dtype = static_cast<DType>(77); }));
}

TEST(PagedBufferTest, NoTokensAreNoBytes) {
  std::vector<std::byte> k(64), v(64);
  auto buffer = PagedBuffer::Contiguous(PageLayout::kNhd, DType::kBf16, 1, 4, 8, 8, {k.data()}, {v.data()});
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  const BlockPlace place{.buffer = &*buffer, .pages = {0}};
  EXPECT_TRUE(buffer->Gather(place, 0, Tensor::kK, 0, /*tokens=*/0, 0, {}).ok());
  EXPECT_TRUE(buffer->Scatter(place, 0, Tensor::kV, 0, /*tokens=*/0, 0, {}).ok());
  std::byte one;
  EXPECT_EQ(buffer->Gather(place, 0, Tensor::kK, 0, 0, 0, {&one, 1}).code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace kvcompd::client
