#include "codec/packkv_order.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "codec/codebook.h"
#include "codec/simd/code_rows.h"

namespace kvcompd::codec {
namespace {

// The least code c with at least half of the token's codes at most c.
uint32_t MedianOfToken(const GroupCodes& codes, uint32_t token) {
  // Four tables: equal codes in a row would else wait for each other's counts.
  std::array<std::array<uint32_t, kMaxSymbols>, 4> counts{};
  for (const uint8_t* const tile : codes.tiles) {
    const uint8_t* const row = tile + size_t{token} * codes.columns;
    for (uint32_t c = 0; c < codes.channels; ++c) ++counts[c % 4][row[c]];
  }
  const uint64_t total = codes.tiles.size() * uint64_t{codes.channels};
  uint64_t below = 0;
  for (uint32_t code = 0; code < kMaxSymbols; ++code) {
    for (const auto& table : counts) below += table[code];
    if (2 * below >= total) return code;
  }
  return kMaxSymbols - 1;
}

// The tokens that are not placed yet, ascending.
struct Remaining {
  std::array<uint8_t, kTileTokens> tokens;
  uint32_t count;

  uint8_t Take(uint32_t i) {
    const uint8_t token = tokens[i];
    std::copy(tokens.begin() + i + 1, tokens.begin() + count, tokens.begin() + i);
    --count;
    return token;
  }
};

class GreedyPacker {
 public:
  GreedyPacker(const GroupCodes& codes, const GreedyScratch& scratch)
      : codes_(codes), scratch_(scratch), remaining_{IdentityOrder(), codes.tokens} {
    std::fill(scratch.sums.begin(), scratch.sums.end(), 0);
    for (uint32_t t = 0; t < codes.tokens; ++t) AddToAll(static_cast<uint8_t>(t), false);
  }

  TokenOrder Run(uint32_t pack) {
    TokenOrder order = IdentityOrder();
    for (uint32_t i = 0; i < codes_.tokens; ++i) {
      // The last one needs no choice.
      const uint32_t chosen = remaining_.count == 1 ? 0 : i % pack == 0 ? Nearest() : Cheapest();
      const uint8_t token = remaining_.Take(chosen);
      order[i] = token;
      AddToAll(token, true);
      for (size_t tile = 0; tile < codes_.tiles.size(); ++tile) {
        const uint8_t* const row = RowOf(tile, token);
        if (i % pack == 0) {
          std::copy_n(row, codes_.columns, Low(tile));
          std::copy_n(row, codes_.columns, High(tile));
        } else {
          WidenExtremes(row, codes_.columns, Low(tile), High(tile));
        }
      }
    }
    return order;
  }

 private:
  // Place in `remaining_` of the token nearest to their mean.
  uint32_t Nearest() const {
    std::array<uint64_t, kTileTokens> distances{};
    for (size_t tile = 0; tile < codes_.tiles.size(); ++tile) {
      AddDistancesToMean(codes_.tiles[tile], codes_.columns, remaining_.tokens.data(), remaining_.count,
                         Sums(tile), scratch_.mean.data(), distances.data());
    }
    return Least(distances);
  }
  // Of the token that widens the open pack least.
  uint32_t Cheapest() const {
    std::array<uint64_t, kTileTokens> costs{};
    for (size_t tile = 0; tile < codes_.tiles.size(); ++tile) {
      AddPackCosts(codes_.tiles[tile], codes_.columns, remaining_.tokens.data(), remaining_.count, Low(tile),
                   High(tile), costs.data());
    }
    return Least(costs);
  }
  uint32_t Least(const std::array<uint64_t, kTileTokens>& of) const {
    return static_cast<uint32_t>(std::min_element(of.begin(), of.begin() + remaining_.count) - of.begin());
  }

  void AddToAll(uint8_t token, bool subtract) {
    for (size_t tile = 0; tile < codes_.tiles.size(); ++tile) {
      AddToSums(RowOf(tile, token), codes_.columns, subtract, Sums(tile));
    }
  }
  const uint8_t* RowOf(size_t tile, uint8_t token) const {
    return codes_.tiles[tile] + size_t{token} * codes_.columns;
  }
  uint16_t* Sums(size_t tile) const { return scratch_.sums.data() + tile * codes_.columns; }
  uint8_t* Low(size_t tile) const { return scratch_.low.data() + tile * codes_.columns; }
  uint8_t* High(size_t tile) const { return scratch_.high.data() + tile * codes_.columns; }

  const GroupCodes& codes_;
  const GreedyScratch& scratch_;
  Remaining remaining_;
};

}  // namespace

TokenOrder MedianOrder(const GroupCodes& codes) {
  std::array<uint32_t, kTileTokens> medians{};
  for (uint32_t t = 0; t < codes.tokens; ++t) medians[t] = MedianOfToken(codes, t);
  TokenOrder order = IdentityOrder();
  std::stable_sort(order.begin(), order.begin() + codes.tokens,
                   [&](uint8_t a, uint8_t b) { return medians[a] > medians[b]; });
  return order;
}

TokenOrder GreedyOrder(const GroupCodes& codes, uint32_t pack, const GreedyScratch& scratch) {
  return GreedyPacker(codes, scratch).Run(pack);
}

}  // namespace kvcompd::codec
