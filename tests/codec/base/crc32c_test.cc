#include "codec/base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace kvcompd {
namespace {

// The definition, bit by bit.
uint32_t CrcByDefinition(std::string_view text) {
  uint32_t crc = 0xffffffff;
  for (unsigned char c : text) {
    crc ^= c;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
  }
  return ~crc;
}

std::string RandomText(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(rng());
  return text;
}

TEST(Crc32cTest, KnownValues) {
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xe3069283u);
  EXPECT_EQ(Crc32c({}), 0u);
  EXPECT_EQ(Crc32c(AsBytes(std::string(32, '\0'))), 0x8a9136aau);    // RFC 3720, B.4
  EXPECT_EQ(Crc32c(AsBytes(std::string(32, '\xff'))), 0x62a8ab43u);  // RFC 3720, B.4
}

TEST(Crc32cTest, EqualsTheDefinitionAtEveryLengthAndAlignment) {
  const std::string text = RandomText(700, 1);
  for (size_t start = 0; start < 9; ++start) {
    for (size_t n = 0; start + n <= text.size(); n += n < 80 ? 1 : 37) {
      const std::string_view part = std::string_view(text).substr(start, n);
      ASSERT_EQ(Crc32c(AsBytes(part)), CrcByDefinition(part)) << start << "+" << n;
    }
  }
}

TEST(Crc32cTest, ExtendAndCombineEqualTheWhole) {
  const std::string text = RandomText(70000, 2);
  for (size_t cut :
       {size_t{0}, size_t{1}, size_t{2}, size_t{63}, size_t{16384}, size_t{69999}, size_t{70000}}) {
    const std::string_view a = std::string_view(text).substr(0, cut);
    const std::string_view b = std::string_view(text).substr(cut);
    const uint32_t whole = Crc32c(AsBytes(text));
    EXPECT_EQ(ExtendCrc32c(Crc32c(AsBytes(a)), AsBytes(b)), whole) << cut;
    EXPECT_EQ(CombineCrc32c(Crc32c(AsBytes(a)), Crc32c(AsBytes(b)), b.size()), whole) << cut;
  }
}

TEST(Crc32cTest, CombineTakesLengthsThatNoBufferHas) {
  // (A || B) || C = A || (B || C), with B and C of 2^40 and 2^41 bytes.
  const uint32_t a = 0x12345678, b = 0x9abcdef0, c = 0x0badcafe;
  const uint64_t len_b = uint64_t{1} << 40, len_c = uint64_t{1} << 41;
  EXPECT_EQ(CombineCrc32c(CombineCrc32c(a, b, len_b), c, len_c),
            CombineCrc32c(a, CombineCrc32c(b, c, len_c), len_b + len_c));
}

}  // namespace
}  // namespace kvcompd
