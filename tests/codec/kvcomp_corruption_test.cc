// Hostile bytes and wrong arguments: codec kvcomp and codec raw refuse them, and never touch memory that is
// not theirs (run under the sanitizers).
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/codec.h"
#include "codec/kvcomp_header.h"
#include "gtest/gtest.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::DecodeTile;
using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;

const Codec& Kvcomp() { return *FindCodec(CodecId::kKvcomp); }

struct Case {
  const char* name;
  DType dtype;
  Tensor tensor;
  KUnit unit;
  bool packed;  // else the coder's mode
  Coder coder = Coder::kHuffman;

  TileMode mode() const {
    if (packed) return kKvcompPacked;
    return coder == Coder::kRans ? kKvcompRans : kKvcompHuffman;
  }
};

class KvcompCorruption : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    shape_ = {GetParam().dtype, GetParam().tensor, 2, 33, 20};
    profile_ = {.codec = CodecId::kKvcomp,
                .rel_k = 0.05,
                .rel_v = 0.1,
                .k_unit = GetParam().unit,
                .coder = GetParam().coder};
    std::string values = SyntheticKv(shape_.dtype, shape_.tensor, 2, 33, 20, 4);
    if (GetParam().packed) {
      // Two values: one bit a code, where the built-in book needs more.
      Random random(1);
      std::vector<float> two(values.size() / ElementBytes(shape_.dtype));
      for (float& v : two) v = random.Below(2) ? 1.0f : -2.0f;
      values = kvcompd::testing::ToBytes(shape_.dtype, two);
    }
    auto group = EncodeGroup(Kvcomp(), shape_, values, {.profile = profile_});
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    ASSERT_EQ(group_.modes[1], GetParam().mode());
    auto tile = DecodeTile(Kvcomp(), shape_, group_, 1);
    ASSERT_TRUE(tile.ok());
    decoded_ = *tile;
  }

  absl::StatusOr<std::string> Decode(std::string_view header, std::string_view payload,
                                     const Codebook* book = nullptr) const {
    return DecodeTile(Kvcomp(), shape_, header, group_.modes[1], payload, book);
  }
  void ExpectRefusedOrDecoded(const absl::StatusOr<std::string>& result) {
    if (!result.ok()) {
      ASSERT_TRUE(absl::IsDataLoss(result.status()) || absl::IsUnimplemented(result.status()))
          << result.status();
    }
  }

  GroupShape shape_;
  Profile profile_;
  EncodedGroup group_;
  std::string decoded_;
};

TEST_P(KvcompCorruption, EveryByteOfAPayload) {
  for (size_t at = 0; at < group_.payloads[1].size(); ++at) {
    for (const int mask : {0x01, 0x10, 0x80, 0xff}) {
      std::string payload = group_.payloads[1];
      payload[at] = static_cast<char>(payload[at] ^ mask);
      ExpectRefusedOrDecoded(Decode(group_.header, payload));
    }
  }
}

TEST_P(KvcompCorruption, EveryByteOfAHeader) {
  for (size_t at = 0; at < group_.header.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string header = group_.header;
      header[at] = static_cast<char>(value);
      ExpectRefusedOrDecoded(Decode(header, group_.payloads[1]));
    }
  }
}

TEST_P(KvcompCorruption, TruncatedAndLonger) {
  for (size_t n = 0; n < group_.payloads[1].size(); ++n) {
    ASSERT_EQ(Decode(group_.header, group_.payloads[1].substr(0, n)).status().code(),
              absl::StatusCode::kDataLoss)
        << n;
  }
  for (size_t n = 0; n < group_.header.size(); ++n) {
    ASSERT_EQ(Decode(group_.header.substr(0, n), group_.payloads[1]).status().code(),
              absl::StatusCode::kDataLoss)
        << n;
  }
  EXPECT_EQ(Decode(group_.header + '\0', group_.payloads[1]).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode(group_.header, group_.payloads[1] + '\0').status().code(), absl::StatusCode::kDataLoss);
}

TEST_P(KvcompCorruption, RandomBytes) {
  Random random(17);
  for (int round = 0; round < 2000; ++round) {
    std::string payload(random.Below(static_cast<uint32_t>(shape_.tile_bytes())), '\0');
    for (char& b : payload) b = static_cast<char>(random.Next());
    ExpectRefusedOrDecoded(Decode(group_.header, payload));
  }
}

TEST_P(KvcompCorruption, WrongBooks) {
  const uint32_t codes = AlphabetSize(profile_, shape_.tensor);
  const QuantUnit unit = UnitOf(profile_, shape_.tensor);
  if (group_.modes[1] != kKvcompPacked) {
    const Codebook& other_alphabet = BuiltInBook(unit, codes + 1, profile_.coder);
    const Codebook& other_coder =
        BuiltInBook(unit, codes, profile_.coder == Coder::kRans ? Coder::kHuffman : Coder::kRans);
    for (const Codebook* const book : {&other_alphabet, &other_coder}) {
      EXPECT_EQ(Decode(group_.header, group_.payloads[1], book).status().code(), absl::StatusCode::kDataLoss);
    }
  }
  std::vector<uint64_t> counts(BookSymbols(profile_, shape_.tensor), 1);
  counts[0] = 1000;
  const Codebook other_counts = Codebook::FromCounts(counts, profile_.coder);
  const auto result = Decode(group_.header, group_.payloads[1], &other_counts);
  ExpectRefusedOrDecoded(result);
  EXPECT_EQ(result.ok() && *result == decoded_, group_.modes[1] == kKvcompPacked);
}

TEST_P(KvcompCorruption, OtherShapes) {
  for (const uint32_t tokens : {1u, 32u, 34u, 64u}) {
    GroupShape other = shape_;
    other.tokens = tokens;
    const auto result =
        DecodeTile(Kvcomp(), other, group_.header, group_.modes[1], group_.payloads[1], nullptr);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss) << tokens;
  }
  if (UnitOf(profile_, shape_.tensor) == QuantUnit::kBlock) return;  // of either tensor
  GroupShape other = shape_;
  other.tensor = shape_.tensor == Tensor::kK ? Tensor::kV : Tensor::kK;
  EXPECT_EQ(DecodeTile(Kvcomp(), other, group_.header, group_.modes[1], group_.payloads[1], nullptr)
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
}

TEST_P(KvcompCorruption, Modes) {
  const auto decode = [&](TileMode mode) {
    return DecodeTile(Kvcomp(), shape_, group_.header, mode, group_.payloads[1], nullptr).status().code();
  };
  EXPECT_EQ(decode(TileMode::kRaw), absl::StatusCode::kDataLoss);  // a payload shorter than the values
  EXPECT_EQ(decode(static_cast<TileMode>(4)), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(decode(static_cast<TileMode>(255)), absl::StatusCode::kUnimplemented);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, KvcompCorruption,
    ::testing::Values(Case{"block", DType::kBf16, Tensor::kK, KUnit::kBlock, false},
                      Case{"channel", DType::kBf16, Tensor::kK, KUnit::kChannel, false},
                      Case{"token", DType::kFp16, Tensor::kV, KUnit::kBlock, false},
                      Case{"e4m3", DType::kFp8E4m3, Tensor::kK, KUnit::kBlock, false},
                      Case{"packed", DType::kBf16, Tensor::kK, KUnit::kBlock, true},
                      Case{"packed_channel", DType::kFp16, Tensor::kK, KUnit::kChannel, true},
                      Case{"rans", DType::kBf16, Tensor::kK, KUnit::kBlock, false, Coder::kRans},
                      Case{"rans_channel", DType::kFp16, Tensor::kK, KUnit::kChannel, false, Coder::kRans},
                      Case{"rans_token", DType::kBf16, Tensor::kV, KUnit::kBlock, false, Coder::kRans},
                      Case{"rans_packed", DType::kBf16, Tensor::kK, KUnit::kBlock, true, Coder::kRans}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(KvcompHeader, RefusesParametersThatNoEncoderWrites) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 64, 8};
  const auto decode = [&](UnitParams params, uint32_t symbols = 23) {
    std::string header(10, '\0');
    header.resize(WriteKvcompHeader(QuantUnit::kBlock, symbols, std::span(&params, 1),
                                    {reinterpret_cast<std::byte*>(header.data()), header.size()}));
    const std::string payload("\x05\x00", 2);  // packed, all codes 5
    return DecodeTile(Kvcomp(), shape, header, kKvcompPacked, payload, nullptr).status().code();
  };
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = 0}), absl::StatusCode::kOk);
  EXPECT_EQ(decode({.scale = 0x0080, .zero = -kMaxZero}), absl::StatusCode::kOk);
  EXPECT_EQ(decode({.scale = 0x7f7f, .zero = kMaxZero}), absl::StatusCode::kOk);
  EXPECT_EQ(decode({.scale = 0x007f, .zero = 0}), absl::StatusCode::kDataLoss);  // denormal
  EXPECT_EQ(decode({.scale = 0x7f80, .zero = 0}), absl::StatusCode::kDataLoss);  // Inf
  EXPECT_EQ(decode({.scale = 0xbf80, .zero = 0}), absl::StatusCode::kDataLoss);  // negative
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = kMaxZero + 1}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = INT32_MIN}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({.scale = 0, .zero = 0x3f80}), absl::StatusCode::kOk);        // constant 1.0
  EXPECT_EQ(decode({.scale = 0, .zero = 0x7f80}), absl::StatusCode::kDataLoss);  // constant Inf
  EXPECT_EQ(decode({.scale = 0, .zero = 0x10000}), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({.scale = 0, .zero = static_cast<int16_t>(0x8000)}), absl::StatusCode::kDataLoss);  // -0
  EXPECT_EQ(decode({.scale = 0, .zero = static_cast<int16_t>(0x8001)}), absl::StatusCode::kOk);  // denormal
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = 0}, 5), absl::StatusCode::kDataLoss);  // code 5 of 0..4
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = 0}, 1), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({.scale = 0x3f80, .zero = 0}, 257), absl::StatusCode::kDataLoss);
}

TEST(KvcompHeader, RefusesMinusZeroOfEveryType) {
  for (const DType dtype : {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2}) {
    const int32_t minus_zero = ElementBytes(dtype) == 2 ? static_cast<int16_t>(0x8000) : 0x80;
    EXPECT_FALSE(ValidUnitParams(dtype, {.scale = 0, .zero = minus_zero}));
    EXPECT_TRUE(ValidUnitParams(dtype, {.scale = 0, .zero = minus_zero + 1}));
    EXPECT_TRUE(ValidUnitParams(dtype, {.scale = 0, .zero = 0}));
    EXPECT_TRUE(ValidUnitParams(dtype, {.scale = 0x3f80, .zero = minus_zero}));  // a number there
  }
}

// A header of K with unit block: unit, flags, symbols, scale and zero.
std::string HeaderOf(int unit, int flags, int symbols, const std::string& params) {
  std::string header;
  for (const int byte : {unit, flags, symbols & 0xff, symbols >> 8}) header += static_cast<char>(byte);
  return header + params;
}

TEST(KvcompHeader, EveryBackendRefusesTheSame) {
  const GroupShape k{DType::kBf16, Tensor::kK, 1, 4, 8};
  const GroupShape v{DType::kBf16, Tensor::kV, 1, 4, 8};
  const auto check = [](const GroupShape& shape, const std::string& header) {
    return Kvcomp().CheckGroupHeader(shape, AsBytes(header)).code();
  };
  const std::string narrow("\x80\x3f\x05\0", 4), wide("\x80\x3f\x05\0\x01\0", 6);
  const std::string tokens = std::string(8, '\x3f') + std::string(8, '\0');
  EXPECT_EQ(check(k, ""), absl::StatusCode::kOk);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 23, narrow)), absl::StatusCode::kOk);
  EXPECT_EQ(check(k, HeaderOf(1, 1, 23, wide)), absl::StatusCode::kOk);
  EXPECT_EQ(check(k, HeaderOf(2, 0, 23, "")), absl::StatusCode::kOk);
  EXPECT_EQ(check(v, HeaderOf(3, 0, 23, tokens)), absl::StatusCode::kOk);
  EXPECT_EQ(check(v, HeaderOf(1, 0, 23, narrow)), absl::StatusCode::kOk);
  // Newer.
  EXPECT_EQ(check(k, HeaderOf(0, 0, 23, narrow)), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(check(k, HeaderOf(4, 0, 23, narrow)), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(check(v, HeaderOf(255, 0, 23, tokens)), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(check(k, HeaderOf(1, 2, 23, narrow)), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(check(k, HeaderOf(2, 0x80, 23, "")), absl::StatusCode::kUnimplemented);
  // Wrong.
  EXPECT_EQ(check(k, HeaderOf(3, 0, 23, tokens)), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(v, HeaderOf(2, 0, 23, "")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 1, 23, std::string("\x80\x3f\x05\0\0\0", 6))),
            absl::StatusCode::kDataLoss);  // wide without need
  EXPECT_EQ(check(k, HeaderOf(2, 1, 23, "")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 1, narrow)), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 257, narrow)), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 23, wide)), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 23, narrow.substr(1))), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(v, HeaderOf(3, 0, 23, tokens.substr(2))), absl::StatusCode::kDataLoss);
  EXPECT_EQ(check(k, HeaderOf(1, 0, 23, std::string("\0\0\0\x80", 4))), absl::StatusCode::kDataLoss);  // -0
  EXPECT_EQ(check({DType::kOpaque, Tensor::kK, 1, 4, 8}, HeaderOf(1, 0, 23, narrow)),
            absl::StatusCode::kDataLoss);
}

TEST(KvcompTile, ChannelParametersAreCheckedLikeHeaders) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 64, 8};
  const std::string header = HeaderOf(2, 0, 23, "");
  const auto decode = [&](int flags, int reserved, const std::string& zeros) {
    std::string payload{static_cast<char>(flags), static_cast<char>(reserved)};
    for (int c = 0; c < 8; ++c) payload += "\x80\x3f";
    return DecodeTile(Kvcomp(), shape, header, kKvcompPacked, payload + zeros + std::string("\x05\0", 2),
                      nullptr)
        .status()
        .code();
  };
  const std::string one_wide = std::string("\0\0\x01\0", 4) + std::string(28, '\0');
  EXPECT_EQ(decode(0, 0, std::string(16, '\0')), absl::StatusCode::kOk);
  EXPECT_EQ(decode(1, 0, one_wide), absl::StatusCode::kOk);
  EXPECT_EQ(decode(1, 0, std::string(32, '\0')), absl::StatusCode::kDataLoss);  // wide without need
  EXPECT_EQ(decode(2, 0, std::string(16, '\0')), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(decode(0, 1, std::string(16, '\0')), absl::StatusCode::kDataLoss);
}

TEST(KvcompTile, ACodedTileIsShorterThanItsValuesAndHasAHeader) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 1, 8};  // 16 bytes of values
  const std::string header = HeaderOf(1, 0, 256, std::string("\x80\x3f\0\0", 4));
  const auto decode = [&](const GroupShape& s, const std::string& h, const std::string& payload) {
    return DecodeTile(Kvcomp(), s, h, kKvcompPacked, payload, nullptr).status().code();
  };
  const std::string packed = std::string("\0\x08", 2) + std::string(8, '\x05');
  EXPECT_EQ(decode(shape, header, packed), absl::StatusCode::kOk);
  EXPECT_EQ(decode(shape, "", packed), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({DType::kOpaque, Tensor::kK, 1, 1, 16}, header, packed), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode({DType::kFp8E4m3, Tensor::kK, 1, 1, 8}, header, packed), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decode(shape, header, std::string("\0\x09", 2) + std::string(9, '\x05')),
            absl::StatusCode::kDataLoss);  // width over 8
}

TEST(KvcompTile, WhatAReaderNeedNotCheckIsTaken) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 2, 8};
  const auto decode = [&](const std::string& params, const std::string& payload) {
    return DecodeTile(Kvcomp(), shape, HeaderOf(1, 0, 23, params), kKvcompPacked, payload, nullptr);
  };
  const std::string step1("\x80\x3f\0\0", 4);
  const std::string fives = std::string("\x05\0", 2);
  // A wider width than needed, and a smaller base; a mode that is not the smallest is the same.
  EXPECT_EQ(*decode(step1, fives), *decode(step1, std::string("\x05\x01\0\0", 4)));
  EXPECT_EQ(*decode(step1, fives), *decode(step1, std::string("\x04\x01\xff\xff", 4)));
  // Any code of a constant unit.
  const std::string constant("\0\0\x80\x3f", 4);
  EXPECT_EQ(*decode(constant, fives), *decode(constant, std::string("\x16\0", 2)));
}

TEST(CodecArguments, AreChecked) {
  const GroupShape good{DType::kBf16, Tensor::kK, 2, 33, 64};
  const std::string values = SyntheticKv(good.dtype, good.tensor, 2, 33, 64, 1);
  for (const CodecId id : {CodecId::kRaw, CodecId::kKvcomp}) {
    const Codec& codec = *FindCodec(id);
    const EncodeParams params{.profile = {.codec = id}};
    ASSERT_TRUE(EncodeGroup(codec, good, values, params).ok());
    const auto with = [&](GroupShape shape) {
      GroupOutput out;
      EncodeStats stats;
      return codec.EncodeGroup(shape, AsBytes(values).data(), 0, params, {}, &out, &stats).code();
    };
    EXPECT_EQ(with(good), absl::StatusCode::kInvalidArgument);  // no output
    GroupShape bad = good;
    bad.heads = 0;
    EXPECT_EQ(with(bad), absl::StatusCode::kInvalidArgument);
    bad = good;
    bad.tokens = 65;
    EXPECT_EQ(with(bad), absl::StatusCode::kInvalidArgument);
    bad = good;
    bad.channels = 577;
    EXPECT_EQ(with(bad), absl::StatusCode::kInvalidArgument);
    bad = good;
    bad.dtype = static_cast<DType>(9);
    EXPECT_EQ(with(bad), absl::StatusCode::kInvalidArgument);
  }
}

TEST(CodecArguments, KvcompWantsItsOwnBookAndProfile) {
  const GroupShape shape{DType::kBf16, Tensor::kK, 1, 16, 64};
  const std::string values = SyntheticKv(shape.dtype, shape.tensor, 1, 16, 64, 1);
  const Profile profile{.codec = CodecId::kKvcomp};
  const Codebook& other = BuiltInBook(QuantUnit::kBlock, AlphabetSize(0.2, false));
  EXPECT_EQ(EncodeGroup(Kvcomp(), shape, values, {.profile = profile, .book = &other}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EncodeGroup(Kvcomp(), shape, values, {.profile = {.codec = CodecId::kRaw}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EncodeGroup(Kvcomp(), shape, values, {.profile = {.codec = CodecId::kKvcomp, .rel_k = 0.9}})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  const auto group = EncodeGroup(Kvcomp(), shape, values, {.profile = profile});
  ASSERT_TRUE(group.ok());
  std::vector<std::byte> out(shape.tile_bytes() - 1), workspace(Kvcomp().WorkspaceBytes(shape));
  EXPECT_EQ(Kvcomp()
                .DecodeTile(shape, AsBytes(group->header), group->modes[0], AsBytes(group->payloads[0]),
                            nullptr, workspace, out)
                .code(),
            absl::StatusCode::kInvalidArgument);
  out.resize(shape.tile_bytes());
  workspace.pop_back();
  EXPECT_EQ(Kvcomp()
                .DecodeTile(shape, AsBytes(group->header), group->modes[0], AsBytes(group->payloads[0]),
                            nullptr, workspace, out)
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(RawCodec, CopiesAnyBytes) {
  const Codec& raw = *FindCodec(CodecId::kRaw);
  for (const DType dtype : {DType::kBf16, DType::kFp8E4m3, DType::kOpaque}) {
    const GroupShape shape{dtype, Tensor::kV, 3, 7, 20};
    Random random(1);
    std::string values(3 * shape.tile_bytes(), '\0');
    for (char& b : values) b = static_cast<char>(random.Next());
    const auto group = EncodeGroup(raw, shape, values, {.profile = {.codec = CodecId::kRaw}});
    ASSERT_TRUE(group.ok());
    EXPECT_EQ(group->header, "");
    EXPECT_EQ(group->stats.raw_tiles, 3u);
    EXPECT_EQ(group->stats.max_error_over_r, 0);
    for (uint32_t h = 0; h < 3; ++h) {
      EXPECT_EQ(*DecodeTile(raw, shape, *group, h),
                values.substr(h * shape.tile_bytes(), shape.tile_bytes()));
    }
    EXPECT_EQ(DecodeTile(raw, shape, "", TileMode::kRaw, values.substr(1, shape.tile_bytes() - 1), nullptr)
                  .status()
                  .code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecodeTile(raw, shape, "x", TileMode::kRaw, group->payloads[0], nullptr).status().code(),
              absl::StatusCode::kDataLoss);
    for (const int mode : {1, 2, 7, 255}) {
      EXPECT_EQ(DecodeTile(raw, shape, "", static_cast<TileMode>(mode), group->payloads[0], nullptr)
                    .status()
                    .code(),
                absl::StatusCode::kUnimplemented);
      EXPECT_FALSE(raw.KnowsMode(static_cast<TileMode>(mode)));
    }
    EXPECT_TRUE(raw.KnowsMode(TileMode::kRaw));
    EXPECT_TRUE(raw.bit_exact());
    EXPECT_EQ(raw.CheckGroupHeader(shape, {}), absl::OkStatus());
    EXPECT_EQ(raw.CheckGroupHeader(shape, AsBytes("x")).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(Registry, KnowsItsCodecs) {
  EXPECT_EQ(FindCodec(CodecId::kRaw)->id(), CodecId::kRaw);
  EXPECT_EQ(FindCodec(CodecId::kKvcomp)->id(), CodecId::kKvcomp);
  EXPECT_EQ(FindCodec(static_cast<CodecId>(0)), nullptr);
  EXPECT_EQ(FindCodec(static_cast<CodecId>(99)), nullptr);
}

TEST(WorkspaceMemory, GrowsAndIsAligned) {
  Workspace ws;
  EXPECT_EQ(ws.Get(0).size(), 0u);
  const auto small = ws.Get(10);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small.data()) % 64, 0u);
  EXPECT_EQ(small.size(), 10u);
  EXPECT_EQ(ws.Get(100000).size(), 100000u);
  EXPECT_EQ(ws.Get(5).data(), ws.Get(90000).data());
}

}  // namespace
}  // namespace kvcompd::codec
