#include "codec/float_format.h"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace kvcompd::codec {
namespace {

class FloatFormatTest : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  uint32_t patterns() const { return 1u << (8 * ElementBytes(dtype())); }

  // The value by definition, independent of the code under test: sign, fraction and exponent in long double.
  long double Oracle(uint32_t bits) const {
    const FloatFormat f = FloatFormatOf(dtype());
    const uint32_t magnitude = bits & (f.sign - 1);
    const int exp_field = static_cast<int>(magnitude >> f.man_bits);
    const auto man = static_cast<long double>(magnitude & ((1u << f.man_bits) - 1));
    const long double one = static_cast<long double>(1u << f.man_bits);
    const long double v = exp_field == 0 ? std::ldexp(man / one, f.min_exp)
                                         : std::ldexp(1 + man / one, f.min_exp + exp_field - 1);
    return bits & f.sign ? -v : v;
  }
};

TEST(FloatFormat, KnownValues) {
  EXPECT_EQ(FloatOfBits(DType::kBf16, 0x3f80), 1.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp16, 0x3c00), 1.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp16, 0x7bff), 65504.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp16, 0x0001), 0x1p-24f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E4m3, 0x38), 1.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E4m3, 0x7e), 448.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E4m3, 0x01), 0x1p-9f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E5m2, 0x3c), 1.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E5m2, 0x7b), 57344.0f);
  EXPECT_EQ(FloatOfBits(DType::kFp8E5m2, 0xfb), -57344.0f);
}

TEST(FloatFormat, FiniteEdges) {
  EXPECT_TRUE(IsFinite(DType::kBf16, 0x7f7f));
  EXPECT_FALSE(IsFinite(DType::kBf16, 0x7f80));
  EXPECT_FALSE(IsFinite(DType::kBf16, 0xff80));
  EXPECT_FALSE(IsFinite(DType::kFp16, 0x7c01));
  EXPECT_TRUE(IsFinite(DType::kFp8E4m3, 0xfe));
  EXPECT_FALSE(IsFinite(DType::kFp8E4m3, 0x7f));
  EXPECT_FALSE(IsFinite(DType::kFp8E4m3, 0xff));
  EXPECT_FALSE(IsFinite(DType::kFp8E5m2, 0x7c));
}

TEST_P(FloatFormatTest, EveryFinitePatternIsExactAndComesBack) {
  for (uint32_t bits = 0; bits < patterns(); ++bits) {
    if (!IsFinite(dtype(), bits)) continue;
    const float value = FloatOfBits(dtype(), bits);
    ASSERT_EQ(static_cast<long double>(value), Oracle(bits)) << std::hex << bits;
    ASSERT_EQ(std::signbit(value), (bits & FloatFormatOf(dtype()).sign) != 0);
    ASSERT_EQ(BitsOfFloat(dtype(), value), bits) << std::hex << bits;
  }
}

TEST_P(FloatFormatTest, RoundsToNearestAndTiesToEven) {
  const FloatFormat f = FloatFormatOf(dtype());
  kvcompd::testing::Random random(7);
  for (uint32_t low = 0; low < f.max_finite; ++low) {
    const long double a = Oracle(low), b = Oracle(low + 1), middle = (a + b) / 2;
    const uint32_t even = low & 1 ? low + 1 : low;
    // fp32 has at least 16 more bits, so the middle is exact but for the smallest bf16 denormals.
    if (static_cast<long double>(static_cast<float>(middle)) == middle) {
      ASSERT_EQ(BitsOfFloat(dtype(), static_cast<float>(middle)), even) << low;
      ASSERT_EQ(BitsOfFloat(dtype(), -static_cast<float>(middle)), even | f.sign) << low;
      ASSERT_EQ(BitsOfFloat(dtype(), std::nextafter(static_cast<float>(middle), 0.0f)), low);
      ASSERT_EQ(BitsOfFloat(dtype(), std::nextafter(static_cast<float>(middle), INFINITY)), low + 1);
    }
    const auto x = static_cast<float>(a + (b - a) * static_cast<long double>(random.Uniform()));
    const long double to_a = x - a, to_b = b - x;
    ASSERT_EQ(BitsOfFloat(dtype(), x), to_a < to_b ? low : to_b < to_a ? low + 1 : even) << x;
  }
}

TEST_P(FloatFormatTest, SaturatesAndNeverMakesInfinityOfAFiniteValue) {
  const FloatFormat f = FloatFormatOf(dtype());
  for (const float x : {std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity(),
                        std::nextafter(FloatOfBits(dtype(), f.max_finite), INFINITY)}) {
    EXPECT_EQ(BitsOfFloat(dtype(), x), f.max_finite);
    EXPECT_EQ(BitsOfFloat(dtype(), -x), f.max_finite | f.sign);
  }
  const uint16_t nan = BitsOfFloat(dtype(), std::numeric_limits<float>::quiet_NaN());
  EXPECT_FALSE(IsFinite(dtype(), nan));
}

TEST_P(FloatFormatTest, TinyValuesKeepTheirSign) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(BitsOfFloat(dtype(), tiny), 0);
  EXPECT_EQ(BitsOfFloat(dtype(), -tiny), FloatFormatOf(dtype()).sign);
  EXPECT_EQ(BitsOfFloat(dtype(), -0.0f), FloatFormatOf(dtype()).sign);
}

TEST_P(FloatFormatTest, HalfUlpIsHalfTheGapAboveEveryValue) {
  const FloatFormat f = FloatFormatOf(dtype());
  for (uint32_t low = 0; low < f.max_finite; ++low) {
    ASSERT_EQ(static_cast<long double>(HalfUlp(dtype(), FloatOfBits(dtype(), low))),
              (Oracle(low + 1) - Oracle(low)) / 2)
        << low;
  }
  const double last = HalfUlp(dtype(), FloatOfBits(dtype(), f.max_finite));
  EXPECT_EQ(HalfUlp(dtype(), std::numeric_limits<float>::infinity()), last);
  EXPECT_EQ(HalfUlp(dtype(), 0.0f), HalfUlp(dtype(), FloatOfBits(dtype(), 1)));
}

TEST_P(FloatFormatTest, ArraysAgreeWithElements) {
  std::string bytes;
  for (uint32_t b = 0; b < patterns(); ++b) {
    bytes.push_back(static_cast<char>(b));
    if (ElementBytes(dtype()) == 2) bytes.push_back(static_cast<char>(b >> 8));
  }
  // Shifted by one byte: elements may lie at any address.
  const std::string shifted = "x" + bytes;
  const std::byte* const values = AsBytes(shifted).data() + 1;
  std::vector<float> floats(patterns());
  FloatsOfValues(dtype(), values, floats.size(), floats.data());
  bool all_finite = true;
  for (uint32_t b = 0; b < patterns(); ++b) {
    const bool finite = IsFinite(dtype(), b);
    all_finite &= finite;
    ASSERT_EQ(AllFinite(dtype(), values + b * ElementBytes(dtype()), 1), finite);
    if (finite) {
      ASSERT_EQ(std::bit_cast<uint32_t>(floats[b]), std::bit_cast<uint32_t>(FloatOfBits(dtype(), b)));
    } else {
      floats[b] = 0;
    }
  }
  EXPECT_EQ(AllFinite(dtype(), values, patterns()), all_finite);
  std::vector<float> rounded(floats.size());
  RoundFloats(dtype(), floats.data(), floats.size(), rounded.data());
  EXPECT_EQ(rounded, floats);
  std::string back(bytes.size() + 1, '\0');
  ValuesOfFloats(dtype(), floats.data(), floats.size(), reinterpret_cast<std::byte*>(back.data()) + 1);
  for (uint32_t b = 0; b < patterns(); ++b) {
    if (!IsFinite(dtype(), b)) continue;
    const size_t at = 1 + size_t{b} * ElementBytes(dtype());
    ASSERT_EQ(back.substr(at, ElementBytes(dtype())), shifted.substr(at, ElementBytes(dtype())));
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, FloatFormatTest,
                         ::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(FloatEnvironment, RefusesOtherRoundingAndFlushedDenormals) {
  EXPECT_TRUE(CheckFloatEnvironment().ok());
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  const absl::Status upward = CheckFloatEnvironment();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(upward.code(), absl::StatusCode::kFailedPrecondition);
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  for (const unsigned bit : {0x8000u, 0x0040u}) {  // flush to zero, denormals are zero
    _mm_setcsr(before | bit);
    const absl::Status flushed = CheckFloatEnvironment();
    _mm_setcsr(before);
    EXPECT_EQ(flushed.code(), absl::StatusCode::kFailedPrecondition) << bit;
  }
#endif
  EXPECT_TRUE(CheckFloatEnvironment().ok());
}

}  // namespace
}  // namespace kvcompd::codec
