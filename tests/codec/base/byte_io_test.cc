#include "codec/base/byte_io.h"

#include <gtest/gtest.h>

namespace kvcompd {
namespace {

TEST(ByteIoTest, WritesLittleEndianAndReadsBack) {
  std::string out;
  ByteWriter w(&out);
  w.U8(1);
  w.U16(0x0302);
  w.U32(0x07060504);
  w.U64(0x0f0e0d0c0b0a0908);
  w.F32(1.0f);
  w.Bytes("xy");
  w.Zeros(2);
  EXPECT_EQ(HexOf(out),
            "0102030405060708090a0b0c0d0e0f0000803f"
            "7879"
            "0000");

  ByteReader r(AsBytes(out));
  EXPECT_EQ(r.U8(), 1);
  EXPECT_EQ(r.U16(), 0x0302);
  EXPECT_EQ(r.U32(), 0x07060504u);
  EXPECT_EQ(r.U64(), 0x0f0e0d0c0b0a0908u);
  EXPECT_EQ(r.F32(), 1.0f);
  EXPECT_EQ(AsChars(r.Bytes(2)), "xy");
  EXPECT_EQ(r.remaining(), 2u);
  EXPECT_TRUE(r.ok());
}

TEST(ByteIoTest, ReadingPastTheEndGivesZeroAndClearsOk) {
  const std::string bytes = "abc";
  ByteReader r(AsBytes(bytes));
  EXPECT_EQ(r.U32(), 0u);
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.offset(), 0u);
  ByteReader huge(AsBytes(bytes));
  huge.U8();
  EXPECT_TRUE(huge.Bytes(SIZE_MAX).empty());
  EXPECT_FALSE(huge.ok());
  ByteReader exact(AsBytes(bytes));
  EXPECT_EQ(exact.Bytes(3).size(), 3u);
  EXPECT_TRUE(exact.ok());
}

}  // namespace
}  // namespace kvcompd
