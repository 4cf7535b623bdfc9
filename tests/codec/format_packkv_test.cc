// Holds the example of codec packkv in codec/FORMAT.md, read as data, against the code.
#include <string>
#include <vector>

#include "codec/base/profile.h"
#include "codec/codec.h"
#include "gtest/gtest.h"
#include "tests/codec/format_text.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

TEST(FormatPackkv, Example) {
  std::vector<float> values;
  for (int head = 0; head < 2; ++head) {
    for (int i = 1; i <= 16; ++i) values.push_back(static_cast<float>(i));
  }
  const GroupShape shape{DType::kBf16, Tensor::kK, 2, 2, 8};
  const Codec& codec = *FindCodec(CodecId::kPackkv);
  const auto group =
      kvcompd::testing::EncodeGroup(codec, shape, kvcompd::testing::ToBytes(shape.dtype, values),
                                    {.profile = Profile::Parse("packkv:rel_k=0.25,pack=4").value()});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(static_cast<int>(group->modes[0]), 1);
  EXPECT_EQ(HexOf(group->header) + HexOf(group->payloads[0]), kvcompd::testing::FormatHex("example: packkv"));
  EXPECT_EQ(group->payloads[1], group->payloads[0]);
  const auto tile = kvcompd::testing::DecodeTile(codec, shape, *group, 0);
  ASSERT_TRUE(tile.ok()) << tile.status();
  // (1 + code) * 1.75 and (5 + code) * 1.75, to 8 bits.
  EXPECT_EQ(kvcompd::testing::ToFloats(shape.dtype, *tile),
            (std::vector<float>{1.75, 1.75, 3.5, 3.5, 5.25, 5.25, 7, 8.75,  //
                                8.75, 10.5, 10.5, 12.25, 12.25, 14, 15.75, 15.75}));
}

}  // namespace
}  // namespace kvcompd::codec
