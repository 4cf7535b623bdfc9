#include "server/store/coverage.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace kvcompd::server {
namespace {

// {group, head_begin, head_count, layer_begin, layer_count}
constexpr ShardRange kAll{0, 0, 8, 0, 4};

TEST(CoverageTest, Contains) {
  EXPECT_TRUE(Contains(kAll, kAll));
  EXPECT_TRUE(Contains(kAll, {0, 2, 6, 1, 3}));
  EXPECT_FALSE(Contains(kAll, {0, 2, 7, 1, 3}));
  EXPECT_FALSE(Contains(kAll, {0, 2, 6, 1, 4}));
  EXPECT_FALSE(Contains(kAll, {1, 2, 6, 1, 3}));
  EXPECT_FALSE(Contains({0, 1, 7, 0, 4}, kAll));
}

TEST(CoverageTest, HalvesCoverTheWhole) {
  const ShardRange left{0, 0, 4, 0, 4};
  const ShardRange right{0, 4, 4, 0, 4};
  EXPECT_FALSE(Covers(std::vector{left}, kAll));
  EXPECT_TRUE(Covers(std::vector{left, right}, kAll));
  EXPECT_TRUE(Covers(std::vector{left, right}, {0, 2, 4, 1, 2}));  // across the seam
  EXPECT_FALSE(Covers(std::vector{left, {1, 4, 4, 0, 4}}, kAll));  // another group
  EXPECT_FALSE(Covers({}, kAll));
}

TEST(CoverageTest, OneMissingCellIsSeen) {
  std::vector<ShardRange> cells;
  for (uint32_t head = 0; head < 8; ++head) {
    for (uint32_t layer = 0; layer < 4; ++layer) cells.push_back({0, head, 1, layer, 1});
  }
  EXPECT_TRUE(Covers(cells, kAll));
  for (size_t missing = 0; missing < cells.size(); ++missing) {
    std::vector<ShardRange> rest = cells;
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(missing));
    EXPECT_FALSE(Covers(rest, kAll)) << missing;
  }
}

TEST(CoverageTest, AgreesWithCountingCells) {
  std::mt19937 random(7);
  auto some = [&] {
    auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    const uint32_t head = below(8), layer = below(4);
    return ShardRange{0, head, 1 + below(8 - head), layer, 1 + below(4 - layer)};
  };
  int covered = 0;
  for (int i = 0; i < 5000; ++i) {
    std::vector<ShardRange> stored;
    bool cell[8][4] = {};
    for (uint32_t n = random() % 6; n > 0; --n) {
      stored.push_back(some());
      const ShardRange& r = stored.back();
      for (uint32_t h = 0; h < r.head_count; ++h) {
        for (uint32_t l = 0; l < r.layer_count; ++l) cell[r.head_begin + h][r.layer_begin + l] = true;
      }
    }
    const ShardRange wanted = some();
    bool all = true;
    for (uint32_t h = 0; h < wanted.head_count; ++h) {
      for (uint32_t l = 0; l < wanted.layer_count; ++l) {
        all = all && cell[wanted.head_begin + h][wanted.layer_begin + l];
      }
    }
    ASSERT_EQ(Covers(stored, wanted), all);
    covered += all;
  }
  EXPECT_GT(covered, 500);
}

TEST(CoverageTest, ABlockNeedsAllRequiredGroups) {
  ModelDescriptor model;
  AttentionGroup full;
  full.id = 3;
  full.layers = {0, 2};
  full.kv_heads = 2;
  AttentionGroup window;
  window.id = 5;
  window.layers = {1};
  window.kv_heads = 1;
  AttentionGroup extra;
  extra.id = 9;
  extra.layers = {4};
  extra.kv_heads = 1;
  extra.optional = true;
  model.groups = {full, window, extra};
  const ShardRange of_full{3, 0, 2, 0, 2};
  const ShardRange of_window{5, 0, 1, 0, 1};
  const ShardRange of_extra{9, 0, 1, 0, 1};
  EXPECT_FALSE(CoversBlock(model, std::vector{of_full}));
  EXPECT_FALSE(CoversBlock(model, std::vector{of_full, of_extra}));
  EXPECT_TRUE(CoversBlock(model, std::vector{of_window, of_full}));
}

}  // namespace
}  // namespace kvcompd::server
