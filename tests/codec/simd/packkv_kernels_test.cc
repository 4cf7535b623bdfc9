// The kernels of codec packkv on every instruction set against their scalar reference, byte for byte, and
// against what they say they compute.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/float_format.h"
#include "codec/pack_classes.h"
#include "codec/quantizer.h"
#include "codec/simd/code_rows.h"
#include "codec/simd/strip_bits.h"
#include "codec/simd/targets.h"
#include "codec/simd/token_rows.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;

constexpr DType kDTypes[] = {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2};
constexpr uint32_t kChannels[] = {8, 9, 15, 16, 17, 31, 40, 63, 64, 65, 127, 128, 200, 575, 576};

class PackkvKernels : public ::testing::Test {
 protected:
  ~PackkvKernels() override { UseSimdTarget(SupportedSimdTargets().back()); }

  // Runs on every target; `result` must be the scalar reference's everywhere.
  template <typename Fn>
  auto OnEveryTarget(Fn&& result) {
    UseSimdTarget(SimdTarget::kScalar);
    const auto reference = result();
    for (const SimdTarget target : SupportedSimdTargets()) {
      UseSimdTarget(target);
      EXPECT_TRUE(result() == reference) << SimdTargetName(target);
    }
    return reference;
  }
};

PackClasses RandomClasses(Random* random) {
  PackClasses classes;
  classes.count = 1 + random->Below(kMaxPackClasses);
  for (uint32_t k = 0; k < classes.count; ++k) {
    const uint32_t width = random->Below(kMaxPackWidth + 1);
    classes.of[k] = {static_cast<uint8_t>(random->Below(257 - (1u << width))), static_cast<uint8_t>(width)};
  }
  return classes;
}

std::vector<uint8_t> RandomClassNumbers(const PackClasses& classes, uint32_t channels, Random* random) {
  std::vector<uint8_t> class_of(StripStride(channels), 0);
  for (uint32_t c = 0; c < channels; ++c) class_of[c] = static_cast<uint8_t>(random->Below(classes.count));
  return class_of;
}

TEST_F(PackkvKernels, ClassNumbersComeBack) {
  Random random(1);
  for (const uint32_t channels : kChannels) {
    for (uint32_t bits = 0; bits <= 4; ++bits) {
      SCOPED_TRACE(absl::StrCat("channels ", channels, " bits ", bits));
      std::vector<uint8_t> class_of(StripStride(channels), 0);
      for (uint32_t c = 0; c < channels; ++c) class_of[c] = static_cast<uint8_t>(random.Below(1u << bits));
      const size_t bytes = (channels * bits + 7) / 8;
      const auto packed = OnEveryTarget([&] {
        std::vector<std::byte> out(bytes, std::byte{0xa5});  // exactly as long: nothing may go behind
        PackClassNumbers(class_of.data(), bits, channels, out.data());
        return out;
      });
      std::vector<std::byte> padded = packed;
      padded.resize(bytes + kStripOverread, std::byte{0xff});
      const auto unpacked = OnEveryTarget([&] {
        std::vector<uint8_t> out(StripStride(channels), 0x5a);
        UnpackClasses(padded.data(), bits, channels, out.data());
        return out;
      });
      EXPECT_EQ(unpacked, class_of);
    }
  }
}

TEST_F(PackkvKernels, StripsComeBack) {
  Random random(2);
  for (const uint32_t channels : kChannels) {
    for (const uint32_t alignment : {4u, 8u}) {
      for (uint32_t tokens = 1; tokens <= alignment; ++tokens) {
        SCOPED_TRACE(absl::StrCat("channels ", channels, " alignment ", alignment, " tokens ", tokens));
        const PackClasses classes = RandomClasses(&random);
        const StripFormat format(classes, tokens, alignment);
        const auto class_of = RandomClassNumbers(classes, channels, &random);
        const size_t stride = StripStride(channels);
        std::vector<uint8_t> codes(kStripTokens * stride, 0);
        const uint8_t* rows[kStripTokens];
        for (uint32_t t = 0; t < tokens; ++t) rows[t] = codes.data() + t * stride;
        uint64_t expected_bits = 0;
        for (uint32_t c = 0; c < channels; ++c) {
          const PackClass& of = classes.of[class_of[c]];
          for (uint32_t t = 0; t < tokens; ++t) {
            codes[t * stride + c] = static_cast<uint8_t>(of.base + random.Below(1u << of.width));
          }
          expected_bits += (tokens * of.width + alignment - 1) / alignment * alignment;
        }
        EXPECT_EQ(OnEveryTarget([&] { return StripBits(format, class_of.data(), channels); }), expected_bits);
        const size_t bytes = (expected_bits + 7) / 8;
        std::vector<uint64_t> fields(stride);
        const auto packed = OnEveryTarget([&] {
          std::vector<std::byte> out(bytes + 8, std::byte{0xa5});
          PackStrip(format, class_of.data(), channels, rows, fields.data(), out.data());
          out.resize(bytes);
          return out;
        });
        std::vector<std::byte> padded = packed;
        padded.resize(bytes + kStripOverread, std::byte{0xff});
        const auto unpacked = OnEveryTarget([&] {
          std::vector<uint8_t> out(kStripTokens * stride, 0x5a), valid;
          UnpackStrip(format, class_of.data(), channels, padded.data(), fields.data(), out.data());
          for (uint32_t t = 0; t < tokens; ++t) {
            valid.insert(valid.end(), out.begin() + static_cast<std::ptrdiff_t>(t * stride),
                         out.begin() + static_cast<std::ptrdiff_t>(t * stride + channels));
          }
          return valid;
        });
        for (uint32_t t = 0; t < tokens; ++t) {
          EXPECT_EQ(std::memcmp(unpacked.data() + t * channels, rows[t], channels), 0) << "token " << t;
        }
      }
    }
  }
}

TEST_F(PackkvKernels, CodeRowsAreWhatTheySay) {
  Random random(3);
  for (const uint32_t channels : kChannels) {
    const size_t columns = StripStride(channels);
    for (const uint32_t symbols : {2u, 13u, 256u}) {
      std::vector<uint8_t> tile(kTileTokens * columns, 0);
      std::vector<const uint8_t*> rows;
      for (uint32_t t = 0; t < kTileTokens; ++t) {
        for (uint32_t c = 0; c < channels; ++c) {
          tile[t * columns + c] = static_cast<uint8_t>(random.Below(symbols));
        }
        rows.push_back(tile.data() + t * columns);
      }
      for (const uint32_t n : {1u, 2u, 17u, 64u}) {
        const auto extremes = OnEveryTarget([&] {
          std::vector<uint8_t> low(columns), high(columns);
          ExtremesOfRows(rows.data(), n, columns, low.data(), high.data());
          return std::pair(low, high);
        });
        std::vector<uint16_t> sums(columns, 0);
        for (uint32_t t = 0; t < n; ++t) AddToSums(rows[t], columns, false, sums.data());
        std::vector<uint8_t> tokens(n);
        for (uint32_t i = 0; i < n; ++i) tokens[i] = static_cast<uint8_t>((7 * i + 3) % n);
        const auto costs = OnEveryTarget([&] {
          std::vector<uint64_t> widths(n, 1), distances(n, 2);
          std::vector<uint8_t> mean(columns);
          AddPackCosts(tile.data(), columns, tokens.data(), n, extremes.first.data(), extremes.second.data(),
                       widths.data());
          AddDistancesToMean(tile.data(), columns, tokens.data(), n, sums.data(), mean.data(),
                             distances.data());
          return std::pair(widths, distances);
        });
        uint64_t width = 1, distance = 2;
        for (uint32_t c = 0; c < channels; ++c) {
          uint32_t low = 255, high = 0, sum = 0;
          for (uint32_t t = 0; t < n; ++t) {
            low = std::min<uint32_t>(low, rows[t][c]);
            high = std::max<uint32_t>(high, rows[t][c]);
            sum += rows[t][c];
          }
          EXPECT_EQ(extremes.first[c], low);
          EXPECT_EQ(extremes.second[c], high);
          width += static_cast<uint64_t>(std::bit_width(high - low));
          const auto mean = static_cast<int>((2 * sum + n) / (2 * n));
          distance += static_cast<uint64_t>(std::abs(rows[tokens[0]][c] - mean));
        }
        EXPECT_EQ(costs.first[0], width);
        EXPECT_EQ(costs.second[0], distance);
        for (uint32_t t = 0; t < n; ++t) AddToSums(rows[t], columns, true, sums.data());
        EXPECT_EQ(sums, std::vector<uint16_t>(columns, 0));
      }
    }
  }
}

// Units over arrays, for 64 tokens.
struct Units {
  Units() : floats(6 * kTileTokens), doubles(3 * kTileTokens) {
    table.divisor = floats.data();
    table.zero = floats.data() + kTileTokens;
    table.step = floats.data() + 2 * kTileTokens;
    table.base = floats.data() + 3 * kTileTokens;
    table.reciprocal = floats.data() + 4 * kTileTokens;
    table.clear = floats.data() + 5 * kTileTokens;
    table.radius = doubles.data();
    table.limit = doubles.data() + kTileTokens;
    table.worst = doubles.data() + 2 * kTileTokens;
  }
  std::vector<float> floats;
  std::vector<double> doubles;
  UnitTable table;
};

struct Quantised {
  bool bounded = false;
  std::vector<uint8_t> codes;
  std::vector<double> worst;

  // Codes and errors count only where all is in bounds.
  friend bool operator==(const Quantised& a, const Quantised& b) {
    return a.bounded == b.bounded && (!a.bounded || (a.codes == b.codes && a.worst == b.worst));
  }
};

class TokenRows : public PackkvKernels {
 protected:
  // Ranges, codes, errors and values of a tile on every target. Returns whether it keeps the bound.
  bool Check(DType dtype, const std::string& values, uint32_t tokens, uint32_t channels, double rel) {
    const std::byte* const from = AsBytes(values).data();
    const uint32_t symbols = AlphabetSize(rel, false);
    std::vector<UnitRange> ranges(tokens);
    EXPECT_TRUE(OnEveryTarget([&] { return RangesOfTokens(dtype, from, tokens, channels, ranges.data()); }));
    OnEveryTarget([&] {
      std::vector<UnitRange> found(tokens);
      RangesOfTokens(dtype, from, tokens, channels, found.data());
      std::vector<float> extremes;
      for (const UnitRange& r : found) extremes.insert(extremes.end(), {r.min, r.max});
      return extremes;
    });
    Units units;
    for (uint32_t t = 0; t < tokens; ++t) {
      const auto params = ChooseUnitParams(dtype, ranges[t], rel, false);
      if (!params.has_value()) return false;
      units.table.SetEncode(t, dtype, *params, symbols, RadiusOf(ranges[t], rel), false);
    }
    const size_t stride = StripStride(channels);
    const Quantised quantised = OnEveryTarget([&] {
      Quantised q{false, std::vector<uint8_t>(tokens * stride, 0x77), std::vector<double>(tokens, 99)};
      q.bounded = QuantizeTokens(dtype, from, tokens, channels, units.table, symbols, q.codes.data(), stride,
                                 q.worst.data());
      return q;
    });
    if (!quantised.bounded) return false;
    // In reverse order, with a unit of its own each.
    std::vector<uint8_t> order(tokens), codes(tokens * stride);
    for (uint32_t i = 0; i < tokens; ++i) {
      order[i] = static_cast<uint8_t>(tokens - 1 - i);
      std::memcpy(codes.data() + i * stride, quantised.codes.data() + order[i] * stride, stride);
    }
    const auto decoded = OnEveryTarget([&] {
      std::string out(values.size(), '\x3c');
      const bool known =
          DequantizeTokens(dtype, codes.data(), stride, channels, order.data(), tokens, units.table, symbols,
                           std::as_writable_bytes(std::span(out)).data());
      return std::pair(known, out);
    });
    EXPECT_TRUE(decoded.first);
    CheckErrors(dtype, values, decoded.second, channels, quantised.worst);
    // One code beyond the alphabet, anywhere.
    if (symbols < 256) {
      codes[(tokens - 1) * stride + channels - 1] = static_cast<uint8_t>(symbols);
      EXPECT_FALSE(OnEveryTarget([&] {
        std::string out(values.size(), '\0');
        return DequantizeTokens(dtype, codes.data(), stride, channels, order.data(), tokens, units.table,
                                symbols, std::as_writable_bytes(std::span(out)).data());
      }));
    }
    return true;
  }

  static void CheckErrors(DType dtype, const std::string& values, const std::string& decoded,
                          uint32_t channels, const std::vector<double>& worst) {
    const auto x = kvcompd::testing::ToFloats(dtype, values), y = kvcompd::testing::ToFloats(dtype, decoded);
    for (size_t t = 0; t < worst.size(); ++t) {
      double largest = 0;
      for (size_t i = t * channels; i < (t + 1) * channels; ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
      }
      EXPECT_EQ(worst[t], largest) << "token " << t;
    }
  }
};

TEST_F(TokenRows, AreTheReferenceOverShapes) {
  uint64_t seed = 0;
  uint32_t bounded = 0;
  for (const DType dtype : kDTypes) {
    for (const uint32_t channels : kChannels) {
      for (const double rel : {0.5, 0.2, 0.1, 0.05, 0.02, 0.005}) {
        const uint32_t tokens = 1 + static_cast<uint32_t>(seed * 7 % 64);
        SCOPED_TRACE(
            absl::StrCat(ToAbsl(DTypeName(dtype)), " channels ", channels, " tokens ", tokens, " rel ", rel));
        bounded +=
            Check(dtype, SyntheticKv(dtype, Tensor::kK, 1, tokens, channels, ++seed), tokens, channels, rel);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
  EXPECT_GT(bounded, seed / 2);  // else little was checked
}

// Rows of every magnitude, with offsets up to where a step is lost in them.
TEST_F(TokenRows, AreTheReferenceOverMagnitudes) {
  Random random(4);
  uint32_t bounded = 0, rows = 0;
  for (const DType dtype : kDTypes) {
    const FloatFormat& format = FloatFormatOf(dtype);
    for (int exponent = format.min_exp - format.man_bits - 1; exponent <= format.max_exp(); ++exponent) {
      for (const int offset : {-1, 0, 3, format.man_bits - 1, format.man_bits + 1}) {
        std::vector<float> x(48);
        const float scale = std::ldexp(1.0f, exponent), at = offset < 0 ? 0.0f : std::ldexp(scale, offset);
        for (float& v : x) v = at + scale * static_cast<float>(2 * random.Uniform() - 1);
        const std::string values = kvcompd::testing::ToBytes(dtype, x);
        SCOPED_TRACE(absl::StrCat(ToAbsl(DTypeName(dtype)), " exponent ", exponent, " offset ", offset));
        for (const double rel : {0.1, 0.005}) {
          bounded += Check(dtype, values, 1, 48, rel);
          ++rows;
        }
        ASSERT_FALSE(HasFailure());
      }
    }
  }
  EXPECT_GT(bounded, rows / 2);
}

TEST_F(TokenRows, FindWhatIsNotFinite) {
  for (const DType dtype : kDTypes) {
    for (const uint32_t channels : {8u, 33u, 128u}) {
      const std::string values = SyntheticKv(dtype, Tensor::kV, 1, 3, channels, 1);
      const uint32_t bytes = ElementBytes(dtype);
      const auto nan = static_cast<uint16_t>(FloatFormatOf(dtype).max_finite + 1);
      for (size_t i = 0; i < values.size() / bytes; ++i) {
        std::string with = values;
        std::memcpy(with.data() + i * bytes, &nan, bytes);
        EXPECT_FALSE(OnEveryTarget([&] {
          std::vector<UnitRange> ranges(3);
          return RangesOfTokens(dtype, AsBytes(with).data(), 3, channels, ranges.data());
        })) << DTypeName(dtype)
            << " " << i;
      }
    }
  }
}

// A group's range may come from other heads than the tile's: codes then lie anywhere in the alphabet, or
// beyond it where the range is too small.
TEST_F(TokenRows, RefuseWhatIsOutOfTheAlphabet) {
  const uint32_t channels = 64;
  std::vector<float> x(channels, 0.0f);
  x[5] = 4.0f;
  const std::string values = kvcompd::testing::ToBytes(DType::kBf16, x);
  Units units;
  const UnitRange range{.min = -1, .max = 1};
  const auto params = ChooseUnitParams(DType::kBf16, range, 0.1, false);
  ASSERT_TRUE(params.has_value());
  const uint32_t symbols = AlphabetSize(0.1, false);
  units.table.SetEncode(0, DType::kBf16, *params, symbols, RadiusOf(range, 0.1), false);
  EXPECT_FALSE(OnEveryTarget([&] {
    std::vector<uint8_t> codes(64);
    double worst = 0;
    return QuantizeTokens(DType::kBf16, AsBytes(values).data(), 1, channels, units.table, symbols,
                          codes.data(), 64, &worst);
  }));
}

}  // namespace
}  // namespace kvcompd::codec
