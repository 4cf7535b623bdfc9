#include "client/ctl/bound_check.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "codec/container.h"
#include "codec/segment.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

// bf16 of a number that it holds exactly.
uint16_t Bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  EXPECT_EQ(bits & 0xffff, 0u) << value;
  return static_cast<uint16_t>(bits >> 16);
}

struct Values {
  explicit Values(size_t n) : bits(n, 0) {}
  ByteSpan bytes() const { return std::as_bytes(std::span(bits)); }
  std::vector<uint16_t> bits;
};

// One head, 2 tokens, 8 channels: 0 to 7 and 16 to 23.
class BoundCheckTest : public ::testing::Test {
 protected:
  BoundCheckTest() : x_(16) {
    for (int c = 0; c < 8; ++c) {
      x_.bits[c] = Bf16(static_cast<float>(c));
      x_.bits[8 + c] = Bf16(static_cast<float>(16 + c));
    }
  }
  BoundReport Check(const Values& y) {
    const auto report = CheckBound(spec_, x_.bytes(), y.bytes());
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(BoundReport{});
  }

  Values x_;
  BoundSpec spec_{
      .dtype = DType::kBf16, .heads = 1, .tokens = 2, .channels = 8, .unit = BoundUnit::kToken, .rel = 0.25};
};

TEST_F(BoundCheckTest, EqualValuesHaveNoError) {
  const BoundReport report = Check(x_);
  EXPECT_EQ(report.values, 16u);
  EXPECT_EQ(report.changed, 0u);
  EXPECT_EQ(report.violations, 0u);
  EXPECT_EQ(report.max_error_over_r, 0);
}

// Runs of 4 channels have a range of 3: r = 0.25 * 3 / 2 = 0.375. Runs of 1 token of a channel have none.
TEST_F(BoundCheckTest, JudgesByTheRangeOfARun) {
  spec_.unit = BoundUnit::kTokenRun;
  spec_.run = 4;
  Values y = x_;
  y.bits[3] = Bf16(3.375f);
  EXPECT_EQ(Check(y).violations, 0u);
  EXPECT_DOUBLE_EQ(Check(y).max_error_over_r, 1.0);
  y.bits[3] = Bf16(3.5f);
  EXPECT_EQ(Check(y).violations, 1u);
  spec_.run = 8;  // now the range is 7
  EXPECT_EQ(Check(y).violations, 0u);

  spec_.unit = BoundUnit::kChannelRun;  // one channel has 3 and 19
  spec_.run = 64;
  EXPECT_EQ(Check(y).violations, 0u);
  EXPECT_DOUBLE_EQ(Check(y).max_error_over_r, 0.5 / 2);
  spec_.run = 1;
  y.bits[3] = Bf16(3.0625f);
  EXPECT_EQ(Check(y).violations, 1u);
}

TEST(BoundSpecTest, EveryCodecHasItsUnits) {
  const auto spec = [](const char* profile, Tensor tensor) {
    return BoundSpecOf(Profile::Parse(profile).value(), tensor, DType::kBf16, 2, 64, 128);
  };
  EXPECT_EQ(spec("raw", Tensor::kK).rel, 0);
  EXPECT_EQ(spec("lossless:mode=dense", Tensor::kV).rel, 0);
  EXPECT_EQ(spec("kvcomp:rel_k=0.2,k_unit=channel", Tensor::kK).unit, BoundUnit::kChannel);
  EXPECT_EQ(spec("kvcomp:rel_k=0.2", Tensor::kK).unit, BoundUnit::kGroup);
  EXPECT_EQ(spec("kvcomp:rel_k=0.2,strict=1", Tensor::kK).rel, 0.2);
  EXPECT_TRUE(spec("kvcomp:rel_k=0.2,strict=1", Tensor::kK).strict);
  EXPECT_EQ(spec("kvcomp:rel_v=0.2", Tensor::kV).unit, BoundUnit::kToken);
  EXPECT_EQ(spec("packkv:rel_k=0.2", Tensor::kK).unit, BoundUnit::kToken);
  EXPECT_EQ(spec("intq:bits=2,group=64", Tensor::kK).unit, BoundUnit::kChannelRun);
  EXPECT_EQ(spec("intq:bits=2,group=64", Tensor::kV).unit, BoundUnit::kTokenRun);
  EXPECT_EQ(spec("intq:bits=2,group=64", Tensor::kV).run, 64u);
  EXPECT_EQ(spec("intq:bits=4,bits_v=2", Tensor::kK).rel, 1.0 / 15);
  EXPECT_EQ(spec("intq:bits=4,bits_v=2", Tensor::kV).rel, 1.0 / 3);
}

// A token's range is 7, so r = 0.25 * 7 / 2 = 0.875; half an ulp of bf16 near 3 is 2^-7, near 16 is 2^-4.
TEST_F(BoundCheckTest, JudgesByTheRangeOfTheUnit) {
  Values y = x_;
  y.bits[3] = Bf16(3.875f);  // exactly r
  BoundReport report = Check(y);
  EXPECT_EQ(report.violations, 0u);
  EXPECT_EQ(report.changed, 1u);
  EXPECT_DOUBLE_EQ(report.max_error_over_r, 1.0);
  EXPECT_DOUBLE_EQ(report.max_error_over_bound, 0.875 / (0.875 * (1 + 1.0 / 256) + 0.0078125));
  EXPECT_DOUBLE_EQ(report.max_error, 0.875);

  y.bits[3] = Bf16(3.890625f);  // 0.890625 > 0.875 (1 + 1/256) + 2^-7 = 0.88623
  report = Check(y);
  EXPECT_EQ(report.violations, 1u);
  EXPECT_NE(report.first_violation.find("head 0, token 0, channel 3"), std::string::npos)
      << report.first_violation;

  // Over all tokens the range is 23 and r = 2.875.
  spec_.unit = BoundUnit::kGroup;
  EXPECT_EQ(Check(y).violations, 0u);
  // A channel has 2 values 16 apart: r = 2.
  spec_.unit = BoundUnit::kChannel;
  y.bits[3] = Bf16(5.0f);
  EXPECT_EQ(Check(y).violations, 0u);
  y.bits[3] = Bf16(5.125f);
  EXPECT_EQ(Check(y).violations, 1u);
}

TEST_F(BoundCheckTest, StrictHasNoSlack) {
  Values y = x_;
  y.bits[3] = Bf16(3.875f);
  spec_.strict = true;
  EXPECT_EQ(Check(y).violations, 0u);
  y.bits[3] = Bf16(3.890625f);
  EXPECT_EQ(Check(y).violations, 1u);
  y.bits[3] = Bf16(3.0f);
  spec_.rel = 0.125;  // r = 0.4375
  y.bits[10] = Bf16(18.5f);
  EXPECT_EQ(Check(y).violations, 1u);
  spec_.strict = false;  // 0.5 > 0.4375 (1 + 1/256) = 0.4392, but half an ulp of 18.5 is 0.0625
  EXPECT_EQ(Check(y).violations, 0u);
}

TEST_F(BoundCheckTest, LosslessIsBitByBit) {
  spec_.rel = 0;
  Values y = x_;
  y.bits[0] = 0x8000;  // -0 for +0
  const BoundReport report = Check(y);
  EXPECT_EQ(report.violations, 1u);
}

TEST_F(BoundCheckTest, NonFiniteTilesAreBitByBitAndOutOfTheRange) {
  spec_.heads = 2;
  spec_.tokens = 1;     // head 0 is 0 to 7, head 1 is 16 to 23
  x_.bits[8] = 0x7f80;  // Inf
  Values y = x_;
  EXPECT_EQ(Check(y).violations, 0u);
  y.bits[9] = Bf16(17.125f);
  EXPECT_EQ(Check(y).violations, 1u);  // head 1 must be the same
  y = x_;
  y.bits[3] = Bf16(3.890625f);
  EXPECT_EQ(Check(y).violations, 1u);  // and does not widen the range of head 0
  y = x_;
  y.bits[3] = 0x7fc0;  // NaN where there was a number
  EXPECT_EQ(Check(y).violations, 1u);
}

TEST_F(BoundCheckTest, GroupsOfTokensHaveRangesOfTheirOwn) {
  spec_ = {
      .dtype = DType::kBf16, .heads = 1, .tokens = 65, .channels = 8, .unit = BoundUnit::kGroup, .rel = 0.5};
  x_ = Values(65 * 8);
  x_.bits[0] = Bf16(100.0f);     // group 0: range 100, r = 25
  x_.bits[64 * 8] = Bf16(4.0f);  // group 1: range 4, r = 1
  Values y = x_;
  y.bits[1] = Bf16(24.0f);
  y.bits[64 * 8 + 1] = Bf16(1.0f);
  EXPECT_EQ(Check(y).violations, 0u);
  y.bits[64 * 8 + 1] = Bf16(1.25f);
  const BoundReport report = Check(y);
  EXPECT_EQ(report.violations, 1u);
  EXPECT_NE(report.first_violation.find("token 64"), std::string::npos) << report.first_violation;
}

TEST_F(BoundCheckTest, RefusesSizesThatDoNotFit) {
  spec_.channels = 9;
  EXPECT_EQ(CheckBound(spec_, x_.bytes(), x_.bytes()).status().code(), absl::StatusCode::kInvalidArgument);
  spec_.dtype = DType::kOpaque;
  EXPECT_FALSE(CheckBound(spec_, x_.bytes(), x_.bytes()).ok());
}

TEST(ValueTableTest, KnownValues) {
  EXPECT_EQ(ValueTable(DType::kBf16)[0x3f80], 1.0);
  EXPECT_EQ(ValueTable(DType::kBf16)[0x0001], std::ldexp(1.0, -133));
  EXPECT_EQ(ValueTable(DType::kFp16)[0x7bff], 65504.0);
  EXPECT_EQ(ValueTable(DType::kFp16)[0x8001], -std::ldexp(1.0, -24));
  EXPECT_EQ(ValueTable(DType::kFp8E4m3)[0x7e], 448.0);
  EXPECT_TRUE(std::isnan(ValueTable(DType::kFp8E4m3)[0x7f]));
  EXPECT_EQ(ValueTable(DType::kFp8E5m2)[0x7b], 57344.0);
  EXPECT_TRUE(std::isinf(ValueTable(DType::kFp8E5m2)[0x7c]));
}

struct CodecCase {
  DType dtype;
  const char* profile;
};

class BoundOfCodecTest : public ::testing::TestWithParam<CodecCase> {};

// The codec and this check were written apart; they agree on the largest |x - y| / r.
TEST_P(BoundOfCodecTest, HoldsAndAgreesWithTheEncoder) {
  const auto profile = Profile::Parse(GetParam().profile);
  ASSERT_TRUE(profile.ok()) << profile.status();
  std::mt19937 random(20240607);
  std::normal_distribution<double> normal;
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const codec::SegmentShape shape{
        .dtype = GetParam().dtype, .tensor = tensor, .heads = 3, .tokens = 100, .channels = 40};
    std::vector<std::byte> x(shape.raw_bytes()), y(shape.raw_bytes());
    const std::vector<double>& table = ValueTable(shape.dtype);
    for (size_t i = 0; i < x.size() / ElementBytes(shape.dtype); ++i) {
      // The first finite value of the type that is near: any will do.
      const double want = normal(random) + (i % 40 == 7 ? 20 : 0);
      const auto bits = ElementBytes(shape.dtype) == 1 ? static_cast<uint32_t>(random() % 0x60)
                        : shape.dtype == DType::kBf16
                            ? std::bit_cast<uint32_t>(static_cast<float>(want)) >> 16
                            : static_cast<uint32_t>(random() % 0x5000);
      ASSERT_TRUE(std::isfinite(table[bits]));
      std::memcpy(x.data() + i * ElementBytes(shape.dtype), &bits, ElementBytes(shape.dtype));
    }
    const codec::Codec& codec = *codec::FindCodec(CodecId::kKvcomp);
    codec::Workspace workspace;
    codec::EncodeStats stats;
    codec::SegmentPlace place{.key = *BlockKey::FromBytes("0123456789abcdef"), .layer = 1, .tensor = tensor};
    std::string segment(codec::SegmentBound(shape, codec), '\0');
    const auto set = codec::CodebookSet::BuiltIn(*profile);
    const codec::EncodeParams params{.profile = *profile, .book = set->Find(1, tensor)};
    const auto written = codec::EncodeSegment(codec, place, shape, x, params, &workspace,
                                              std::as_writable_bytes(std::span(segment)), &stats);
    ASSERT_TRUE(written.ok()) << written.status();
    const auto view = codec::SegmentView::Parse(AsBytes(segment).first(*written));
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_TRUE(view->Decode(place, 0, shape.heads, params.book, &workspace, y).ok());
    ASSERT_LT(stats.raw_tiles, stats.tiles) << "nothing was quantised";

    const BoundSpec spec =
        BoundSpecOf(*profile, tensor, shape.dtype, shape.heads, shape.tokens, shape.channels);
    const auto report = CheckBound(spec, x, y);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->violations, 0u) << report->first_violation;
    EXPECT_GT(report->changed, 0u);
    EXPECT_NEAR(report->max_error_over_r, stats.max_error_over_r, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BoundOfCodecTest,
    ::testing::Values(CodecCase{DType::kBf16, "kvcomp:rel_k=0.05,rel_v=0.1"},
                      CodecCase{DType::kBf16, "kvcomp:rel_k=0.05,rel_v=0.1,k_unit=channel"},
                      CodecCase{DType::kFp16, "kvcomp:rel_k=0.02,rel_v=0.02,k_unit=channel"},
                      CodecCase{DType::kFp16, "kvcomp:rel_k=0.2,rel_v=0.2"},
                      CodecCase{DType::kFp8E4m3, "kvcomp:rel_k=0.2,rel_v=0.2"}));

}  // namespace
}  // namespace kvcompd::client
