#include "codec/package_merge.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace kvcompd::codec {
namespace {

// One level's list: symbols and packages of two items of the level before, by weight.
struct Level {
  std::vector<uint64_t> weights;
  std::vector<bool> is_symbol;
};

Level MergePackages(std::span<const uint64_t> symbol_weights, const Level& before) {
  const size_t packages = before.weights.size() / 2;
  Level level;
  size_t s = 0, p = 0;
  while (s < symbol_weights.size() || p < packages) {
    const uint64_t package = p < packages ? before.weights[2 * p] + before.weights[2 * p + 1] : UINT64_MAX;
    const bool take_symbol = s < symbol_weights.size() && symbol_weights[s] <= package;
    level.weights.push_back(take_symbol ? symbol_weights[s] : package);
    ++(take_symbol ? s : p);
    level.is_symbol.push_back(take_symbol);
  }
  return level;
}

}  // namespace

std::vector<uint8_t> PackageMerge(std::span<const uint64_t> weights, uint32_t max_bits) {
  const size_t n = weights.size();
  std::vector<uint32_t> order(n);  // symbols by weight
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return weights[a] < weights[b]; });
  std::vector<uint64_t> sorted(n);
  for (size_t i = 0; i < n; ++i) sorted[i] = weights[order[i]];

  std::vector<Level> levels(max_bits);
  levels[0] = MergePackages(sorted, Level{});
  for (uint32_t l = 1; l < max_bits; ++l) levels[l] = MergePackages(sorted, levels[l - 1]);

  // The cheapest 2n-2 items of the last level are the solution. Each package among them stands for two items
  // of the level before; each time a symbol is met its code grows by a bit.
  std::vector<uint8_t> lengths(n, 0);
  size_t take = 2 * n - 2;
  for (uint32_t l = max_bits; l-- > 0 && take > 0;) {
    size_t symbols = 0;
    for (size_t i = 0; i < take; ++i) symbols += levels[l].is_symbol[i];
    for (size_t i = 0; i < symbols; ++i) ++lengths[order[i]];
    take = 2 * (take - symbols);
  }
  return lengths;
}

}  // namespace kvcompd::codec
