// The kernels of codec lossless: every instruction set writes and reads what the scalar reference does, byte
// for byte, within its buffers.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/simd/exponent_codes.h"
#include "codec/simd/exponent_symbols.h"
#include "codec/simd/float_fields.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;

constexpr DType kDTypes[] = {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2};
constexpr std::byte kDirt{0xa5};
using Buffer = std::vector<std::byte>;

struct Shape {
  uint32_t tokens, channels;
  uint32_t n() const { return tokens * channels; }
};

// Tails of every length against vectors of 16 to 64 bytes.
std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const uint32_t channels : {8u, 9u, 31u, 64u, 65u, 96u, 128u, 575u, 576u}) {
    for (const uint32_t tokens : {1u, 2u, 7u, 33u, 64u}) {
      if (tokens * channels >= 64) shapes.push_back({tokens, channels});
    }
  }
  for (uint32_t tokens = 8; tokens <= 24; ++tokens) shapes.push_back({tokens, 11});
  return shapes;
}

// A model's values with some that are none.
std::string Values(DType dtype, const Shape& shape, uint64_t seed) {
  std::string values = SyntheticKv(dtype, Tensor::kK, 1, shape.tokens, shape.channels, seed);
  Random random(seed);
  for (char& c : values) {
    if (random.Below(40) == 0) c = static_cast<char>(random.Below(256));
  }
  return values;
}

class LosslessKernels : public ::testing::TestWithParam<DType> {
 protected:
  ~LosslessKernels() override { UseSimdTarget(SupportedSimdTargets().back()); }

  // Runs `make` on every target and checks that it gives what the scalar reference does.
  template <typename Make>
  auto SameOnAll(const Make& make) {
    UseSimdTarget(SimdTarget::kScalar);
    const auto reference = make();
    for (const SimdTarget target : SupportedSimdTargets()) {
      UseSimdTarget(target);
      EXPECT_TRUE(make() == reference) << SimdTargetName(target);
    }
    return reference;
  }

  const DType dtype_ = GetParam();
};

TEST_P(LosslessKernels, ExponentCodes) {
  const FloatFields fields = FloatFieldsOf(dtype_, SignPlace::kRaw);
  uint64_t seed = 0;
  for (const Shape& shape : Shapes()) {
    const uint32_t n = shape.n();
    const std::string values = Values(dtype_, shape, ++seed);
    for (uint32_t width = 1; width < fields.exponent_bits; ++width) {
      const uint32_t bases = fields.max_exponent() + 2 - (1u << width);  // 0 to this one less
      const ExponentCode code{.base = static_cast<uint8_t>(seed * 37 % bases),
                              .width = static_cast<uint8_t>(width)};
      const size_t field_bytes = (size_t{n} * (width + fields.side_bits) + 7) / 8;
      SCOPED_TRACE(absl::StrCat(shape.tokens, " x ", shape.channels, " width ", width));
      const auto coded = SameOnAll([&] {
        Buffer plane(fields.plane ? n : 0, kDirt), bits(field_bytes, kDirt),
            list(n + kEscapeSlackBytes, kDirt);
        const uint32_t escapes = EncodeExponentCodes(dtype_, AsBytes(values).data(), n, code, plane.data(),
                                                     bits.data(), list.data());
        list.resize(escapes);
        return std::tuple(plane, bits, list);
      });
      const auto& [plane, bits, list] = coded;
      for (const uint32_t less : {0u, 1u}) {  // escapes that are missing
        if (less > list.size()) continue;
        const auto decoded = SameOnAll([&, &plane = plane, &bits = bits, &list = list] {
          Buffer out(values.size(), kDirt);
          const Buffer exact(list.begin(), list.end() - less);
          const bool ok = DecodeExponentCodes(dtype_, plane.data(), bits.data(), n, code, exact.data(),
                                              static_cast<uint32_t>(exact.size()), out.data());
          return ok ? std::string(AsChars(out)) : std::string("refused");
        });
        EXPECT_TRUE(decoded == (less == 0 ? values : "refused"));
      }
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST_P(LosslessKernels, ExponentSymbols) {
  const FloatFields fields = FloatFieldsOf(dtype_, SignPlace::kCoded);
  uint64_t seed = 100;
  for (const Shape& shape : Shapes()) {
    for (const bool per_channel : {false, true}) {
      const uint32_t n = shape.n(), period = per_channel ? shape.channels : 1;
      const std::string values = Values(dtype_, shape, ++seed);
      SCOPED_TRACE(absl::StrCat(shape.tokens, " x ", shape.channels, " period ", period));
      Random random(seed);
      std::vector<uint8_t> tops(period + kVectorSlackBytes), flips(tops.size()), bits(tops.size()), costs(64);
      for (size_t i = 0; i < tops.size(); ++i) {
        const auto near = static_cast<uint8_t>((fields.max_exponent() + 1) / 2 + random.Below(6));
        tops[i] = i < period ? near : tops[i - period];
        flips[i] = i < period ? static_cast<uint8_t>(random.Below(2)) : flips[i - period];
        bits[i] = i < period ? static_cast<uint8_t>(flips[i] | 32 * random.Below(2)) : bits[i - period];
      }
      for (uint8_t& c : costs) c = static_cast<uint8_t>(random.Below(256));
      const ExponentChannels channels{tops.data(), bits.data(), period};

      const size_t field_bytes = (size_t{n} * fields.side_bits + 7) / 8;
      std::vector<uint8_t> exponents(n + kVectorSlackBytes), signs(n + kVectorSlackBytes);
      const auto split = SameOnAll([&] {
        Buffer plane(fields.plane ? n : 0, kDirt), side(field_bytes + kVectorSlackBytes, kDirt);
        SplitExponents(dtype_, AsBytes(values).data(), n, exponents.data(), signs.data(), plane.data(),
                       side.data());
        side.resize(field_bytes);
        return std::tuple(plane, side, std::vector(exponents.begin(), exponents.begin() + n),
                          std::vector(signs.begin(), signs.begin() + n));
      });
      const auto sums = SameOnAll([&] {
        std::vector<uint32_t> of(shape.channels);
        CostsOfSymbols(exponents.data(), signs.data(), shape.tokens, shape.channels, channels, costs.data(),
                       of.data());
        return of;
      });
      EXPECT_GT(*std::max_element(sums.begin(), sums.end()), 0u);
      std::vector<uint8_t> symbols(n + kVectorSlackBytes);
      const auto coded = SameOnAll([&] {
        Buffer list(n + kVectorSlackBytes, kDirt);
        list.resize(
            ExponentSymbols(exponents.data(), signs.data(), n, channels, symbols.data(), list.data()));
        return std::pair(list, std::vector(symbols.begin(), symbols.begin() + n));
      });

      Buffer side = std::get<1>(split), list = coded.first;
      side.resize(field_bytes + kVectorSlackBytes, kDirt);
      const auto decode = [&] {
        Buffer out(values.size(), kDirt);
        const bool ok =
            DecodeExponentSymbols(dtype_, symbols.data(), n, channels, std::get<0>(split).data(), side.data(),
                                  list.data(), static_cast<uint32_t>(list.size()), out.data());
        return ok ? std::string(AsChars(out)) : std::string("refused");
      };
      EXPECT_TRUE(SameOnAll(decode) == values);
      if (!list.empty()) {
        list.pop_back();
        EXPECT_EQ(SameOnAll(decode), "refused");
        list = coded.first;
        if (fields.max_exponent() < 255) {  // an exponent that the type does not have
          list.back() = static_cast<std::byte>(fields.max_exponent() + 1);
          EXPECT_EQ(SameOnAll(decode), "refused");
        }
      }
      ASSERT_FALSE(HasFailure());
    }
  }
}

std::string NameOf(const ::testing::TestParamInfo<DType>& info) { return std::string(DTypeName(info.param)); }

INSTANTIATE_TEST_SUITE_P(Types, LosslessKernels, ::testing::ValuesIn(kDTypes), NameOf);

}  // namespace
}  // namespace kvcompd::codec
