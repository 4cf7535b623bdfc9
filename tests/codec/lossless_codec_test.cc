// What is particular to codec lossless; round trip, determinism and flipped bits are the suites'.
#include "codec/lossless_codec.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/exponent_classes.h"
#include "codec/lossless_fast.h"
#include "codec/rans.h"
#include "codec/simd/float_fields.h"
#include "gtest/gtest.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::DecodeTile;
using kvcompd::testing::EncodedGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;
using kvcompd::testing::ToBytes;

constexpr DType kDTypes[] = {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2};

const LosslessCodec& TheCodec() {
  static const LosslessCodec codec;
  return codec;
}

Profile ProfileOf(LosslessMode mode) {
  Profile profile = Profile::Of(CodecId::kLossless);
  profile.mode = mode;
  return profile;
}

EncodedGroup Encode(const GroupShape& shape, const std::string& values, LosslessMode mode) {
  auto group = kvcompd::testing::EncodeGroup(TheCodec(), shape, values, {.profile = ProfileOf(mode)});
  EXPECT_TRUE(group.ok()) << group.status();
  return group.ok() ? *std::move(group) : EncodedGroup();
}

absl::StatusCode DecodeCode(const GroupShape& shape, TileMode mode, const std::string& payload) {
  return DecodeTile(TheCodec(), shape, "", mode, payload, nullptr).status().code();
}

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

// Every pattern of the type, in tiles that are coded: each once beside usual values, so that it is an escape
// or has a code.
TEST(LosslessCodec, EveryPatternInTilesThatAreNotRaw) {
  for (const DType dtype : kDTypes) {
    const uint32_t bytes = ElementBytes(dtype);
    const uint32_t patterns = bytes == 1 ? 256 : 65536;
    for (const LosslessMode mode : {LosslessMode::kFast, LosslessMode::kDense}) {
      const GroupShape shape{dtype, Tensor::kK, patterns / 256, 64, 128};
      std::string values = SyntheticKv(dtype, Tensor::kK, shape.heads, 64, 128, 1);
      for (uint32_t i = 0; i < patterns; ++i) {
        const uint32_t tile = i % shape.heads, at = i / shape.heads * 29;  // 256 of each tile's 8192 values
        const auto bits = static_cast<uint16_t>(i);
        values.replace(size_t{tile} * shape.tile_bytes() + size_t{at} * bytes, bytes,
                       reinterpret_cast<const char*>(&bits), bytes);
      }
      const EncodedGroup group = Encode(shape, values, mode);
      const TileMode want = mode == LosslessMode::kDense ? kLosslessDense : kLosslessFast;
      for (uint32_t h = 0; h < shape.heads; ++h) {
        EXPECT_EQ(group.modes[h], want) << DTypeName(dtype) << " " << h;
        const auto tile = DecodeTile(TheCodec(), shape, group, h);
        ASSERT_TRUE(tile.ok()) << tile.status();
        ASSERT_TRUE(*tile == values.substr(size_t{h} * shape.tile_bytes(), shape.tile_bytes())) << h;
      }
    }
  }
}

// Sizes of what looks like a model's, from above and from below: a change of ratio shows here.
TEST(LosslessCodec, RatioOnNormalValues) {
  Random random(7);
  std::vector<float> values(64 * 128);
  for (float& v : values) v = static_cast<float>(random.Bell());
  const GroupShape shape{DType::kBf16, Tensor::kV, 1, 64, 128};
  const std::string bytes = ToBytes(shape.dtype, values);
  const auto ratio = [&](LosslessMode mode) {
    return static_cast<double>(bytes.size()) /
           static_cast<double>(Encode(shape, bytes, mode).payloads[0].size());
  };
  EXPECT_GT(ratio(LosslessMode::kFast), 1.42);  // 11 bits and an escape for every 45th
  EXPECT_LT(ratio(LosslessMode::kFast), 1.44);
  EXPECT_GT(ratio(LosslessMode::kDense), 1.505);  // the entropy of sign and exponent is 3.54 bits
  EXPECT_LT(ratio(LosslessMode::kDense), 1.52);
}

// Channels that differ by powers of two, and have means: classes of channels.
TEST(LosslessCodec, ClassesOfChannelsPayWhereChannelsDiffer) {
  Random random(8);
  std::vector<float> values(64 * 128);
  for (uint32_t i = 0; i < values.size(); ++i) {
    const uint32_t c = i % 128;
    const auto scale = static_cast<float>(1u << c % 7);
    const float mean = c % 3 == 0 ? 2.0f : c % 3 == 1 ? -1.0f : 0.0f;
    values[i] = scale * (mean + static_cast<float>(random.Bell()));
  }
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 64, 128};
  const EncodedGroup group = Encode(shape, ToBytes(shape.dtype, values), LosslessMode::kDense);
  ASSERT_EQ(group.modes[0], kLosslessDense);
  EXPECT_EQ(group.payloads[0][group.payloads[0].size() - 3], 16);
  EXPECT_LT(group.payloads[0].size(), 16384 / 1.55);
}

TEST(LosslessCodec, FewValuesAndOpaqueBytesAreRaw) {
  for (const LosslessMode mode : {LosslessMode::kFast, LosslessMode::kDense}) {
    const GroupShape small{DType::kBf16, Tensor::kK, 1, 7, 9};
    EXPECT_EQ(Encode(small, std::string(small.tile_bytes(), '\0'), mode).modes[0], TileMode::kRaw);
    const GroupShape enough{DType::kBf16, Tensor::kK, 1, 8, 8};
    EXPECT_NE(Encode(enough, std::string(enough.tile_bytes(), '\0'), mode).modes[0], TileMode::kRaw);
    const GroupShape opaque{DType::kOpaque, Tensor::kK, 1, 64, 64};
    EXPECT_EQ(Encode(opaque, std::string(opaque.tile_bytes(), '\0'), mode).modes[0], TileMode::kRaw);
    EXPECT_EQ(DecodeCode(small, kLosslessFast, std::string(80, '\0')), kDataLoss);
    EXPECT_EQ(DecodeCode(opaque, kLosslessDense, std::string(80, '\0')), kDataLoss);
  }
}

// Dense is not smaller than fast where exponents are spread evenly over more than the classes expect.
TEST(LosslessCodec, DenseFallsBackToFast) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 64, 64};
  Random random(9);
  std::string values(shape.tile_bytes(), '\0');
  for (size_t i = 0; i < values.size(); i += 2) {
    const uint32_t bits = random.Below(2) << 15 | (100 + random.Below(31)) << 7 | random.Below(128);
    values[i] = static_cast<char>(bits);
    values[i + 1] = static_cast<char>(bits >> 8);
  }
  EXPECT_EQ(Encode(shape, values, LosslessMode::kDense).modes[0], kLosslessFast);
  EXPECT_TRUE(Encode(shape, values, LosslessMode::kDense) == Encode(shape, values, LosslessMode::kFast));
}

TEST(LosslessCodec, RandomBytesAreRaw) {
  Random random(10);
  for (const DType dtype : kDTypes) {
    const GroupShape shape{dtype, Tensor::kV, 1, 64, 64};
    std::string values(shape.tile_bytes(), '\0');
    for (char& c : values) c = static_cast<char>(random.Below(256));
    for (const LosslessMode mode : {LosslessMode::kFast, LosslessMode::kDense}) {
      const EncodedGroup group = Encode(shape, values, mode);
      if (dtype != DType::kBf16) {
        EXPECT_EQ(group.modes[0], TileMode::kRaw) << DTypeName(dtype);
      }
      EXPECT_LE(group.payloads[0].size(), shape.tile_bytes());
    }
  }
}

class LosslessPayload : public ::testing::TestWithParam<DType> {
 protected:
  const GroupShape shape_{GetParam(), Tensor::kK, 1, 64, 65};
  const std::string values_ = SyntheticKv(shape_.dtype, Tensor::kK, 1, 64, 65, 3);
};

TEST_P(LosslessPayload, FastRefusesWhatNoEncoderWrites) {
  const EncodedGroup group = Encode(shape_, values_, LosslessMode::kFast);
  ASSERT_EQ(group.modes[0], kLosslessFast);
  const std::string good = group.payloads[0];
  const FloatFields fields = FloatFieldsOf(shape_.dtype, SignPlace::kRaw);
  const auto with = [&](size_t from_end, int value) {
    std::string bad = good;
    bad[bad.size() - from_end] = static_cast<char>(value);
    return DecodeCode(shape_, kLosslessFast, bad);
  };
  const auto width = static_cast<uint32_t>(good.back());
  EXPECT_EQ(with(1, 0), kDataLoss);
  EXPECT_EQ(with(1, static_cast<int>(fields.exponent_bits)), kDataLoss);
  EXPECT_EQ(with(1, 255), kDataLoss);
  EXPECT_EQ(with(1, static_cast<int>(width) + 1), kDataLoss);  // the parts do not fit
  EXPECT_EQ(with(1, static_cast<int>(width) - 1), kDataLoss);
  EXPECT_EQ(with(2, static_cast<int>(fields.max_exponent() + 3 - (1u << width))),
            kDataLoss);  // the last base and one
  EXPECT_EQ(with(2, static_cast<int>(fields.max_exponent() + 2 - (1u << width))), absl::StatusCode::kOk);
  EXPECT_EQ(DecodeCode(shape_, kLosslessFast, good + '\0'), kDataLoss);
  EXPECT_EQ(DecodeCode(shape_, kLosslessFast, ""), kDataLoss);
  EXPECT_EQ(DecodeCode(shape_, kLosslessFast, std::string(shape_.tile_bytes(), '\1')), kDataLoss);
  if (fields.max_exponent() < 255) {
    EXPECT_EQ(with(3, static_cast<int>(fields.max_exponent()) + 1), kDataLoss);  // the last escape
  }
}

TEST_P(LosslessPayload, DenseRefusesWhatNoEncoderWrites) {
  const EncodedGroup group = Encode(shape_, values_, LosslessMode::kDense);
  ASSERT_EQ(group.modes[0], kLosslessDense);
  const std::string good = group.payloads[0];
  const auto with = [&](size_t from_end, int value) {
    std::string bad = good;
    bad[bad.size() - from_end] = static_cast<char>(value);
    return DecodeCode(shape_, kLosslessDense, bad);
  };
  const int tile_class = good[good.size() - 3];
  const auto stream = static_cast<uint8_t>(good[good.size() - 2]);
  for (const int flag : {32, 64, 128})
    EXPECT_EQ(with(3, tile_class | flag), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(with(3, 16 | 1), kDataLoss);
  EXPECT_EQ(with(3, 16 | 8), kDataLoss);
  EXPECT_EQ(with(3, tile_class ^ 16), kDataLoss);  // another length
  EXPECT_EQ(with(2, stream ^ 1), kDataLoss);
  EXPECT_EQ(with(2, stream ^ 2), kDataLoss);
  EXPECT_EQ(with(1, 0), kDataLoss);
  EXPECT_EQ(with(1, 255), kDataLoss);
  EXPECT_NE(DecodeCode(shape_, kLosslessDense, good + '\0'), absl::StatusCode::kOk);
  EXPECT_EQ(DecodeCode(shape_, kLosslessDense, ""), kDataLoss);
}

std::string NameOf(const ::testing::TestParamInfo<DType>& info) { return std::string(DTypeName(info.param)); }
INSTANTIATE_TEST_SUITE_P(Types, LosslessPayload, ::testing::ValuesIn(kDTypes), NameOf);

TEST(LosslessCodec, PaddingOfSideBitsIsZero) {
  // 65 values of 3 + width bits do not fill their last byte.
  const GroupShape shape{DType::kFp8E5m2, Tensor::kK, 1, 5, 13};
  std::vector<float> values(65, 1.0f);
  const EncodedGroup group = Encode(shape, ToBytes(shape.dtype, values), LosslessMode::kFast);
  ASSERT_EQ(group.modes[0], kLosslessFast);
  std::string payload = group.payloads[0];
  ASSERT_EQ(payload.size(), (65 * 4 + 7) / 8 + 2u);
  payload[payload.size() - 3] = static_cast<char>(payload[payload.size() - 3] | 0x80);
  EXPECT_EQ(DecodeCode(shape, kLosslessFast, payload), kDataLoss);
}

// The built-in tables are what FORMAT.md says they stand for: the probabilities of a mixture of normal
// distributions, but for the floor of one slot.
TEST(LosslessCodec, ClassesAreNormalDistributions) {
  const auto below = [](double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; };
  const auto frequencies = ExponentClassFrequencies();
  const double means[] = {0, 0.5, 1, 2};
  for (uint32_t c = 0; c < kExponentClasses; ++c) {
    const double width = std::exp2(c % 2 == 0 ? 0.25 : -0.25), mean = means[c / 2] * width;
    uint32_t sum = 0;
    for (uint32_t s = 0; s < kExponentSymbols; ++s) {
      const uint32_t frequency = frequencies[c * kExponentSymbols + s];
      sum += frequency;
      if (s / 2 == kEscapeDepth) continue;
      const double high = std::exp2(3.0 - s / 2), low = high / 2;
      double p = 0;
      for (const auto& [scale, weight] : {std::pair(0.8, 0.25), std::pair(1.0, 0.5), std::pair(1.2, 0.25)}) {
        const double w = width * scale;
        p += weight * (s % 2 == 0 ? below((high - mean) / w) - below((low - mean) / w)
                                  : below((-low - mean) / w) - below((-high - mean) / w));
      }
      EXPECT_NEAR(frequency, std::max(1.0, 1024 * p), 2.0 + 0.05 * 1024 * p) << c << " " << s;
    }
    EXPECT_EQ(sum, 1u << kExponentProbBits);
  }
}

}  // namespace
}  // namespace kvcompd::codec
