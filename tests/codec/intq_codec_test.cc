// What codec intq promises beyond the codec suite: the values, sizes and places that codec/FORMAT.md gives,
// the error bound on both sides, and what a reader refuses.
#include "codec/intq_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/float_format.h"
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
using kvcompd::testing::ToFloats;

const Codec& Intq() { return *FindCodec(CodecId::kIntq); }

EncodedGroup Encode(const GroupShape& shape, const std::string& values, const std::string& profile) {
  auto group =
      kvcompd::testing::EncodeGroup(Intq(), shape, values, {.profile = Profile::Parse(profile).value()});
  EXPECT_TRUE(group.ok()) << group.status();
  return group.ok() ? *std::move(group) : EncodedGroup();
}

// A tile as codec/FORMAT.md has it, computed value by value with nothing of the code under test.
struct Oracle {
  Oracle(const GroupShape& tile_shape, uint32_t tile_bits, uint32_t group)
      : shape(tile_shape),
        bits(tile_bits),
        run(tile_shape.tensor == Tensor::kK ? std::min(group, 64u) : group),
        runs(tile_shape.tensor == Tensor::kK ? (tile_shape.tokens + run - 1) / run
                                             : (tile_shape.channels + run - 1) / run),
        units(tile_shape.tensor == Tensor::kK ? runs * tile_shape.channels : runs * tile_shape.tokens),
        words((tile_shape.channels * bits + 31) / 32) {}

  uint32_t Unit(uint32_t t, uint32_t c) const {
    return shape.tensor == Tensor::kK ? t / run * shape.channels + c : t * runs + c / run;
  }
  uint32_t PayloadBytes() const { return 4 * words * shape.tokens + units * (2 + ElementBytes(shape.dtype)); }
  uint32_t Code(const std::string& payload, uint32_t t, uint32_t c) const {
    uint32_t word;
    std::memcpy(&word, payload.data() + 4 * (t * words + c % words), 4);
    return word >> (c / words * bits) & ((1u << bits) - 1);
  }
  float Step(const std::string& payload, uint32_t u) const {
    uint16_t scale;
    std::memcpy(&scale, payload.data() + 4 * words * shape.tokens + 2 * u, 2);
    return std::bit_cast<float>(static_cast<uint32_t>(scale) << 15);
  }
  float Zero(const std::string& payload, uint32_t u) const {
    const uint32_t element = ElementBytes(shape.dtype);
    uint16_t stored = 0;
    std::memcpy(&stored, payload.data() + 4 * words * shape.tokens + 2 * units + element * u, element);
    return FloatOfBits(shape.dtype, stored);
  }

  const GroupShape shape;
  const uint32_t bits, run, runs, units, words;
};

struct Errors {
  double worst_over_r = 0;
  double mean_square_over_r = 0;
};

// Checks codes, values and the bound of one tile.
Errors CheckTile(const Oracle& oracle, const std::string& values, const std::string& payload,
                 const std::string& decoded) {
  const GroupShape& shape = oracle.shape;
  const std::vector<float> x = ToFloats(shape.dtype, values), y = ToFloats(shape.dtype, decoded);
  std::vector<float> min(oracle.units, INFINITY), max(oracle.units, -INFINITY);
  const auto each = [&](const std::function<void(uint32_t, uint32_t, size_t)>& visit) {
    for (uint32_t t = 0; t < shape.tokens; ++t) {
      for (uint32_t c = 0; c < shape.channels; ++c)
        visit(oracle.Unit(t, c), oracle.Code(payload, t, c), size_t{t} * shape.channels + c);
    }
  };
  each([&](uint32_t u, uint32_t, size_t i) {
    min[u] = std::min(min[u], x[i]);
    max[u] = std::max(max[u], x[i]);
  });
  const double q = (1 << oracle.bits) - 1;
  for (uint32_t u = 0; u < oracle.units; ++u) {
    EXPECT_EQ(oracle.Zero(payload, u), min[u]);
    const double nominal = (static_cast<double>(max[u]) - static_cast<double>(min[u])) / q;
    // The nearest of 9 significant bits.
    EXPECT_NEAR(static_cast<double>(oracle.Step(payload, u)), nominal, nominal * (0x1p-9 + 0x1p-20));
  }
  Errors errors;
  uint64_t values_of_ranges = 0;
  each([&](uint32_t u, uint32_t code, size_t i) {
    const float step = oracle.Step(payload, u), zero = oracle.Zero(payload, u);
    const float approx = static_cast<float>(code) * step + zero;
    EXPECT_EQ(y[i], FloatOfBits(shape.dtype, BitsOfFloat(shape.dtype, approx)));
    const double error = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    const double r = 1 / q * (static_cast<double>(max[u]) - static_cast<double>(min[u])) / 2;
    EXPECT_LE(error, r * (1.0 + 1.0 / 256) + HalfUlp(shape.dtype, approx)) << x[i] << " " << y[i];
    if (r == 0) return;
    errors.worst_over_r = std::max(errors.worst_over_r, error / r);
    errors.mean_square_over_r += error * error / (r * r);
    ++values_of_ranges;
  });
  if (values_of_ranges > 0) errors.mean_square_over_r /= static_cast<double>(values_of_ranges);
  return errors;
}

class IntqCodecTest : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
};

TEST_P(IntqCodecTest, TilesAreWhatTheFormatSays) {
  int coded = 0;
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    for (const uint32_t bits : {2u, 4u, 8u}) {
      for (const uint32_t group : {32u, 64u, 128u}) {
        for (const auto& [tokens, channels] :
             {std::pair{64u, 128u}, {64u, 64u}, {40u, 80u}, {33u, 33u}, {64u, 576u}}) {
          const GroupShape shape{dtype(), tensor, 2, tokens, channels};
          const std::string values = SyntheticKv(dtype(), tensor, 2, tokens, channels, bits * group);
          const EncodedGroup out = Encode(shape, values, absl::StrCat("intq:bits=", bits, ",group=", group));
          const Oracle oracle(shape, bits, group);
          const bool smaller = (oracle.PayloadBytes() + 15) / 16 < (shape.tile_bytes() + 15) / 16;
          for (uint32_t h = 0; h < 2; ++h) {
            SCOPED_TRACE(absl::StrCat(static_cast<int>(tensor), " bits ", bits, " group ", group, " ", tokens,
                                      "x", channels));
            ASSERT_EQ(out.modes[h], smaller ? IntqModeOf(bits, group) : TileMode::kRaw);
            if (!smaller) continue;
            ASSERT_EQ(out.payloads[h].size(), oracle.PayloadBytes());
            const std::string tile = values.substr(h * shape.tile_bytes(), shape.tile_bytes());
            const Errors errors =
                CheckTile(oracle, tile, out.payloads[h], DecodeTile(Intq(), shape, out, h).value());
            ASSERT_FALSE(HasFailure());
            ++coded;
            if (ElementBytes(dtype()) == 1 || bits == 8) continue;  // the dtype's own rounding is not small
            // As large as a uniform quantiser's errors are, and no smaller: the codes have no bits to spare.
            EXPECT_GT(errors.worst_over_r, 0.9);
            EXPECT_GT(errors.mean_square_over_r, 0.2);
            EXPECT_LT(errors.mean_square_over_r, 0.45);
          }
        }
      }
    }
  }
  EXPECT_GT(coded, 60);
}

TEST_P(IntqCodecTest, RecordsTheLargestErrorInStoredSteps) {
  const GroupShape shape{dtype(), Tensor::kK, 1, 64, 64};
  const std::string values = SyntheticKv(dtype(), Tensor::kK, 1, 64, 64, 3);
  const EncodedGroup out = Encode(shape, values, "intq:bits=4,group=32");
  const Oracle oracle(shape, 4, 32);
  const std::vector<float> x = ToFloats(dtype(), values),
                           y = ToFloats(dtype(), DecodeTile(Intq(), shape, out, 0).value());
  float worst = 0;
  for (uint32_t t = 0; t < 64; ++t) {
    for (uint32_t c = 0; c < 64; ++c) {
      const float step = oracle.Step(out.payloads[0], oracle.Unit(t, c));
      if (step != 0) worst = std::max(worst, std::fabs(x[t * 64 + c] - y[t * 64 + c]) * (1 / step));
    }
  }
  EXPECT_EQ(out.stats.max_error_over_r, 2.0 * static_cast<double>(worst));
}

// Means that are large to the step: the bound is checked value by value, and kept.
TEST_P(IntqCodecTest, KeepsTheBoundWhereTheMeanIsLarge) {
  Random random(2);
  int coded = 0;
  for (int i = 0; i < 60; ++i) {
    const GroupShape shape{dtype(), i % 2 == 0 ? Tensor::kK : Tensor::kV, 1, 64, 128};
    const FloatFormat format = FloatFormatOf(dtype());
    // Neighbouring values of the type: the range is a few units in the last place.
    const uint32_t base = 1 + random.Below(format.max_finite - 8), spread = 2 + random.Below(7);
    std::string values;
    for (uint32_t k = 0; k < 64 * 128; ++k) {
      const uint32_t bits = base + random.Below(spread);
      values.append(reinterpret_cast<const char*>(&bits), ElementBytes(dtype()));
    }
    for (const uint32_t bits : {2u, 4u, 8u}) {
      const EncodedGroup out = Encode(shape, values, absl::StrCat("intq:bits=", bits, ",group=64"));
      if (out.modes[0] == TileMode::kRaw) continue;
      ++coded;
      CheckTile(Oracle(shape, bits, 64), values, out.payloads[0], DecodeTile(Intq(), shape, out, 0).value());
      ASSERT_FALSE(HasFailure()) << base << " " << spread;
    }
  }
  EXPECT_GT(coded, 30);
}

TEST_P(IntqCodecTest, ConstantUnitsComeBack) {
  for (const float value : {0.0f, -0.0f, 1.5f, -3.0f}) {
    const GroupShape shape{dtype(), Tensor::kV, 1, 64, 128};
    const EncodedGroup out =
        Encode(shape, ToBytes(dtype(), std::vector<float>(64 * 128, value)), "intq:bits=2,group=32");
    ASSERT_NE(out.modes[0], TileMode::kRaw);
    EXPECT_EQ(out.payloads[0].substr(0, 64 * 32), std::string(64 * 32, '\0')) << "codes";
    for (const float y : ToFloats(dtype(), DecodeTile(Intq(), shape, out, 0).value())) ASSERT_EQ(y, value);
    EXPECT_EQ(out.stats.max_error_over_r, 0);
  }
}

TEST_P(IntqCodecTest, OnlyTheTileWithNanIsRaw) {
  const GroupShape shape{dtype(), Tensor::kV, 3, 64, 64};
  std::string values = SyntheticKv(dtype(), Tensor::kV, 3, 64, 64, 4);
  const uint32_t nan = FloatFormatOf(dtype()).quiet_nan;
  std::memcpy(values.data() + shape.tile_bytes() + 333 * ElementBytes(dtype()), &nan, ElementBytes(dtype()));
  const EncodedGroup out = Encode(shape, values, "intq:bits=4,group=32");
  EXPECT_EQ(out.modes[0], IntqModeOf(4, 32));
  EXPECT_EQ(out.modes[1], TileMode::kRaw);
  EXPECT_EQ(out.modes[2], IntqModeOf(4, 32));
  EXPECT_EQ(out.stats.nonfinite_tiles, 1u);
  EXPECT_EQ(out.payloads[1], values.substr(shape.tile_bytes(), shape.tile_bytes()));
}

INSTANTIATE_TEST_SUITE_P(AllTypes, IntqCodecTest,
                         ::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(IntqCodec, StepsOutOfRangeMakeTilesRaw) {
  const GroupShape shape{DType::kBf16, Tensor::kV, 1, 64, 64};
  for (const uint32_t bits : {2u, 4u, 8u}) {
    for (const float magnitude : {3e38f, 1e-39f}) {
      std::vector<float> values(64 * 64, 0.0f);
      for (size_t i = 0; i < values.size(); i += 2) values[i] = i % 4 == 0 ? magnitude : -magnitude;
      const std::string bytes = ToBytes(shape.dtype, values);
      const EncodedGroup out = Encode(shape, bytes, absl::StrCat("intq:bits=", bits, ",group=32"));
      EXPECT_EQ(out.modes[0], TileMode::kRaw) << magnitude;
      EXPECT_EQ(out.stats.bound_tiles, 1u);
      EXPECT_EQ(out.payloads[0], bytes);
    }
  }
}

// Of KIVI's 16 bits for a scale and 16 for a zero.
TEST(IntqCodec, RateIsBitsAnd32OfAGroup) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 64, 128};
  const double values = 64 * 128;
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    GroupShape s = shape;
    s.tensor = tensor;
    const std::string bytes = SyntheticKv(s.dtype, tensor, 1, 64, 128, 1);
    EXPECT_EQ(8.0 * static_cast<double>(Encode(s, bytes, "intq:bits=4,group=32").payloads[0].size()) / values,
              5.0);
    EXPECT_EQ(8.0 * static_cast<double>(Encode(s, bytes, "intq:bits=2,group=32").payloads[0].size()) / values,
              3.0);
    EXPECT_EQ(8.0 * static_cast<double>(Encode(s, bytes, "intq:bits=2,group=64").payloads[0].size()) / values,
              2.5);
  }
}

TEST(IntqCodec, BitsOfVMayDiffer) {
  const std::string values = SyntheticKv(DType::kBf16, Tensor::kV, 1, 64, 64, 1);
  const auto mode_of = [&](Tensor tensor) {
    return Encode({DType::kBf16, tensor, 1, 64, 64}, values, "intq:bits=8,group=64,bits_v=2").modes[0];
  };
  EXPECT_EQ(mode_of(Tensor::kK), IntqModeOf(8, 64));
  EXPECT_EQ(mode_of(Tensor::kV), IntqModeOf(2, 64));
}

class IntqReader : public ::testing::Test {
 protected:
  // Padding bits in the last words of a row: 9 channels in 2 words.
  const GroupShape shape_{DType::kBf16, Tensor::kV, 1, 64, 9};
  const EncodedGroup out_ =
      Encode(shape_, SyntheticKv(DType::kBf16, Tensor::kV, 1, 64, 9, 1), "intq:bits=4,group=32");
  const uint32_t scales_ = 64 * 2 * 4, zeros_ = scales_ + 64 * 2;

  absl::StatusCode With(size_t at, uint8_t low, uint8_t high) const {
    std::string payload = out_.payloads[0];
    payload[at] = static_cast<char>(low);
    payload[at + 1] = static_cast<char>(high);
    return DecodeTile(Intq(), shape_, "", out_.modes[0], payload, nullptr).status().code();
  }
};

TEST_F(IntqReader, RefusesScalesAndZerosThatNoEncoderWrites) {
  ASSERT_EQ(out_.modes[0], IntqModeOf(4, 32));
  for (const uint32_t u : {0u, 17u, 63u}) {
    const size_t scale = scales_ + 2 * u, zero = zeros_ + 2 * u;
    EXPECT_EQ(With(scale, 0x00, 0x00), absl::StatusCode::kOk);
    EXPECT_EQ(With(scale, 0x01, 0x00), absl::StatusCode::kDataLoss);
    EXPECT_EQ(With(scale, 0xff, 0x00), absl::StatusCode::kDataLoss);
    EXPECT_EQ(With(scale, 0x00, 0x01), absl::StatusCode::kOk);
    EXPECT_EQ(With(scale, 0xff, 0xfa), absl::StatusCode::kOk);
    EXPECT_EQ(With(scale, 0x00, 0xfb), absl::StatusCode::kDataLoss);
    EXPECT_EQ(With(zero, 0x00, 0x00), absl::StatusCode::kOk);
    EXPECT_EQ(With(zero, 0x00, 0x80), absl::StatusCode::kDataLoss);
    EXPECT_EQ(With(zero, 0x80, 0x7f), absl::StatusCode::kDataLoss);
    EXPECT_EQ(With(zero, 0x7f, 0xff), absl::StatusCode::kOk);
    EXPECT_EQ(With(zero, 0x81, 0xff), absl::StatusCode::kDataLoss);
  }
}

TEST_F(IntqReader, RefusesPaddingThatIsNotZero) {
  // Word 0 has the codes of channels 0, 2, 4, 6, 8, word 1 those of 1, 3, 5, 7.
  for (const uint32_t token : {0u, 63u}) {
    for (uint32_t bit = 0; bit < 64; ++bit) {
      std::string payload = out_.payloads[0];
      const size_t at = token * 8 + bit / 8;
      payload[at] = static_cast<char>(payload[at] ^ (1 << bit % 8));
      const bool padding = bit < 32 ? bit >= 20 : bit >= 48;
      EXPECT_EQ(DecodeTile(Intq(), shape_, "", out_.modes[0], payload, nullptr).status().code(),
                padding ? absl::StatusCode::kDataLoss : absl::StatusCode::kOk)
          << token << " " << bit;
    }
  }
}

TEST_F(IntqReader, RefusesWhatShouldBeAnotherTile) {
  const auto decode = [&](const GroupShape& shape, std::string_view header, int mode,
                          const std::string& payload) {
    return DecodeTile(Intq(), shape, header, static_cast<TileMode>(mode), payload, nullptr).status().code();
  };
  const std::string& payload = out_.payloads[0];
  EXPECT_EQ(decode(shape_, "", 4, payload), absl::StatusCode::kOk);
  EXPECT_EQ(decode(shape_, "x", 4, payload), absl::StatusCode::kDataLoss) << "a group header";
  EXPECT_EQ(decode(shape_, "", 1, payload), absl::StatusCode::kDataLoss) << "2 bits have another size";
  EXPECT_EQ(decode(shape_, "", 10, payload), absl::StatusCode::kUnimplemented);
  GroupShape opaque = shape_;
  opaque.dtype = DType::kOpaque;
  EXPECT_EQ(decode(opaque, "", 4, payload), absl::StatusCode::kDataLoss);
  // 8 bits of fp8 are no smaller than the values.
  const GroupShape fp8{DType::kFp8E4m3, Tensor::kV, 1, 2, 32};
  EXPECT_EQ(decode(fp8, "", 7, std::string(2 * 32 + 2 * 3, '\0')), absl::StatusCode::kDataLoss);
  // More than the values by less than the padding.
  const GroupShape small{DType::kBf16, Tensor::kV, 1, 1, 8};
  EXPECT_EQ(decode(small, "", 7, std::string(8 + 4, '\0')), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace kvcompd::codec
