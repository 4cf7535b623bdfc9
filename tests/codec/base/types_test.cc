#include "codec/base/types.h"

#include <gtest/gtest.h>

#include <set>

namespace kvcompd {
namespace {

TEST(DTypeTest, NamesRoundTripAndSizesAreTheFormats) {
  const std::pair<DType, uint32_t> kSizes[] = {
      {DType::kBf16, 2}, {DType::kFp16, 2}, {DType::kFp8E4m3, 1}, {DType::kFp8E5m2, 1}, {DType::kOpaque, 1}};
  for (const auto& [dtype, bytes] : kSizes) {
    EXPECT_EQ(ElementBytes(dtype), bytes);
    const auto parsed = ParseDType(DTypeName(dtype));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, dtype);
  }
  EXPECT_EQ(ElementBytes(static_cast<DType>(0)), 0u);
  EXPECT_EQ(ElementBytes(static_cast<DType>(6)), 0u);
  EXPECT_EQ(ParseDType("BF16").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseDType("unknown").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(DigestTest, Sha256OfKnownText) {
  EXPECT_EQ(Sha256("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("").Hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(DigestTest, FromBytesTakesExactly32) {
  const std::string bytes(32, '\x01');
  const auto digest = Digest::FromBytes(bytes);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->view(), bytes);
  EXPECT_FALSE(digest->IsZero());
  EXPECT_TRUE(Digest{}.IsZero());
  EXPECT_FALSE(Digest::FromBytes(std::string(31, 'x')).ok());
  EXPECT_FALSE(Digest::FromBytes(std::string(33, 'x')).ok());
}

TEST(BlockKeyTest, LengthsFrom16To64) {
  for (size_t n = 0; n <= 80; ++n) {
    const std::string bytes(n, 'k');
    const auto key = BlockKey::FromBytes(bytes);
    ASSERT_EQ(key.ok(), n >= 16 && n <= 64) << n;
    if (key.ok()) {
      EXPECT_EQ(key->view(), bytes);
    }
  }
}

TEST(BlockKeyTest, OrderAndEqualityAreOfTheBytes) {
  const BlockKey a = *BlockKey::FromBytes(std::string(16, 'a'));
  const BlockKey longer = *BlockKey::FromBytes(std::string(17, 'a'));
  const BlockKey b = *BlockKey::FromBytes(std::string(16, 'b'));
  EXPECT_TRUE(BlockKey().empty());
  EXPECT_NE(a, longer);
  EXPECT_EQ((std::set<BlockKey>{b, longer, a, a}), (std::set<BlockKey>{a, longer, b}));
  EXPECT_LT(a, longer);
  EXPECT_LT(longer, b);
  EXPECT_EQ(a.Hex(), "61616161616161616161616161616161");
}

TEST(HexTest, RoundTripsAndRejects) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const auto back = BytesOfHex(HexOf(all));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, all);
  EXPECT_EQ(*BytesOfHex("AbfF"), "\xab\xff");
  EXPECT_FALSE(BytesOfHex("abc").ok());
  EXPECT_FALSE(BytesOfHex("0g").ok());
  EXPECT_FALSE(BytesOfHex(" 0").ok());
}

}  // namespace
}  // namespace kvcompd
