// What holds for every codec, element type and instruction set.
#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/bound_check.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/float_format.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/codec_profiles.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::DecodeTile;
using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;
using kvcompd::testing::TestNameOf;
using kvcompd::testing::ToBytes;

constexpr DType kDTypes[] = {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2, DType::kOpaque};
constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};

uint64_t Stored(uint64_t bytes) {
  return (bytes + kPayloadAlignment - 1) / kPayloadAlignment * kPayloadAlignment;
}

class CodecSuite : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  ~CodecSuite() override { UseSimdTarget(SupportedSimdTargets().back()); }

  const Profile profile_ = Profile::Parse(std::get<0>(GetParam())).value();
  const Codec& codec_ = *FindCodec(profile_.codec);
  const DType dtype_ = std::get<1>(GetParam());

  struct Coded {
    EncodedGroup group;
    std::string values;  // decoded, all heads
  };
  // Encodes and decodes with the active target, twice, with different dirt in every buffer.
  Coded Code(const GroupShape& shape, const std::string& values) {
    Coded coded;
    const EncodeParams params{.profile = profile_};
    auto group = EncodeGroup(codec_, shape, values, params, 0x00);
    const auto again = EncodeGroup(codec_, shape, values, params, 0xff);
    EXPECT_TRUE(group.ok()) << group.status();
    if (!group.ok()) return coded;
    EXPECT_TRUE(again.ok() && *group == *again) << "not deterministic";
    coded.group = *std::move(group);
    for (uint32_t h = 0; h < shape.heads; ++h) {
      const auto tile = DecodeTile(codec_, shape, coded.group, h, nullptr, 0x00);
      const auto dirty = DecodeTile(codec_, shape, coded.group, h, nullptr, 0xff);
      EXPECT_TRUE(tile.ok()) << tile.status();
      if (!tile.ok()) return coded;
      EXPECT_TRUE(dirty.ok() && *tile == *dirty) << "decoding depends on what the buffers held";
      if (const auto crc = coded.group.decoded_crcs[h]; crc.has_value()) {
        EXPECT_EQ(*crc, Crc32c(AsBytes(*tile))) << "the encoder handed over other values' CRC";
      }
      coded.values += *tile;
    }
    return coded;
  }

  void CheckSizes(const GroupShape& shape, const EncodedGroup& group) {
    EXPECT_LE(group.header.size(), codec_.GroupHeaderBound(shape));
    EXPECT_TRUE(codec_.CheckGroupHeader(shape, AsBytes(group.header)).ok());
    uint64_t bytes = group.header.size(), stored = Stored(bytes), raw_tiles = 0;
    for (uint32_t h = 0; h < shape.heads; ++h) {
      EXPECT_TRUE(codec_.KnowsMode(group.modes[h]));
      bytes += group.payloads[h].size();
      stored += Stored(group.payloads[h].size());
      raw_tiles += group.modes[h] == TileMode::kRaw;
      if (group.modes[h] == TileMode::kRaw) {
        EXPECT_EQ(group.payloads[h].size(), shape.tile_bytes());
      } else {
        EXPECT_LT(Stored(group.payloads[h].size()), Stored(shape.tile_bytes()));
      }
    }
    EXPECT_LE(stored, shape.heads * Stored(shape.tile_bytes())) << "more than raw";
    EXPECT_EQ(group.stats.payload_bytes, bytes);
    EXPECT_EQ(group.stats.tiles, shape.heads);
    EXPECT_EQ(group.stats.raw_tiles, raw_tiles);
    EXPECT_EQ(group.stats.raw_bytes, uint64_t{shape.heads} * shape.tile_bytes());
  }

  // By an implementation of the bound that shares no code with the codecs.
  void CheckErrorBound(const GroupShape& shape, const std::string& values, const Coded& coded) {
    const client::BoundSpec spec =
        client::BoundSpecOf(profile_, shape.tensor, dtype_, shape.heads, shape.tokens, shape.channels);
    const auto report = client::CheckBound(spec, AsBytes(values), AsBytes(coded.values));
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->violations, 0u) << report->first_violation;
    // intq's is relative to its rounded step.
    EXPECT_NEAR(coded.group.stats.max_error_over_r, report->max_error_over_r, report->max_error_over_r / 256);
  }

  // Everything that is promised of one group, on every instruction set. Returns the coded group.
  Coded CheckGroup(const GroupShape& shape, const std::string& values) {
    UseSimdTarget(SimdTarget::kScalar);
    Coded reference = Code(shape, values);
    if (HasFailure()) return reference;
    CheckSizes(shape, reference.group);
    for (uint32_t h = 0; h < shape.heads; ++h) {
      if (!codec_.bit_exact() && reference.group.modes[h] != TileMode::kRaw) continue;
      EXPECT_TRUE(reference.values.substr(size_t{h} * shape.tile_bytes(), shape.tile_bytes()) ==
                  values.substr(size_t{h} * shape.tile_bytes(), shape.tile_bytes()))
          << "not bit-exact";
    }
    if (dtype_ != DType::kOpaque) CheckErrorBound(shape, values, reference);
    for (const SimdTarget target : SupportedSimdTargets()) {
      UseSimdTarget(target);
      const Coded coded = Code(shape, values);
      EXPECT_TRUE(coded.group == reference.group) << SimdTargetName(target) << " encodes other bytes";
      EXPECT_EQ(coded.group.stats.max_error_over_r, reference.group.stats.max_error_over_r)
          << SimdTargetName(target);
      EXPECT_EQ(coded.group.histogram, reference.group.histogram) << SimdTargetName(target);
      EXPECT_TRUE(coded.values == reference.values) << SimdTargetName(target) << " decodes other values";
    }
    return reference;
  }
};

std::string SuiteName(const ::testing::TestParamInfo<std::tuple<const char*, DType>>& info) {
  return TestNameOf(absl::StrCat(std::get<0>(info.param), "_", static_cast<int>(std::get<1>(info.param))));
}

TEST_P(CodecSuite, IsTheSameOnEveryInstructionSetOverShapes) {
  uint64_t seed = 0;
  for (const uint32_t channels : {8u, 20u, 33u, 64u, 96u, 128u, 576u}) {
    for (const uint32_t tokens : {1u, 7u, 33u, 64u}) {
      for (const Tensor tensor : kTensors) {
        const GroupShape shape{dtype_, tensor, 1 + static_cast<uint32_t>(seed % 3), tokens, channels};
        SCOPED_TRACE(absl::StrCat("heads ", shape.heads, " tokens ", tokens, " channels ", channels,
                                  tensor == Tensor::kK ? " K" : " V"));
        CheckGroup(shape, SyntheticKv(dtype_, tensor, shape.heads, tokens, channels, ++seed));
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

TEST_P(CodecSuite, CompressesWhatLooksLikeAModels) {
  if (profile_.codec == CodecId::kRaw || dtype_ == DType::kOpaque) return;
  if (profile_.strict || (profile_.lossless() && ElementBytes(dtype_) == 1)) return;  // may well be raw
  if (profile_.codec == CodecId::kIntq && profile_.bits == 8 && ElementBytes(dtype_) == 1)
    return;  // no smaller
  for (const Tensor tensor : kTensors) {
    const GroupShape shape{dtype_, tensor, 4, 64, 128};
    const Coded coded = CheckGroup(shape, SyntheticKv(dtype_, tensor, 4, 64, 128, 5));
    EXPECT_LT(coded.group.stats.payload_bytes, coded.group.stats.raw_bytes) << static_cast<int>(tensor);
  }
}

// Values that are no model's: one of each in its own head, so that each has its own fallback.
TEST_P(CodecSuite, TakesEveryValue) {
  if (dtype_ == DType::kOpaque) return;
  const FloatFormat& format = FloatFormatOf(dtype_);
  const uint32_t bytes = ElementBytes(dtype_);
  std::vector<uint16_t> largest, smallest;
  for (uint32_t bits = 0; bits < (bytes == 1 ? 256u : 65536u); ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    if ((bits & format.sign) != 0 || !IsFinite(dtype_, b)) continue;
    if (largest.empty() || FloatOfBits(dtype_, b) > FloatOfBits(dtype_, largest[0])) largest = {b};
    if (bits == 1) smallest = {b};
  }
  const auto sign = static_cast<uint16_t>(format.sign);
  const uint16_t one = BitsOfFloat(dtype_, 1.0f);
  const std::vector<std::vector<uint16_t>> kinds = {
      {0},                                                          // zeros
      {sign},                                                       // negative zeros
      {one},                                                        // a constant
      {one, static_cast<uint16_t>(one | sign)},                     // two values
      {smallest[0], 0, static_cast<uint16_t>(smallest[0] | sign)},  // denormals
      {largest[0], static_cast<uint16_t>(largest[0] | sign)},       // the widest range
      {largest[0], smallest[0]},                                    //
      {0, sign},
  };
  for (const uint32_t channels : {8u, 40u}) {
    for (const Tensor tensor : kTensors) {
      for (size_t heads = 1; heads <= kinds.size(); heads += kinds.size() - 1) {
        for (size_t first = 0; first < (heads == 1 ? kinds.size() : 1); ++first) {
          const GroupShape shape{dtype_, tensor, static_cast<uint32_t>(heads), 9, channels};
          std::string values;
          for (size_t h = 0; h < heads; ++h) {
            const std::vector<uint16_t>& kind = kinds[first + h];
            for (uint32_t i = 0; i < 9 * channels; ++i) {
              values.append(reinterpret_cast<const char*>(&kind[i % kind.size()]), bytes);
            }
          }
          SCOPED_TRACE(absl::StrCat("kind ", first, " of ", heads));
          CheckGroup(shape, values);
          ASSERT_FALSE(HasFailure());
        }
      }
    }
  }
}

// Every bit pattern of the type, NaN payloads and infinities included, beside heads of usual values.
TEST_P(CodecSuite, TakesEveryBitPattern) {
  const uint32_t bytes = ElementBytes(dtype_);
  const uint32_t patterns = bytes == 1 ? 256 : 65536;
  constexpr uint32_t kTokens = 64, kChannels = 128;
  const uint32_t tile_values = kTokens * kChannels;
  for (const Tensor tensor : kTensors) {
    std::string values;
    for (uint32_t i = 0; i < std::max(patterns, tile_values); ++i) {
      const auto bits = static_cast<uint16_t>(i % patterns);
      values.append(reinterpret_cast<const char*>(&bits), bytes);
    }
    values += SyntheticKv(dtype_, tensor, 1, kTokens, kChannels, 3);
    const GroupShape shape{dtype_, tensor, static_cast<uint32_t>(values.size() / bytes / tile_values),
                           kTokens, kChannels};
    CheckGroup(shape, values);
  }
}

class CodecCorruption : public CodecSuite {
 protected:
  // A tile of a mode other than raw where the codec has one; none: nothing to corrupt.
  bool Make(Tensor tensor) {
    shape_ = {dtype_, tensor, 2, 5, 16};
    coded_ = Code(shape_, SyntheticKv(dtype_, tensor, 2, 5, 16, 9));
    return !HasFailure();
  }
  // Decodes on every instruction set: the same answer everywhere, and one of those that are allowed.
  void Decode(std::string_view header, TileMode mode, std::string_view payload, bool must_fail) {
    std::string first;
    absl::Status first_status;
    for (const SimdTarget target : SupportedSimdTargets()) {
      UseSimdTarget(target);
      const auto tile = DecodeTile(codec_, shape_, header, mode, payload, nullptr);
      const absl::StatusCode code = tile.status().code();
      EXPECT_TRUE(code == absl::StatusCode::kOk || code == absl::StatusCode::kDataLoss ||
                  code == absl::StatusCode::kUnimplemented)
          << tile.status();
      if (must_fail) {
        EXPECT_FALSE(tile.ok());
      }
      if (target == SimdTarget::kScalar) {
        first_status = tile.status();
        first = tile.value_or("");
      } else {
        EXPECT_EQ(code, first_status.code()) << SimdTargetName(target);
        EXPECT_TRUE(!tile.ok() || *tile == first) << SimdTargetName(target);
      }
    }
  }

  GroupShape shape_;
  Coded coded_;
};

TEST_P(CodecCorruption, EveryBitFlippedDecodesOrIsRefused) {
  for (const Tensor tensor : kTensors) {
    ASSERT_TRUE(Make(tensor));
    const EncodedGroup& group = coded_.group;
    for (uint32_t h = 0; h < shape_.heads; ++h) {
      for (size_t bit = 0; bit < 8 * group.header.size(); ++bit) {
        std::string header = group.header;
        header[bit / 8] = static_cast<char>(header[bit / 8] ^ (1 << bit % 8));
        Decode(header, group.modes[h], group.payloads[h], false);
      }
      for (size_t bit = 0; bit < 8 * group.payloads[h].size(); ++bit) {
        std::string payload = group.payloads[h];
        payload[bit / 8] = static_cast<char>(payload[bit / 8] ^ (1 << bit % 8));
        Decode(group.header, group.modes[h], payload, false);
      }
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST_P(CodecCorruption, EveryOtherLengthIsRefused) {
  for (const Tensor tensor : kTensors) {
    ASSERT_TRUE(Make(tensor));
    const EncodedGroup& group = coded_.group;
    for (uint32_t h = 0; h < shape_.heads; ++h) {
      const std::string& payload = group.payloads[h];
      for (size_t n = 0; n < payload.size(); ++n)
        Decode(group.header, group.modes[h], payload.substr(0, n), true);
      Decode(group.header, group.modes[h], payload + std::string(1, '\0'), true);
      Decode(group.header, group.modes[h], payload + std::string(16, '\0'), true);
    }
    const ByteSpan header = AsBytes(group.header);
    for (size_t n = 1; n < group.header.size(); ++n) {
      EXPECT_FALSE(codec_.CheckGroupHeader(shape_, header.first(n)).ok()) << n;
    }
    if (!group.header.empty()) {
      EXPECT_FALSE(codec_.CheckGroupHeader(shape_, AsBytes(group.header + std::string(1, '\0'))).ok());
    }
  }
}

TEST_P(CodecCorruption, AnyModeWithAnyBytesDecodesOrIsRefused) {
  Random random(21);
  for (const Tensor tensor : kTensors) {
    ASSERT_TRUE(Make(tensor));
    for (int i = 0; i < 3000; ++i) {
      const auto mode = static_cast<TileMode>(random.Below(codec_.mode_names().size() + 1));
      std::string header = coded_.group.header;
      if (random.Below(4) == 0) {
        for (char& c : header) {
          if (random.Below(4) == 0) c = static_cast<char>(random.Below(256));
        }
      }
      std::string payload(random.Below(shape_.tile_bytes() + 2), '\0');
      const uint32_t mask = 1u << random.Below(9);
      for (char& c : payload) c = static_cast<char>(random.Below(mask));
      if (random.Below(2) == 0) {
        const std::string& real = coded_.group.payloads[random.Below(shape_.heads)];
        payload.replace(0, std::min(payload.size(), real.size()), real.substr(0, payload.size()));
      }
      Decode(header, mode, payload, !codec_.KnowsMode(mode));
    }
  }
}

TEST_P(CodecCorruption, WrongBuffersAreTheCallersMistake) {
  ASSERT_TRUE(Make(Tensor::kK));
  const EncodedGroup& group = coded_.group;
  std::vector<std::byte> workspace(codec_.WorkspaceBytes(shape_)), values(shape_.tile_bytes() + 1);
  const auto decode = [&](size_t workspace_bytes, size_t value_bytes) {
    return codec_
        .DecodeTile(shape_, AsBytes(group.header), group.modes[0], AsBytes(group.payloads[0]), nullptr,
                    MutableByteSpan(workspace).first(workspace_bytes),
                    MutableByteSpan(values).first(value_bytes))
        .code();
  };
  EXPECT_EQ(decode(workspace.size(), shape_.tile_bytes()), absl::StatusCode::kOk);
  EXPECT_EQ(decode(workspace.size(), shape_.tile_bytes() - 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(decode(workspace.size(), shape_.tile_bytes() + 1), absl::StatusCode::kInvalidArgument);
  if (!workspace.empty() && group.modes[0] != TileMode::kRaw) {
    EXPECT_EQ(decode(workspace.size() - 1, shape_.tile_bytes()), absl::StatusCode::kInvalidArgument);
  }

  const std::string raw = SyntheticKv(dtype_, Tensor::kK, 2, 5, 16, 9);
  std::vector<std::byte> header(codec_.GroupHeaderBound(shape_)), payload(2 * codec_.TileBound(shape_));
  std::vector<GroupOutput::Tile> tiles(2);
  const auto encode = [&](GroupOutput out, size_t workspace_bytes, const Profile& profile) {
    EncodeStats stats;
    return codec_
        .EncodeGroup(shape_, AsBytes(raw).data(), shape_.tile_bytes(), {.profile = profile},
                     MutableByteSpan(workspace).first(workspace_bytes), &out, &stats)
        .code();
  };
  const GroupOutput good{
      .header = header, .payload = payload, .payload_stride = codec_.TileBound(shape_), .tiles = tiles};
  EXPECT_EQ(encode(good, workspace.size(), profile_), absl::StatusCode::kOk);
  GroupOutput out = good;
  out.payload = out.payload.first(out.payload.size() - 1);
  EXPECT_EQ(encode(out, workspace.size(), profile_), absl::StatusCode::kInvalidArgument);
  out = good;
  --out.payload_stride;
  EXPECT_EQ(encode(out, workspace.size(), profile_), absl::StatusCode::kInvalidArgument);
  out = good;
  out.tiles = out.tiles.first(1);
  EXPECT_EQ(encode(out, workspace.size(), profile_), absl::StatusCode::kInvalidArgument);
  if (!header.empty()) {
    out = good;
    out.header = out.header.first(out.header.size() - 1);
    EXPECT_EQ(encode(out, workspace.size(), profile_), absl::StatusCode::kInvalidArgument);
  }
  if (!workspace.empty()) {
    EXPECT_EQ(encode(good, workspace.size() - 1, profile_), absl::StatusCode::kInvalidArgument);
  }
  const CodecId other = profile_.codec == CodecId::kRaw ? CodecId::kKvcomp : CodecId::kRaw;
  EXPECT_EQ(encode(good, workspace.size(), Profile::Of(other)), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Profiles, CodecSuite,
                         ::testing::Combine(::testing::ValuesIn(kvcompd::testing::kSuiteProfiles),
                                            ::testing::ValuesIn(kDTypes)),
                         SuiteName);
INSTANTIATE_TEST_SUITE_P(Profiles, CodecCorruption,
                         ::testing::Combine(::testing::ValuesIn(kvcompd::testing::kSuiteProfiles),
                                            ::testing::ValuesIn(kDTypes)),
                         SuiteName);

}  // namespace
}  // namespace kvcompd::codec
