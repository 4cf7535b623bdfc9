// The intq kernels on every instruction set against their scalar reference, byte for byte.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "codec/base/types.h"
#include "codec/float_format.h"
#include "codec/simd/intq_dequantize.h"
#include "codec/simd/intq_quantize.h"
#include "codec/simd/intq_tile.h"
#include "codec/simd/intq_units.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;

// A buffer of exactly `bytes` at an odd address, for the sanitizers.
class OddBuffer {
 public:
  explicit OddBuffer(size_t bytes, uint8_t fill = 0) : bytes_(bytes + 1, std::byte{fill}) {}
  explicit OddBuffer(std::string_view text) : OddBuffer(text.size()) {
    std::memcpy(data(), text.data(), text.size());
  }
  std::byte* data() { return bytes_.data() + 1; }
  const std::byte* data() const { return bytes_.data() + 1; }
  friend bool operator==(const OddBuffer& a, const OddBuffer& b) {
    return a.bytes_.size() == b.bytes_.size() && std::memcmp(a.data(), b.data(), a.bytes_.size() - 1) == 0;
  }

 private:
  std::vector<std::byte> bytes_;
};

struct UnitArrays {
  explicit UnitArrays(uint32_t units)
      : zero(units + kIntqUnitsPadding, NAN),
        max(units + kIntqUnitsPadding, NAN),
        step(units + kIntqUnitsPadding, NAN),
        inverse(units + kIntqUnitsPadding, NAN) {}
  IntqUnits get() { return {zero.data(), max.data(), step.data(), inverse.data()}; }
  std::vector<float> zero, max, step, inverse;
};

std::vector<uint32_t> BitsOf(const std::vector<float>& floats, uint32_t n) {
  std::vector<uint32_t> bits;
  for (uint32_t i = 0; i < n; ++i) bits.push_back(std::bit_cast<uint32_t>(floats[i]));
  return bits;
}

// Everything that encoding and decoding a tile gives.
struct Coded {
  explicit Coded(const IntqTile& tile)
      : units(tile.units()),
        scales(2 * tile.units()),
        zeros(ElementBytes(tile.dtype) * tile.units()),
        codes(tile.scales_offset(), 0xa5),
        values(tile.tokens * tile.row_bytes(), 0x5a) {}
  bool finite = false;
  IntqUnitsKind kind = IntqUnitsKind::kInvalid;
  bool proven = false;
  float error = 0;
  UnitArrays units;
  OddBuffer scales, zeros, codes, values;
};

Coded Code(const IntqTile& tile, const OddBuffer& in) {
  Coded out(tile);
  const IntqUnits units = out.units.get();
  out.finite = FindIntqRanges(tile, in.data(), units.zero, units.max);
  if (!out.finite) return out;
  out.kind = ChooseIntqUnits(tile, units, out.scales.data(), out.zeros.data(), &out.proven);
  if (out.kind == IntqUnitsKind::kInvalid) return out;
  const bool ordinary = out.kind == IntqUnitsKind::kOrdinary;
  out.error = QuantizeIntq(tile, in.data(), units, ordinary, out.codes.data());
  UnitArrays read(tile.units());
  const IntqUnitsKind kind =
      ReadIntqUnits(tile, out.scales.data(), out.zeros.data(), read.step.data(), read.zero.data());
  EXPECT_NE(kind, IntqUnitsKind::kInvalid) << "what was written does not read";
  EXPECT_EQ(BitsOf(read.step, tile.units()), BitsOf(out.units.step, tile.units()));
  EXPECT_EQ(BitsOf(read.zero, tile.units()), BitsOf(out.units.zero, tile.units()));
  DequantizeIntq(tile, out.codes.data(), read.step.data(), read.zero.data(), ordinary, out.values.data());
  // Without what is known of the units, the values are the same.
  OddBuffer careful(tile.tokens * tile.row_bytes());
  DequantizeIntq(tile, out.codes.data(), read.step.data(), read.zero.data(), false, careful.data());
  EXPECT_TRUE(careful == out.values);
  return out;
}

class IntqKernels : public ::testing::TestWithParam<std::tuple<DType, Tensor>> {
 protected:
  ~IntqKernels() override { UseSimdTarget(SupportedSimdTargets().back()); }
  DType dtype() const { return std::get<0>(GetParam()); }
  Tensor tensor() const { return std::get<1>(GetParam()); }

  // On every instruction set as by the reference. Returns the reference's.
  Coded Check(const IntqTile& tile, const std::string& values) {
    const OddBuffer in(values);
    UseSimdTarget(SimdTarget::kScalar);
    Coded want = Code(tile, in);
    for (const SimdTarget target : SupportedSimdTargets()) {
      SCOPED_TRACE(::testing::Message()
                   << SimdTargetName(target) << ": bits " << tile.bits << " group " << tile.group
                   << " tokens " << tile.tokens << " channels " << tile.channels);
      UseSimdTarget(target);
      const Coded got = Code(tile, in);
      EXPECT_EQ(got.finite, want.finite);
      if (!want.finite || !got.finite) continue;
      for (uint32_t u = 0; u < tile.units(); ++u) EXPECT_EQ(got.units.max[u], want.units.max[u]);
      EXPECT_EQ(BitsOf(got.units.zero, tile.units()), BitsOf(want.units.zero, tile.units()));
      EXPECT_EQ(got.kind == IntqUnitsKind::kInvalid, want.kind == IntqUnitsKind::kInvalid);
      if (want.kind == IntqUnitsKind::kInvalid) continue;
      EXPECT_EQ(got.proven, want.proven);
      EXPECT_EQ(BitsOf(got.units.step, tile.units()), BitsOf(want.units.step, tile.units()));
      EXPECT_EQ(BitsOf(got.units.inverse, tile.units()), BitsOf(want.units.inverse, tile.units()));
      EXPECT_TRUE(got.scales == want.scales);
      EXPECT_TRUE(got.zeros == want.zeros);
      EXPECT_TRUE(got.codes == want.codes);
      EXPECT_EQ(std::bit_cast<uint32_t>(got.error), std::bit_cast<uint32_t>(want.error));
      EXPECT_TRUE(got.values == want.values);
    }
    return want;
  }

  std::string Patterns(size_t n, bool finite, Random* random) const {
    const uint32_t element = ElementBytes(dtype());
    std::string bytes;
    while (bytes.size() < n * element) {
      const uint32_t bits = random->Below(1u << (8 * element));
      if (finite && !IsFinite(dtype(), bits)) continue;
      bytes.append(reinterpret_cast<const char*>(&bits), element);
    }
    return bytes;
  }
};

TEST_P(IntqKernels, AgreeOnEveryShape) {
  uint64_t seed = 0;
  for (const uint32_t channels : {8u,  9u,   15u,  16u,  20u,  24u,  31u,  33u,  40u,  48u,  64u, 80u,
                                  96u, 100u, 112u, 127u, 128u, 192u, 256u, 320u, 384u, 512u, 576u}) {
    for (const uint32_t tokens : {1u, 2u, 31u, 33u, 64u}) {
      for (const uint32_t bits : {2u, 4u, 8u}) {
        const uint32_t group = 32u << (++seed % 3);
        const IntqTile tile{dtype(), tensor(), bits, group, tokens, channels};
        const Coded coded =
            Check(tile, kvcompd::testing::SyntheticKv(dtype(), tensor(), 1, tokens, channels, seed));
        EXPECT_TRUE(coded.finite);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

// Values over the whole range of the type: denormals, sums that saturate, ranges that overflow.
TEST_P(IntqKernels, AgreeOnEveryMagnitude) {
  Random random(5);
  for (const uint32_t bits : {2u, 4u, 8u}) {
    for (const uint32_t channels : {8u, 33u, 64u, 128u}) {
      for (int i = 0; i < 16; ++i) {
        const IntqTile tile{dtype(), tensor(), bits, 32, 1 + random.Below(64), channels};
        const size_t n = size_t{tile.tokens} * channels;
        std::string values = Patterns(n, true, &random);
        // A narrow band of exponents, another each time.
        const uint32_t element = ElementBytes(dtype());
        for (size_t k = 0; i % 4 != 0 && k < n; ++k) {
          const FloatFormat format = FloatFormatOf(dtype());
          const uint32_t magnitude =
              random.Below(3u << format.man_bits) + format.max_finite / 16 * static_cast<uint32_t>(i);
          const uint32_t one = std::min(magnitude, format.max_finite) | (random.Below(2) ? format.sign : 0);
          std::memcpy(values.data() + k * element, &one, element);
        }
        Check(tile, values);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

TEST_P(IntqKernels, FindWhatIsNotFinite) {
  Random random(6);
  for (const uint32_t channels : {8u, 31u, 64u, 128u, 130u}) {
    for (int i = 0; i < 20; ++i) {
      const IntqTile tile{dtype(), tensor(), 4, 32u << random.Below(3), 1 + random.Below(64), channels};
      const uint32_t element = ElementBytes(dtype());
      std::string values = Patterns(size_t{tile.tokens} * channels, true, &random);
      const uint32_t nan =
          FloatFormatOf(dtype()).quiet_nan | (random.Below(2) ? FloatFormatOf(dtype()).sign : 0);
      std::memcpy(values.data() + random.Below(tile.tokens * channels) * element, &nan, element);
      EXPECT_FALSE(Check(tile, values).finite);
      ASSERT_FALSE(HasFailure());
    }
  }
}

// Scales and zeros of any bits: the same are refused everywhere, and others decode to the same values.
TEST_P(IntqKernels, AgreeOnAnySideInformation) {
  Random random(7);
  const uint32_t element = ElementBytes(dtype());
  for (int i = 0; i < 400; ++i) {
    const uint32_t channels = 8 + random.Below(130), bits = 2u << random.Below(3);
    const IntqTile tile{dtype(), tensor(), bits, 32, 1 + random.Below(64), channels};
    const FloatFormat format = FloatFormatOf(dtype());
    std::string scales, zeros, codes;
    for (uint32_t u = 0; u < tile.units(); ++u) {
      const uint32_t scale =
          random.Below(8) == 0 ? 0 : kIntqMinScale + random.Below(IntqMaxScale(bits) - 255);
      uint32_t zero = random.Below(format.max_finite + 1) | (random.Below(2) != 0 ? format.sign : 0);
      if (zero == format.sign) zero = 0;
      scales.append(reinterpret_cast<const char*>(&scale), 2);
      zeros.append(reinterpret_cast<const char*>(&zero), element);
    }
    const uint32_t bad_scales[] = {1, 0xff, IntqMaxScale(bits) + 1, 0xffff};
    const uint32_t bad_zeros[] = {format.sign, format.quiet_nan, format.quiet_nan | format.sign};
    const uint32_t u = random.Below(tile.units());
    const int kind = i % 4;
    if (kind == 1) std::memcpy(scales.data() + 2 * u, &bad_scales[random.Below(4)], 2);
    if (kind == 2) std::memcpy(zeros.data() + element * u, &bad_zeros[random.Below(3)], element);
    for (uint32_t b = 0; b < tile.scales_offset(); ++b) codes.push_back(static_cast<char>(random.Below(256)));

    const OddBuffer stored_scales(scales), stored_zeros(zeros), stored_codes(codes);
    std::vector<OddBuffer> values;
    for (const SimdTarget target : SupportedSimdTargets()) {
      UseSimdTarget(target);
      UnitArrays units(tile.units());
      const IntqUnitsKind read = ReadIntqUnits(tile, stored_scales.data(), stored_zeros.data(),
                                               units.step.data(), units.zero.data());
      ASSERT_EQ(read == IntqUnitsKind::kInvalid, kind == 1 || kind == 2) << SimdTargetName(target);
      if (read == IntqUnitsKind::kInvalid) continue;
      OddBuffer decoded(tile.tokens * tile.row_bytes());
      DequantizeIntq(tile, stored_codes.data(), units.step.data(), units.zero.data(),
                     read == IntqUnitsKind::kOrdinary, decoded.data());
      values.push_back(decoded);
      ASSERT_TRUE(values.back() == values.front()) << SimdTargetName(target);
    }
  }
}

// The units of which the conversions make use are not taken for more than they are.
TEST(IntqUnits, OrdinaryIsWhatItSays) {
  for (const SimdTarget target : SupportedSimdTargets()) {
    if (target == SimdTarget::kScalar) continue;
    UseSimdTarget(target);
    const auto kind_of = [](DType dtype, uint32_t bits, uint16_t scale, uint16_t zero) {
      const IntqTile tile{dtype, Tensor::kK, bits, 32, 1, 8};
      std::string scales, zeros;
      for (int i = 0; i < 8; ++i) {
        scales.append(reinterpret_cast<const char*>(&scale), 2);
        zeros.append(reinterpret_cast<const char*>(&zero), ElementBytes(dtype));
      }
      UnitArrays units(8);
      return ReadIntqUnits(tile, AsBytes(scales).data(), AsBytes(zeros).data(), units.step.data(),
                           units.zero.data());
    };
    const auto bf16 = [&](uint16_t scale, uint16_t zero) { return kind_of(DType::kBf16, 4, scale, zero); };
    EXPECT_EQ(bf16(0x7dde, 0x3f80), IntqUnitsKind::kOrdinary);
    EXPECT_EQ(bf16(0, 0), IntqUnitsKind::kOrdinary);
    EXPECT_EQ(bf16(0, 0x0001), IntqUnitsKind::kAny);       // a denormal
    EXPECT_EQ(bf16(0x7dde, 0x03ff), IntqUnitsKind::kAny);  // its last place is a denormal's
    EXPECT_EQ(bf16(0x7dde, 0x8400), IntqUnitsKind::kOrdinary);
    EXPECT_EQ(bf16(0x08ff, 0), IntqUnitsKind::kAny);
    EXPECT_EQ(bf16(0x0900, 0), IntqUnitsKind::kOrdinary);
    EXPECT_EQ(bf16(0x7dde, 0x7f7f), IntqUnitsKind::kAny);  // 15 steps more saturate
    EXPECT_EQ(bf16(IntqMaxScale(4), 0), IntqUnitsKind::kAny);
    EXPECT_EQ(kind_of(DType::kFp16, 4, 0x7dde, 0x3c00), IntqUnitsKind::kOrdinary);
    EXPECT_EQ(kind_of(DType::kFp16, 4, 0x7dde, 0x7bff), IntqUnitsKind::kAny);
  }
  UseSimdTarget(SupportedSimdTargets().back());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, IntqKernels,
                         ::testing::Combine(::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3,
                                                              DType::kFp8E5m2),
                                            ::testing::Values(Tensor::kK, Tensor::kV)),
                         [](const auto& info) {
                           return std::string(DTypeName(std::get<0>(info.param))) + "_" +
                                  std::string(TensorName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace kvcompd::codec
