// Codec kvcomp on values that lie between two multiples of the step, where a kernel that multiplies by the
// step's reciprocal could round otherwise than the reference, which divides.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "codec/quantizer.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::ToBytes;
using kvcompd::testing::ToFloats;

float Neighbour(DType dtype, float x, int ulps) {
  std::string bytes = ToBytes(dtype, {x});
  if (ElementBytes(dtype) == 2) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data(), 2);
    bits = static_cast<uint16_t>(bits + ulps);
    std::memcpy(bytes.data(), &bits, 2);
  } else {
    bytes[0] = static_cast<char>(bytes[0] + ulps);
  }
  return ToFloats(dtype, bytes)[0];
}

// Half multiples of the step of [min, max] and their neighbours in the type, from min to max.
std::string TiedValues(DType dtype, UnitRange range, double rel, size_t n, Random* random) {
  const auto params = ChooseUnitParams(dtype, range, rel, false);
  if (!params.has_value() || params->scale == 0) return "";
  const double step = std::bit_cast<float>(uint32_t{params->scale} << 16);
  std::vector<float> values = {range.min, range.max};
  while (values.size() < n) {
    const double code = std::floor(random->Uniform() * (range.max - range.min) / step) + params->zero + 0.5;
    const float tie = ToFloats(dtype, ToBytes(dtype, {static_cast<float>(code * step)}))[0];
    const float x = Neighbour(dtype, tie, static_cast<int>(random->Below(3)) - 1);
    if (x >= range.min && x <= range.max) values.push_back(x);  // false for NaN
  }
  return ToBytes(dtype, values);
}

class KvcompTies : public ::testing::TestWithParam<DType> {
 protected:
  ~KvcompTies() override { UseSimdTarget(SupportedSimdTargets().back()); }
};
INSTANTIATE_TEST_SUITE_P(DTypes, KvcompTies,
                         ::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST_P(KvcompTies, EveryInstructionSetRoundsAsTheReference) {
  const DType dtype = GetParam();
  const Codec& codec = *FindCodec(CodecId::kKvcomp);
  Random random(static_cast<uint64_t>(dtype));
  const GroupShape shape{dtype, Tensor::kK, 1, 64, 40};
  int tied = 0;
  for (int round = 0; round < 150; ++round) {
    const double scale = std::ldexp(1.0 + random.Uniform(), static_cast<int>(random.Below(8)) - 4);
    // A power of two every third time: half multiples are then values of the type themselves.
    const double width = round % 3 == 0 ? 8.0 : scale * (1 + random.Uniform());
    const double rel = round % 3 == 0 ? 0.125 : 0.01 + 0.4 * random.Uniform();
    const auto ends = ToFloats(
        dtype, ToBytes(dtype, {static_cast<float>(-width * (round % 3 == 0 ? 0.5 : random.Uniform())),
                               static_cast<float>(width * 0.5)}));
    const UnitRange range{.min = ends[0], .max = ends[1]};
    const std::string values = TiedValues(dtype, range, rel, size_t{shape.tokens} * shape.channels, &random);
    if (values.empty()) continue;
    for (const KUnit unit : {KUnit::kBlock, KUnit::kChannel}) {
      const EncodeParams params{
          .profile = {.codec = CodecId::kKvcomp, .rel_k = rel, .rel_v = rel, .k_unit = unit}};
      UseSimdTarget(SimdTarget::kScalar);
      const auto reference = EncodeGroup(codec, shape, values, params);
      ASSERT_TRUE(reference.ok()) << reference.status();
      tied += unit == KUnit::kBlock && reference->modes[0] != TileMode::kRaw;
      for (const SimdTarget target : SupportedSimdTargets()) {
        UseSimdTarget(target);
        const auto group = EncodeGroup(codec, shape, values, params);
        ASSERT_TRUE(group.ok()) << group.status();
        ASSERT_TRUE(*group == *reference) << SimdTargetName(target) << " round " << round << " rel " << rel;
      }
    }
  }
  EXPECT_GT(tied, 50);  // else little was compared
}

}  // namespace
}  // namespace kvcompd::codec
