// Holds the example of codec intq in codec/FORMAT.md, read as data, against the code.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/intq_codec.h"
#include "gtest/gtest.h"
#include "tests/codec/format_text.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

TEST(FormatIntq, Example) {
  std::vector<float> values;
  for (int i = 1; i <= 16; ++i) values.push_back(static_cast<float>(i));
  const GroupShape shape{DType::kBf16, Tensor::kV, 1, 2, 8};
  const Codec& codec = *FindCodec(CodecId::kIntq);
  const auto group =
      kvcompd::testing::EncodeGroup(codec, shape, kvcompd::testing::ToBytes(shape.dtype, values),
                                    {.profile = Profile::Parse("intq:bits=4,group=32").value()});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->header, "");
  EXPECT_EQ(static_cast<int>(group->modes[0]), 4);
  EXPECT_EQ(HexOf(group->payloads[0]), kvcompd::testing::FormatHex("example: intq"));
  const auto tile = kvcompd::testing::DecodeTile(codec, shape, *group, 0);
  ASSERT_TRUE(tile.ok()) << tile.status();
  // 1 + code * 0.466796875 and 9 + code * 0.466796875, to 8 bits.
  EXPECT_EQ(kvcompd::testing::ToFloats(shape.dtype, *tile),
            (std::vector<float>{1, 1.9375, 2.875, 3.796875, 5.1875, 6.125, 7.0625, 8,  //
                                9, 9.9375, 10.875, 11.8125, 13.1875, 14.125, 15.0625, 16}));
}

TEST(FormatIntq, ModesAreThoseOfTheTable) {
  const std::string text = kvcompd::testing::FormatText();
  const auto names = FindCodec(CodecId::kIntq)->mode_names();
  std::string row = "| intq | 0 raw";
  for (const uint32_t bits : {2u, 4u, 8u}) {
    for (const uint32_t group : {32u, 64u, 128u}) {
      const auto number = static_cast<size_t>(IntqModeOf(bits, group));
      const std::string name = "b" + std::to_string(bits) + "_g" + std::to_string(group);
      ASSERT_LT(number, names.size());
      EXPECT_EQ(names[number], name);
      row += ", " + std::to_string(number) + " " + name;
    }
  }
  EXPECT_TRUE(absl::StrContains(text, row + " |\n")) << row;
}

}  // namespace
}  // namespace kvcompd::codec
