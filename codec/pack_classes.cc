#include "codec/pack_classes.h"

#include <algorithm>

namespace kvcompd::codec {
namespace {

constexpr uint32_t kCells = PackHistogram::kCells;

// A class in cells: `first` to first + 2^width - 1.
struct CellRange {
  uint32_t first = 0;
  uint32_t width = 0;

  bool Covers(uint32_t low, uint32_t high) const { return first <= low && high < first + (1u << width); }
};

// Adds classes one by one, each time the one that saves most bits.
class Chooser {
 public:
  explicit Chooser(const PackHistogram& histogram) : tokens_(histogram.Tokens()) {
    uint32_t low = kCells, high = 0;
    for (uint32_t l = 0; l < kCells; ++l) {
      for (uint32_t h = l; h < kCells; ++h) {
        if (tokens_[l * kCells + h] == 0) continue;
        low = std::min(low, l);
        high = std::max(high, h);
      }
    }
    first_cell_ = low;
    end_cell_ = high + 1;
    Append({low, static_cast<uint32_t>(std::bit_width(high - low))});
  }

  uint32_t count() const { return count_; }
  const CellRange& range(uint32_t i) const { return ranges_[i]; }
  // Sum over all packs of tokens times width (less what every class has), with the first n classes.
  uint64_t cost(uint32_t n) const { return costs_[n - 1]; }

  // False where no further class saves anything.
  bool Extend() {
    CellRange best;
    uint32_t best_gain = 0;
    for (uint32_t width = 0; width < ranges_[0].width; ++width) FindBest(width, &best, &best_gain);
    if (best_gain == 0) return false;
    Append(best);
    return true;
  }

 private:
  // What an entry saves in a class of this width. A group has less than 2^26 values, so that sums fit.
  uint32_t Gain(uint32_t low, uint32_t high, uint32_t width) const {
    const uint32_t entry = low * kCells + high;
    return tokens_[entry] * (std::max<uint32_t>(widths_[entry], width) - width);
  }

  // The gain of a range follows from that of its left neighbour by the entries that leave and enter.
  void FindBest(uint32_t width, CellRange* best, uint32_t* best_gain) const {
    const uint32_t length = 1u << width;
    uint32_t gain = 0;
    for (uint32_t high = first_cell_; high < std::min(first_cell_ + length, end_cell_); ++high) {
      for (uint32_t low = first_cell_; low <= high; ++low) gain += Gain(low, high, width);
    }
    for (uint32_t first = first_cell_; first < end_cell_; ++first) {
      if (gain > *best_gain) {
        *best_gain = gain;
        *best = {first, width};
      }
      const uint32_t end = first + length;
      for (uint32_t high = first; high < std::min(end, end_cell_); ++high) gain -= Gain(first, high, width);
      if (end >= end_cell_) continue;
      for (uint32_t low = first + 1; low <= end; ++low) gain += Gain(low, end, width);
    }
  }

  // Only what the range covers can change.
  void Append(const CellRange& range) {
    const uint32_t end = std::min(range.first + (1u << range.width), end_cell_);
    uint64_t cost = count_ == 0 ? 0 : costs_[count_ - 1];
    for (uint32_t low = range.first; low < end; ++low) {
      for (uint32_t high = low; high < end; ++high) {
        uint8_t& width = widths_[low * kCells + high];
        const uint32_t before = count_ == 0 ? 0 : width;
        if (count_ == 0 || range.width < width) width = static_cast<uint8_t>(range.width);
        cost = cost + uint64_t{tokens_[low * kCells + high]} * width -
               uint64_t{tokens_[low * kCells + high]} * before;
      }
    }
    costs_[count_] = cost;
    ranges_[count_++] = range;
  }

  const std::array<uint32_t, kCells * kCells> tokens_;
  uint32_t first_cell_ = 0, end_cell_ = 0;
  uint32_t count_ = 0;
  std::array<CellRange, kMaxPackClasses> ranges_{};
  std::array<uint64_t, kMaxPackClasses> costs_{};
  std::array<uint8_t, kCells * kCells> widths_{};  // of the narrowest class so far
};

// In codes. No class reaches beyond 255: what it covers does not either.
PackClass ClassOf(const CellRange& range, uint32_t cell_bits) {
  const uint32_t width = range.width + cell_bits;
  const uint32_t base = std::min(range.first << cell_bits, 256u - (1u << width));
  return {static_cast<uint8_t>(base), static_cast<uint8_t>(width)};
}

}  // namespace

PackHistogram::PackHistogram(uint32_t symbols)
    : cell_bits_(symbols <= kCells ? 0 : static_cast<uint32_t>(std::bit_width((symbols - 1) / kCells))) {}

std::array<uint32_t, PackHistogram::kCells * PackHistogram::kCells> PackHistogram::Tokens() const {
  std::array<uint32_t, kCells* kCells> sums = tokens_[0];
  for (size_t k = 1; k < kTables; ++k) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += tokens_[k][i];
  }
  return sums;
}

PackClassChoice ChoosePackClasses(const PackHistogram& histogram) {
  Chooser chooser(histogram);
  while (chooser.count() < kMaxPackClasses && chooser.Extend()) {
  }
  // 16 bits a class in the header, and an index of each pack. Of equal costs the fewer classes.
  uint32_t count = 1;
  uint64_t best = ~uint64_t{0};
  for (uint32_t bits = 0; bits <= std::bit_width(chooser.count() - 1); ++bits) {
    const uint32_t n = std::min(chooser.count(), 1u << bits);
    const uint64_t cost = chooser.cost(n) + histogram.packs() * bits + 16 * n;
    if (cost >= best) continue;
    best = cost;
    count = n;
  }
  PackClassChoice choice;
  choice.classes.count = count;
  for (uint32_t i = 0; i < count; ++i) {
    choice.classes.of[i] = ClassOf(chooser.range(i), histogram.cell_bits());
  }
  for (uint32_t low = 0; low < kCells; ++low) {
    for (uint32_t high = low; high < kCells; ++high) {
      uint8_t& chosen = choice.class_of_entry[low * kCells + high];
      for (uint32_t i = 1; i < count; ++i) {
        const bool narrower = chooser.range(i).width < chooser.range(chosen).width;
        if (narrower && chooser.range(i).Covers(low, high)) chosen = static_cast<uint8_t>(i);
      }
    }
  }
  return choice;
}

}  // namespace kvcompd::codec
