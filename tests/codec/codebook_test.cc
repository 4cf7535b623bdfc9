#include "codec/codebook.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "codec/package_merge.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;

uint64_t Kraft(std::span<const uint8_t> lengths) {
  uint64_t sum = 0;
  for (const uint8_t l : lengths) sum += uint64_t{1} << (32 - l);
  return sum;
}

uint64_t Cost(std::span<const uint64_t> weights, std::span<const uint8_t> lengths) {
  uint64_t bits = 0;
  for (size_t i = 0; i < weights.size(); ++i) bits += weights[i] * lengths[i];
  return bits;
}

// The least cost of a prefix code with lengths up to max_bits, by trying every assignment that Kraft allows.
uint64_t BruteForceCost(std::span<const uint64_t> weights, uint32_t max_bits) {
  uint64_t best = UINT64_MAX;
  std::function<void(size_t, uint64_t, uint64_t)> place = [&](size_t i, uint64_t left, uint64_t cost) {
    if (cost >= best) return;
    if (i == weights.size()) {
      best = cost;
      return;
    }
    for (uint32_t l = 1; l <= max_bits; ++l) {
      const uint64_t share = uint64_t{1} << (max_bits - l);
      if (share <= left) place(i + 1, left - share, cost + weights[i] * l);
    }
  };
  place(0, uint64_t{1} << max_bits, 0);
  return best;
}

TEST(PackageMerge, IsOptimalUnderTheLimit) {
  Random random(1);
  for (uint32_t n = 2; n <= 7; ++n) {
    for (int round = 0; round < 40; ++round) {
      std::vector<uint64_t> weights(n);
      for (uint64_t& w : weights) w = 1 + (random.Next() >> (40 + random.Below(24)));
      for (uint32_t limit = std::max(3u, static_cast<uint32_t>(std::ceil(std::log2(n)))); limit <= 6;
           ++limit) {
        const auto lengths = PackageMerge(weights, limit);
        EXPECT_EQ(Kraft(lengths), uint64_t{1} << 32);
        EXPECT_LE(*std::max_element(lengths.begin(), lengths.end()), limit);
        EXPECT_EQ(Cost(weights, lengths), BruteForceCost(weights, limit)) << n << " limit " << limit;
      }
    }
  }
}

TEST(PackageMerge, TiesAreFixed) {
  EXPECT_EQ(PackageMerge(std::vector<uint64_t>{5, 5, 5}, 12), (std::vector<uint8_t>{2, 2, 1}));
  EXPECT_EQ(PackageMerge(std::vector<uint64_t>{1, 1, 2, 2, 4}, 12), (std::vector<uint8_t>{3, 3, 2, 2, 2}));
  EXPECT_EQ(PackageMerge(std::vector<uint64_t>{9, 1}, 12), (std::vector<uint8_t>{1, 1}));
}

TEST(AlphabetSize, KnownValues) {
  EXPECT_EQ(AlphabetSize(0.5, false), 5u);
  EXPECT_EQ(AlphabetSize(0.25, false), 7u);
  EXPECT_EQ(AlphabetSize(0.1, false), 13u);
  EXPECT_EQ(AlphabetSize(0.05, false), 23u);
  EXPECT_EQ(AlphabetSize(0.01, false), 103u);
  EXPECT_EQ(AlphabetSize(0.005, false), 204u);
  EXPECT_EQ(AlphabetSize(0.001, false), 256u);
}

TEST(Codebook, CodesAreCanonicalPrefixFreeAndDecodable) {
  const std::vector<uint8_t> lengths = {3, 3, 2, 2, 2};
  const auto book = Codebook::FromLengths(lengths);
  ASSERT_TRUE(book.ok()) << book.status();
  EXPECT_EQ(book->max_bits(), 3u);
  // In order of length, then symbol: 2 = 00, 3 = 01, 4 = 10, 0 = 110, 1 = 111; here with the first bit
  // lowest.
  EXPECT_EQ(std::vector<uint16_t>(book->codes().begin(), book->codes().end()),
            (std::vector<uint16_t>{0b011, 0b111, 0b00, 0b10, 0b01}));
  ASSERT_EQ(book->decode_table().size(), 8u);
  for (uint32_t next = 0; next < 8; ++next) {
    const uint32_t entry = book->decode_table()[next], symbol = entry >> 8, length = entry & 0xff;
    EXPECT_EQ(length, lengths[symbol]);
    EXPECT_EQ(next & ((1u << length) - 1), book->codes()[symbol]);
  }
}

TEST(Codebook, FromLengthsRefusesWhatIsNoCompleteCode) {
  const auto code = [](std::vector<uint8_t> lengths) {
    return Codebook::FromLengths(lengths).status().code();
  };
  EXPECT_EQ(code({1, 1}), absl::StatusCode::kOk);
  EXPECT_EQ(code({}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({1}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({1, 2}), absl::StatusCode::kDataLoss);     // incomplete
  EXPECT_EQ(code({1, 1, 1}), absl::StatusCode::kDataLoss);  // over-full
  EXPECT_EQ(code({0, 1}), absl::StatusCode::kDataLoss);     // a symbol without a code
  EXPECT_EQ(code({1, 13}), absl::StatusCode::kDataLoss);    // over the limit
  EXPECT_EQ(code(std::vector<uint8_t>(256, 8)), absl::StatusCode::kOk);
  EXPECT_EQ(code(std::vector<uint8_t>(257, 8)), absl::StatusCode::kDataLoss);
}

TEST(Codebook, FromFrequenciesRefusesWhatDoesNotSum) {
  const auto code = [](std::vector<uint16_t> frequencies) {
    return Codebook::FromFrequencies(frequencies).status().code();
  };
  EXPECT_EQ(code({1, 4095}), absl::StatusCode::kOk);
  EXPECT_EQ(code({}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({4096}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({2, 4095}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({4095}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code({0, 4095, 1}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(std::vector<uint16_t>(256, 16)), absl::StatusCode::kOk);
  EXPECT_EQ(code(std::vector<uint16_t>(512, 8)), absl::StatusCode::kDataLoss);
}

TEST(Codebook, FrequenciesAreTotalWhateverTheCounts) {
  for (const std::vector<uint64_t>& counts :
       {std::vector<uint64_t>(2, 0), std::vector<uint64_t>(255, 0), std::vector<uint64_t>(256, UINT64_MAX),
        std::vector<uint64_t>{0, UINT64_MAX, 1}}) {
    const Codebook book = Codebook::FromCounts(counts, Coder::kRans);
    ASSERT_EQ(book.frequencies().size(), counts.size());
    EXPECT_GE(*std::min_element(book.frequencies().begin(), book.frequencies().end()), 1);
    EXPECT_EQ(book.rans_tables().symbols(), counts.size());
    EXPECT_EQ(&book.rans_tables(), &Codebook(book).rans_tables());  // copies share them
  }
}

TEST(Codebook, SymbolsOfRansAreMultiplesOfTheStepWhereTheyFit) {
  EXPECT_EQ(BookSymbols(Coder::kHuffman, QuantUnit::kBlock, 23), 23u);
  EXPECT_EQ(BookSymbols(Coder::kRans, QuantUnit::kBlock, 23), 45u);
  EXPECT_EQ(BookSymbols(Coder::kRans, QuantUnit::kToken, 128), 255u);
  EXPECT_EQ(BookSymbols(Coder::kRans, QuantUnit::kToken, 129), 129u);
  EXPECT_EQ(BookSymbols(Coder::kRans, QuantUnit::kChannel, 23), 23u);
  // Code 7 of a unit that begins at the multiple -7 is the multiple 0, in the middle.
  EXPECT_EQ(RansShift(QuantUnit::kBlock, 23, -7) + 7, 22u);
  EXPECT_EQ(RansShift(QuantUnit::kBlock, 23, 5), 22u);        // all above 0: as if it began there
  EXPECT_EQ(RansShift(QuantUnit::kBlock, 23, -1000000), 0u);  // all below
  EXPECT_EQ(RansShift(QuantUnit::kToken, 129, -7), 0u);
  EXPECT_EQ(RansShift(QuantUnit::kChannel, 23, -7), 0u);
}

TEST(Codebook, EverySymbolHasACodeAndTheLimitHolds) {
  // Fibonacci counts would make an unlimited code as long as the alphabet.
  std::vector<uint64_t> counts(60, 0);
  uint64_t a = 1, b = 1;
  for (size_t i = 0; i < 40; ++i) {
    counts[i] = a;
    std::swap(a, b);
    b += a;
  }
  const Codebook book = Codebook::FromCounts(counts);
  EXPECT_EQ(book.max_bits(), kMaxCodeBits);
  EXPECT_EQ(Kraft(book.lengths()), uint64_t{1} << 32);
  for (const uint8_t l : book.lengths()) EXPECT_GE(l, 1);
  // All counts zero, and counts that would overflow, make books too.
  EXPECT_EQ(Kraft(Codebook::FromCounts(std::vector<uint64_t>(5, 0)).lengths()), uint64_t{1} << 32);
  EXPECT_EQ(Kraft(Codebook::FromCounts(std::vector<uint64_t>(256, UINT64_MAX)).lengths()), uint64_t{1} << 32);
}

TEST(Codebook, CostIsWithinABitOfEntropy) {
  Random random(3);
  std::vector<uint64_t> counts(23);
  uint64_t total = 0;
  for (size_t s = 0; s < counts.size(); ++s) {
    const double d = (static_cast<double>(s) - 10) / 3;
    counts[s] = static_cast<uint64_t>(100000 * std::exp(-d * d / 2)) + random.Below(10);
    total += counts[s];
  }
  double entropy = 0;
  for (const uint64_t c : counts) {
    if (c > 0)
      entropy -= static_cast<double>(c) * std::log2(static_cast<double>(c) / static_cast<double>(total));
  }
  const auto cost = static_cast<double>(Codebook::FromCounts(counts).CostBits(counts));
  EXPECT_GE(cost, entropy);
  EXPECT_LE(cost, entropy * 1.02);
  const auto rans = static_cast<double>(Codebook::FromCounts(counts, Coder::kRans).CostBits(counts));
  EXPECT_GE(rans, entropy * 0.999);  // a cost is rounded down to 1/256 of a bit
  EXPECT_LE(rans, entropy * 1.003);
}

TEST(BuiltInBooks, AreTotalForEveryAlphabetAndUnit) {
  for (const QuantUnit unit : {QuantUnit::kBlock, QuantUnit::kChannel, QuantUnit::kToken}) {
    for (uint32_t symbols = 2; symbols <= kMaxSymbols; ++symbols) {
      const Codebook& book = BuiltInBook(unit, symbols);
      ASSERT_EQ(book.num_symbols(), symbols);
      ASSERT_EQ(Kraft(book.lengths()), uint64_t{1} << 32);
      // The middle of the codes in use is among the cheapest: constant units take it.
      ASSERT_LE(book.lengths()[MiddleCode(symbols)],
                *std::min_element(book.lengths().begin(), book.lengths().end()) + 1);
      ASSERT_EQ(&book, &BuiltInBook(unit, symbols));
      const Codebook& rans = BuiltInBook(unit, symbols, Coder::kRans);
      ASSERT_EQ(rans.num_symbols(), BookSymbols(Coder::kRans, unit, symbols));
      ASSERT_EQ(rans.coder(), Coder::kRans);
    }
  }
}

}  // namespace
}  // namespace kvcompd::codec
