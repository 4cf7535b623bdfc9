#include "codec/rans.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;

// Tables of geometric distributions, each of another slope.
RansTables Tables(uint32_t prob_bits, uint32_t symbols, uint32_t contexts) {
  std::vector<uint16_t> frequencies;
  for (uint32_t c = 0; c < contexts; ++c) {
    std::vector<uint64_t> counts(symbols);
    for (uint32_t s = 0; s < symbols; ++s)
      counts[(s + c) % symbols] = (uint64_t{1} << 32) >> std::min(s * (c + 1) / 2, 32u);
    const auto f = RansFrequencies(counts, prob_bits);
    frequencies.insert(frequencies.end(), f.begin(), f.end());
  }
  return RansTables::FromFrequencies(prob_bits, symbols, frequencies).value();
}

struct Sample {
  std::vector<uint8_t> contexts;
  std::vector<uint8_t> symbols;
  std::vector<std::byte> carried;
};

// Symbols as the tables expect them, each drawn by a slot.
Sample Draw(const RansTables& tables, uint32_t n, uint32_t period, uint64_t seed) {
  Random random(seed);
  Sample sample;
  for (uint32_t i = 0; i < period; ++i)
    sample.contexts.push_back(static_cast<uint8_t>(random.Below(tables.contexts())));
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t slot = random.Below(1u << tables.prob_bits());
    const uint32_t entry = tables.decodings()[(sample.contexts[i % period] << tables.prob_bits()) + slot];
    sample.symbols.push_back(static_cast<uint8_t>(entry >> 24));
  }
  for (uint32_t i = 0; i < RansCarriedBytes(RansLanes(n)); ++i)
    sample.carried.push_back(static_cast<std::byte>(random.Below(256)));
  return sample;
}

std::vector<std::byte> Encode(const RansTables& tables, const Sample& sample) {
  const auto n = static_cast<uint32_t>(sample.symbols.size());
  std::vector<std::byte> workspace(RansWorkspaceBytes(n)), out(RansBound(RansLanes(n), n), std::byte{0xff});
  out.resize(
      EncodeRans(tables, sample.contexts, RansLanes(n), sample.symbols, sample.carried, workspace, out));
  return out;
}

absl::Status Decode(const RansTables& tables, const Sample& sample, ByteSpan stream, Sample* decoded) {
  decoded->symbols.assign(sample.symbols.size(), 0xee);
  decoded->carried.assign(sample.carried.size(), std::byte{0xee});
  return DecodeRans(tables, sample.contexts, RansLanes(static_cast<uint32_t>(sample.symbols.size())), stream,
                    decoded->symbols, decoded->carried);
}

class RansTest : public ::testing::Test {
 protected:
  ~RansTest() override { UseSimdTarget(SupportedSimdTargets().back()); }
};

TEST_F(RansTest, RoundTripIsTheSameOnEveryInstructionSet) {
  uint64_t seed = 0;
  for (const uint32_t prob_bits : {8u, 10u, 11u, 12u}) {
    for (const uint32_t symbols : {2u, 32u, 256u}) {
      if (symbols > 1u << (prob_bits - 1)) continue;
      const RansTables tables = Tables(prob_bits, symbols, 5);
      for (const uint32_t n : {1u, 7u, 64u, 500u, 2047u, 2048u, 2049u, 4096u, 5000u, 36864u}) {
        for (const uint32_t period : {1u, 8u, 33u, 64u, 576u}) {
          const Sample sample = Draw(tables, n, period, ++seed);
          UseSimdTarget(SimdTarget::kScalar);
          const auto reference = Encode(tables, sample);
          ASSERT_FALSE(reference.empty());
          for (const SimdTarget target : SupportedSimdTargets()) {
            UseSimdTarget(target);
            ASSERT_EQ(Encode(tables, sample), reference)
                << SimdTargetName(target) << " " << n << " " << period;
            Sample decoded;
            const absl::Status status = Decode(tables, sample, reference, &decoded);
            ASSERT_TRUE(status.ok()) << status << SimdTargetName(target) << " " << n << " " << period;
            ASSERT_EQ(decoded.symbols, sample.symbols) << SimdTargetName(target) << " " << n << " " << period;
            ASSERT_EQ(decoded.carried, sample.carried);
          }
        }
      }
    }
  }
}

// The rarest symbol alone takes the most words, the likeliest the fewest.
TEST_F(RansTest, TakesAnySymbolsOfTheAlphabet) {
  for (const uint32_t prob_bits : {8u, 12u}) {
    const RansTables tables = Tables(prob_bits, 32, 2);
    for (uint32_t s = 0; s < 32; ++s) {
      Sample sample = Draw(tables, 4096, 7, s);
      std::fill(sample.symbols.begin(), sample.symbols.end(), static_cast<uint8_t>(s));
      for (const SimdTarget target : SupportedSimdTargets()) {
        UseSimdTarget(target);
        const auto stream = Encode(tables, sample);
        ASSERT_LE(stream.size(), RansBound(32, 4096));
        Sample decoded;
        ASSERT_TRUE(Decode(tables, sample, stream, &decoded).ok());
        ASSERT_EQ(decoded.symbols, sample.symbols);
      }
    }
  }
}

// Of 4096 symbols: what the symbols' probabilities say and at most 0.06 bits each, what is carried included.
TEST_F(RansTest, LanesCostLittle) {
  for (const uint32_t prob_bits : {10u, 12u}) {
    const RansTables tables = Tables(prob_bits, 32, 3);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Sample sample = Draw(tables, 4096, 64, seed);
      double bits = 8.0 * static_cast<double>(sample.carried.size());
      for (uint32_t i = 0; i < 4096; ++i) {
        bits += prob_bits - std::log2(tables.frequency(sample.contexts[i % 64], sample.symbols[i]));
      }
      const double stream_bits = 8.0 * static_cast<double>(Encode(tables, sample).size());
      EXPECT_LT(stream_bits, bits + 0.06 * 4096) << seed;
      EXPECT_GT(stream_bits, bits) << seed;
    }
  }
}

TEST_F(RansTest, DoesNotFitIsSaid) {
  const RansTables tables = Tables(10, 32, 1);
  const Sample sample = Draw(tables, 4096, 1, 1);
  const auto stream = Encode(tables, sample);
  std::vector<std::byte> workspace(RansWorkspaceBytes(4096)), out(stream.size());
  EXPECT_EQ(EncodeRans(tables, sample.contexts, 32, sample.symbols, sample.carried, workspace, out),
            out.size());
  EXPECT_EQ(EncodeRans(tables, sample.contexts, 32, sample.symbols, sample.carried, workspace,
                       MutableByteSpan(out).first(out.size() - 1)),
            0u);
}

// Every flipped bit, every other length: the same answer on every instruction set, and mostly DATA_LOSS.
TEST_F(RansTest, CorruptStreams) {
  const RansTables tables = Tables(10, 32, 4);
  for (const uint32_t n : {100u, 2100u}) {
    const Sample sample = Draw(tables, n, 20, n);
    const auto stream = Encode(tables, sample);
    uint32_t refused = 0;
    const auto check = [&](const std::vector<std::byte>& bytes) {
      absl::StatusCode first{};
      Sample reference;
      for (const SimdTarget target : SupportedSimdTargets()) {
        UseSimdTarget(target);
        Sample decoded;
        const absl::StatusCode code = Decode(tables, sample, bytes, &decoded).code();
        if (target == SimdTarget::kScalar) {
          first = code;
          reference = decoded;
          refused += code == absl::StatusCode::kDataLoss;
          continue;
        }
        ASSERT_EQ(code, first) << SimdTargetName(target);
        ASSERT_TRUE(code != absl::StatusCode::kOk || decoded.symbols == reference.symbols);
      }
    };
    for (size_t bit = 0; bit < 8 * stream.size(); ++bit) {
      auto bytes = stream;
      bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      check(bytes);
    }
    EXPECT_GT(refused, 4 * stream.size());
    for (size_t length = 0; length < stream.size(); ++length) {
      Sample decoded;
      EXPECT_EQ(Decode(tables, sample, ByteSpan(stream).first(length), &decoded).code(),
                absl::StatusCode::kDataLoss);
    }
    auto longer = stream;
    longer.resize(stream.size() + 2);
    Sample decoded;
    EXPECT_EQ(Decode(tables, sample, longer, &decoded).code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(RansTest, TablesThatDoNotSum) {
  const auto code = [](uint32_t prob_bits, uint32_t symbols, std::vector<uint16_t> frequencies) {
    return RansTables::FromFrequencies(prob_bits, symbols, frequencies).status().code();
  };
  EXPECT_EQ(code(8, 2, {255, 1}), absl::StatusCode::kOk);
  EXPECT_EQ(code(8, 2, {255, 1, 1, 255}), absl::StatusCode::kOk);
  EXPECT_EQ(code(8, 2, {255, 2}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(8, 2, {254, 1}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(8, 2, {256, 0}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(8, 2, {255, 1, 255}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(8, 1, {256}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(8, 2, {}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(7, 2, {127, 1}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(13, 2, {8191, 1}), absl::StatusCode::kDataLoss);
}

TEST_F(RansTest, FrequenciesAreInProportion) {
  for (const auto& counts : std::vector<std::vector<uint64_t>>{
           {0, 0, 0, 0}, {1, 0, 0, 0}, {uint64_t{1} << 63, 1, 0, uint64_t{1} << 62}, {3, 2, 1, 2}}) {
    const auto f = RansFrequencies(counts, 10);
    EXPECT_EQ(std::accumulate(f.begin(), f.end(), 0), 1024);
    const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
    for (size_t s = 0; s < counts.size(); ++s) {
      EXPECT_GE(f[s], 1);
      const double share = total == 0 ? 0.25 : static_cast<double>(counts[s]) / total;
      EXPECT_NEAR(f[s], 1 + 1020 * share, 1.001) << s;
    }
  }
}

TEST_F(RansTest, CostsAreLogarithms) {
  for (uint32_t f = 1; f <= 4096; ++f) {
    const double exact = 256 * (12 - std::log2(f));
    EXPECT_NEAR(RansCost256(f, 12), exact, 1.01) << f;
  }
}

}  // namespace
}  // namespace kvcompd::codec
