// Holds the examples and tables of codec lossless in codec/FORMAT.md, read as data, against the code.
#include <string>
#include <vector>

#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/exponent_classes.h"
#include "codec/lossless_codec.h"
#include "gtest/gtest.h"
#include "tests/codec/format_text.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

void CheckExample(const std::string& name, TileMode mode) {
  std::vector<float> values;
  for (int i = 1; i <= 128; ++i) values.push_back(static_cast<float>(i % 3 == 0 ? -i : i));
  const GroupShape shape{DType::kFp8E5m2, Tensor::kK, 1, 16, 8};
  const Codec& codec = *FindCodec(CodecId::kLossless);
  const std::string bytes = kvcompd::testing::ToBytes(shape.dtype, values);
  const auto group = kvcompd::testing::EncodeGroup(
      codec, shape, bytes, {.profile = Profile::Parse("lossless:mode=" + name).value()});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->header, "");
  EXPECT_EQ(group->modes[0], mode);
  EXPECT_EQ(HexOf(group->payloads[0]), kvcompd::testing::FormatHex("example: lossless " + name));
  const auto tile = kvcompd::testing::DecodeTile(codec, shape, *group, 0);
  ASSERT_TRUE(tile.ok()) << tile.status();
  EXPECT_EQ(*tile, bytes);
}

TEST(FormatLossless, FastExample) { CheckExample("fast", kLosslessFast); }
TEST(FormatLossless, DenseExample) { CheckExample("dense", kLosslessDense); }

TEST(FormatLossless, Classes) {
  const auto lines = kvcompd::testing::FormatLines("vector: classes");
  const auto frequencies = ExponentClassFrequencies();
  ASSERT_EQ(lines.size(), kExponentClasses);
  for (uint32_t c = 0; c < kExponentClasses; ++c) {
    std::istringstream numbers(lines[c]);
    for (uint32_t s = 0; s < kExponentSymbols; ++s) {
      uint32_t frequency = 0;
      ASSERT_TRUE(numbers >> frequency) << c << " " << s;
      EXPECT_EQ(frequency, frequencies[c * kExponentSymbols + s]) << c << " " << s;
    }
    uint32_t more = 0;
    EXPECT_FALSE(numbers >> more);
  }
}

TEST(FormatLossless, MeanDepths) {
  const auto lines = kvcompd::testing::FormatLines("vector: mean depths");
  ASSERT_EQ(lines.size(), 1u);
  std::istringstream numbers(lines[0]);
  for (uint32_t shape = 0; shape < kExponentShapes; ++shape) {
    uint32_t depth = 0;
    ASSERT_TRUE(numbers >> depth);
    EXPECT_EQ(depth, MeanDepth(shape));
  }
}

}  // namespace
}  // namespace kvcompd::codec
