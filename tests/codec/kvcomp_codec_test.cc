// Properties of codec kvcomp over element types, relative steps, units and shapes.
#include "codec/kvcomp_codec.h"

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/float_format.h"
#include "codec/kvcomp_header.h"
#include "codec/tile_payload.h"
#include "gtest/gtest.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"
#include "tests/codec/kvcomp_oracle.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::BoundCheck;
using kvcompd::testing::CheckGroup;
using kvcompd::testing::DecodeTile;
using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;
using kvcompd::testing::ToBytes;

Profile MakeProfile(double rel, KUnit unit, bool strict = false) {
  return {.codec = CodecId::kKvcomp, .rel_k = rel, .rel_v = rel, .k_unit = unit, .strict = strict};
}

struct RoundTrip {
  EncodedGroup group;
  std::string decoded;
  BoundCheck check;
};

// Encodes twice with different dirt in the buffers, decodes every tile, and checks what must always hold.
RoundTrip RunGroup(const GroupShape& shape, const Profile& profile, const std::string& values,
                   const Codebook* book = nullptr) {
  const KvcompCodec codec;
  const EncodeParams params{.profile = profile, .book = book};
  RoundTrip trip;
  auto group = EncodeGroup(codec, shape, values, params, 0x00);
  auto again = EncodeGroup(codec, shape, values, params, 0xff);
  EXPECT_TRUE(group.ok() && again.ok()) << group.status() << again.status();
  if (!group.ok() || !again.ok()) return trip;
  EXPECT_TRUE(*group == *again) << "not deterministic";
  trip.group = *std::move(group);
  // What the group takes in a segment, padding included.
  const auto stored = [](uint64_t bytes) { return (bytes + 15) / 16 * 16; };
  uint64_t bytes = trip.group.header.size(), stored_bytes = stored(bytes);
  for (uint32_t h = 0; h < shape.heads; ++h) {
    EXPECT_LE(trip.group.payloads[h].size(), shape.tile_bytes());
    bytes += trip.group.payloads[h].size();
    stored_bytes += stored(trip.group.payloads[h].size());
    if (trip.group.modes[h] != TileMode::kRaw) {
      EXPECT_LT(stored(trip.group.payloads[h].size()), stored(shape.tile_bytes()));
    }
    const auto tile = DecodeTile(codec, shape, trip.group, h, book, 0x00);
    const auto dirty = DecodeTile(codec, shape, trip.group, h, book, 0xff);
    EXPECT_TRUE(tile.ok()) << tile.status();
    if (!tile.ok() || !dirty.ok()) return trip;
    EXPECT_EQ(*tile, *dirty);
    trip.decoded += *tile;
  }
  EXPECT_LE(stored_bytes, shape.heads * stored(shape.tile_bytes()));
  EXPECT_EQ(trip.group.stats.payload_bytes, bytes);
  EXPECT_EQ(trip.group.stats.tiles, shape.heads);
  trip.check = CheckGroup(shape, profile, values, trip.decoded, trip.group.modes);
  EXPECT_EQ(trip.check.failures, "");
  EXPECT_DOUBLE_EQ(trip.group.stats.max_error_over_r, trip.check.max_error_over_r);
  return trip;
}

class KvcompSweep : public ::testing::TestWithParam<std::tuple<DType, double>> {};

TEST_P(KvcompSweep, KeepsTheBoundOverUnitsAndShapes) {
  const auto [dtype, rel] = GetParam();
  uint64_t seed = 0;
  for (const uint32_t channels : {8u, 20u, 64u, 80u, 128u, 192u, 256u, 576u}) {
    for (const uint32_t tokens : {1u, 7u, 16u, 33u, 64u}) {
      for (const uint32_t heads : {1u, 2u, 3u}) {
        for (const int kind : {0, 1, 2}) {  // K block, K channel, V token
          const Tensor tensor = kind == 2 ? Tensor::kV : Tensor::kK;
          const GroupShape shape{dtype, tensor, heads, tokens, channels};
          SCOPED_TRACE(
              absl::StrCat("kind ", kind, " heads ", heads, " tokens ", tokens, " channels ", channels));
          const std::string values = SyntheticKv(dtype, tensor, heads, tokens, channels, ++seed);
          const RoundTrip trip =
              RunGroup(shape, MakeProfile(rel, kind == 1 ? KUnit::kChannel : KUnit::kBlock), values);
          ASSERT_FALSE(HasFailure());
          EXPECT_EQ(trip.group.stats.bound_tiles, 0u);  // the arithmetic never misses its own bound
          EXPECT_EQ(trip.group.stats.nonfinite_tiles, 0u);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TypesAndSteps, KvcompSweep,
                         ::testing::Combine(::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3,
                                                              DType::kFp8E5m2),
                                            ::testing::Values(0.005, 0.01, 0.05, 0.1, 0.2, 0.5)));

class KvcompContent : public ::testing::TestWithParam<std::tuple<DType, KUnit, Tensor>> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  GroupShape shape() const { return {dtype(), std::get<2>(GetParam()), 3, 33, 40}; }
  Profile profile(double rel = 0.05) const { return MakeProfile(rel, std::get<1>(GetParam())); }
  size_t n() const { return size_t{3} * 33 * 40; }
  float max_finite() const { return FloatOfBits(dtype(), FloatFormatOf(dtype()).max_finite); }
  bool is_16_bit() const { return ElementBytes(dtype()) == 2; }

  std::vector<float> Uniform(double low, double high) const {
    Random random(11);
    std::vector<float> v(n());
    for (float& x : v) x = static_cast<float>(low + (high - low) * random.Uniform());
    return v;
  }
  RoundTrip Run(const std::vector<float>& values, double rel = 0.05) const {
    return RunGroup(shape(), profile(rel), ToBytes(dtype(), values));
  }
};

TEST_P(KvcompContent, MeanFarAboveTheRange) {
  for (const double sign : {1.0, -1.0}) {
    const RoundTrip fifty = Run(Uniform(sign * 50, sign * 50 + 1));
    if (is_16_bit()) {
      EXPECT_EQ(fifty.group.stats.raw_tiles, 0u);
    }
    const RoundTrip thousand = Run(Uniform(sign * 1000, sign * 1000 + 1));
    EXPECT_EQ(thousand.group.stats.bound_tiles, 0u);
  }
}

TEST_P(KvcompContent, MeanFarAboveTheRangeAtTheSmallestStep) {
  if (!is_16_bit()) GTEST_SKIP() << "the type does not resolve such values";
  // Two or three values of the type a unit, and a zero point beyond 16 bits.
  const bool bf16 = dtype() == DType::kBf16;
  const RoundTrip trip = Run(bf16 ? Uniform(1.982, 1.991) : Uniform(1.0, 1.002), 0.005);
  EXPECT_EQ(trip.group.stats.bound_tiles, 0u);
  int wide = 0;
  if (std::get<1>(GetParam()) == KUnit::kChannel && std::get<2>(GetParam()) == Tensor::kK) {
    for (uint32_t h = 0; h < 3; ++h) {
      if (trip.group.modes[h] == TileMode::kRaw) continue;
      wide += trip.group.payloads[h][0] == kFlagWideZeros;
      EXPECT_GT(trip.group.payloads[h].size(), 2u + 6 * 40);
    }
  } else {
    ASSERT_NE(trip.group.header, "");
    wide = trip.group.header[1] == kFlagWideZeros;
    const uint32_t units = std::get<2>(GetParam()) == Tensor::kV ? 33 : 1;
    EXPECT_EQ(trip.group.header.size(), 4u + 6 * units);
  }
  EXPECT_GT(wide, 0);
}

TEST_P(KvcompContent, ConstantsAndZerosAreExact) {
  for (const float value : {0.0f, 1.5f, -1.5f, max_finite(), -max_finite()}) {
    const RoundTrip trip = Run(std::vector<float>(n(), value));
    EXPECT_EQ(kvcompd::testing::ToFloats(dtype(), trip.decoded), std::vector<float>(n(), value));
    // One code: packed in no bits; channels still pay for their parameters.
    if (std::get<1>(GetParam()) == KUnit::kBlock || std::get<2>(GetParam()) == Tensor::kV) {
      EXPECT_EQ(trip.group.payloads[0].size(), 2u);
    }
  }
}

TEST_P(KvcompContent, SmallestDenormalAsConstant) {
  const std::vector<float> values(n(), -FloatOfBits(dtype(), 1));
  EXPECT_EQ(kvcompd::testing::ToFloats(dtype(), Run(values).decoded), values);
}

TEST_P(KvcompContent, BothZeros) {
  std::vector<float> values(n(), 0.0f);
  for (size_t i = 0; i < n(); i += 3) values[i] = -0.0f;
  Run(values);
  values[5] = 1;
  Run(values);
}

TEST_P(KvcompContent, Denormals) {
  std::vector<float> values(n());
  Random random(3);
  for (float& v : values) v = FloatOfBits(dtype(), random.Below(1u << FloatFormatOf(dtype()).man_bits));
  const RoundTrip trip = Run(values);
  if (dtype() == DType::kBf16) {
    // The step would be an fp32 denormal.
    EXPECT_EQ(trip.group.stats.bound_tiles, 3u);
    EXPECT_EQ(trip.group.header, "");
  } else {
    EXPECT_EQ(trip.group.stats.bound_tiles, 0u);
  }
}

TEST_P(KvcompContent, TheWholeRangeOfTheType) {
  const double max = max_finite();
  for (const double rel : {0.005, 0.05, 0.5}) {
    std::vector<float> values = Uniform(-max, max);
    values[0] = static_cast<float>(max);
    values[1] = static_cast<float>(-max);
    const RoundTrip trip = Run(values, rel);
    EXPECT_EQ(trip.group.stats.bound_tiles, 0u);
    for (const float y : kvcompd::testing::ToFloats(dtype(), trip.decoded)) ASSERT_TRUE(std::isfinite(y));
  }
}

TEST_P(KvcompContent, OutlierChannelsAndNegatives) {
  std::vector<float> values = Uniform(-3, -1);
  for (size_t i = 0; i < n(); ++i) {
    if (i % 40 == 7) values[i] *= 50;
  }
  const RoundTrip trip = Run(values);
  EXPECT_EQ(trip.group.stats.bound_tiles, 0u);
}

TEST_P(KvcompContent, TilesWithNanOrInfAreExactBesideLossyOnes) {
  const FloatFormat f = FloatFormatOf(dtype());
  std::string values = ToBytes(dtype(), Uniform(-1, 1));
  const uint32_t element = ElementBytes(dtype());
  const size_t tile = shape().tile_bytes();
  // Every kind of non-finite pattern with its payload, into head 1.
  for (uint32_t i = 0, bits = f.max_finite + 1; bits < f.sign && i < 300; bits += is_16_bit() ? 7 : 1, ++i) {
    const uint32_t pattern = bits | (i % 2 ? f.sign : 0);
    values.replace(tile + i * element, element, reinterpret_cast<const char*>(&pattern), element);
  }
  const RoundTrip trip = RunGroup(shape(), profile(), values);
  EXPECT_EQ(trip.group.modes[1], TileMode::kRaw);
  EXPECT_EQ(trip.group.stats.nonfinite_tiles, 1u);
  EXPECT_EQ(trip.group.stats.raw_tiles, 1u);
  EXPECT_NE(trip.group.modes[0], TileMode::kRaw);
  EXPECT_NE(trip.group.modes[2], TileMode::kRaw);
  EXPECT_EQ(trip.decoded.substr(tile, tile), values.substr(tile, tile));

  for (uint32_t h = 0; h < 3; ++h) {
    const uint32_t nan = f.max_finite + 1;
    values.replace(h * tile, element, reinterpret_cast<const char*>(&nan), element);
  }
  const RoundTrip none = RunGroup(shape(), profile(), values);
  EXPECT_EQ(none.group.stats.nonfinite_tiles, 3u);
  EXPECT_EQ(none.group.header, "");
  EXPECT_EQ(none.decoded, values);
}

TEST_P(KvcompContent, ErrorIsNeitherTooLargeNorTooSmall) {
  if (!is_16_bit()) {
    // The type's own steps are not small beside the quantiser's, and both are discrete: wider limits.
    const RoundTrip trip = Run(Uniform(-1, 1), 0.5);
    EXPECT_GT(trip.check.lossy_values, n() / 2);
    EXPECT_GT(trip.check.rms_error_over_r, 0.45);
    EXPECT_LT(trip.check.rms_error_over_r, 0.7);
    EXPECT_GT(trip.check.max_error_over_r, 0.8);
    EXPECT_LT(trip.check.max_error_over_r, 1.3);
    return;
  }
  for (const double rel : {0.05, 0.2, 0.5}) {
    const RoundTrip trip = Run(Uniform(-1, 1), rel);
    EXPECT_GT(trip.check.lossy_values, n() / 2);
    // A uniform error in [-step/2, step/2], where step/2 is r less up to 2^-7, has an rms of 0.577 r.
    EXPECT_GT(trip.check.rms_error_over_r, 0.52) << rel;
    EXPECT_LT(trip.check.rms_error_over_r, 0.65) << rel;
    EXPECT_GT(trip.check.max_error_over_r, 0.95) << rel;
    EXPECT_LT(trip.check.max_error_over_r, 1.2) << rel;
  }
}

INSTANTIATE_TEST_SUITE_P(TypesAndUnits, KvcompContent,
                         ::testing::Values(std::tuple(DType::kBf16, KUnit::kBlock, Tensor::kK),
                                           std::tuple(DType::kBf16, KUnit::kChannel, Tensor::kK),
                                           std::tuple(DType::kBf16, KUnit::kBlock, Tensor::kV),
                                           std::tuple(DType::kFp16, KUnit::kBlock, Tensor::kK),
                                           std::tuple(DType::kFp16, KUnit::kChannel, Tensor::kK),
                                           std::tuple(DType::kFp16, KUnit::kBlock, Tensor::kV),
                                           std::tuple(DType::kFp8E4m3, KUnit::kBlock, Tensor::kK),
                                           std::tuple(DType::kFp8E4m3, KUnit::kChannel, Tensor::kK),
                                           std::tuple(DType::kFp8E4m3, KUnit::kBlock, Tensor::kV),
                                           std::tuple(DType::kFp8E5m2, KUnit::kBlock, Tensor::kK),
                                           std::tuple(DType::kFp8E5m2, KUnit::kChannel, Tensor::kK),
                                           std::tuple(DType::kFp8E5m2, KUnit::kBlock, Tensor::kV)));

TEST(Kvcomp, UnitsSpanWhatTheFormatSays) {
  // Head 1 is 100 times wider. A block unit gives head 0 the wide step, a channel unit does not; and a head
  // with NaN has no say.
  const GroupShape shape{DType::kFp16, Tensor::kK, 2, 64, 64};
  Random random(5);
  std::vector<float> values(2 * 64 * 64);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((random.Uniform() - 0.5) * (i < values.size() / 2 ? 1 : 100));
  }
  std::string bytes = ToBytes(shape.dtype, values);
  const auto scale_of = [](const EncodedGroup& group) {
    uint16_t scale = 0;
    memcpy(&scale, group.header.data() + kKvcompHeaderFixedBytes, 2);
    return FloatOfBits(DType::kBf16, scale);
  };
  const Profile block = MakeProfile(0.05, KUnit::kBlock);
  EXPECT_NEAR(scale_of(RunGroup(shape, block, bytes).group), 5, 0.1);
  EXPECT_EQ(RunGroup(shape, MakeProfile(0.05, KUnit::kChannel), bytes).group.header.size(), 4u);
  bytes[bytes.size() - 1] = 0x7c;  // Inf or NaN
  const RoundTrip trip = RunGroup(shape, block, bytes);
  EXPECT_EQ(trip.group.modes[1], TileMode::kRaw);
  EXPECT_NEAR(scale_of(trip.group), 0.05, 0.001);
}

TEST(Kvcomp, StrictHasNoSlackAndFewRawTiles) {
  // The oracle of RunGroup holds |x - y| <= r for every value. Ceilings of the share of raw tiles, in
  // percent.
  struct Row {
    DType dtype;
    double rel;
    uint32_t raw_percent;
  };
  for (const Row& row : {Row{DType::kBf16, 0.05, 5}, Row{DType::kBf16, 0.1, 0}, Row{DType::kFp16, 0.05, 0},
                         Row{DType::kFp16, 0.1, 0}, Row{DType::kFp16, 0.5, 0}}) {
    for (const int kind : {0, 1, 2}) {  // K block, K channel, V token
      SCOPED_TRACE(absl::StrCat(ToAbsl(DTypeName(row.dtype)), " rel ", row.rel, " kind ", kind));
      uint64_t tiles = 0, raw_tiles = 0, lossy = 0;
      double worst = 0;
      for (uint64_t seed = 1; seed <= 8; ++seed) {
        const GroupShape shape{row.dtype, kind == 2 ? Tensor::kV : Tensor::kK, 8, 64, 128};
        const std::string values = SyntheticKv(shape.dtype, shape.tensor, 8, 64, 128, seed);
        const RoundTrip trip =
            RunGroup(shape, MakeProfile(row.rel, kind == 1 ? KUnit::kChannel : KUnit::kBlock, true), values);
        EXPECT_LE(trip.group.stats.max_error_over_r, 1.0);
        worst = std::max(worst, trip.check.max_error_over_r);
        tiles += trip.group.stats.tiles;
        raw_tiles += trip.group.stats.raw_tiles;
        lossy += trip.check.lossy_values;
      }
      EXPECT_LE(100 * raw_tiles, row.raw_percent * tiles) << raw_tiles << " of " << tiles;
      EXPECT_GT(lossy, 0u);
      EXPECT_GT(worst, 0.9);
    }
  }
}

TEST(Kvcomp, StrictKeepsItsAlphabet) {
  // Means and ranges of all kinds: no tile is raw because a code is out of the alphabet, where the step
  // leaves room for the rounding.
  Random random(23);
  for (const DType dtype : {DType::kBf16, DType::kFp16}) {
    const GroupShape shape{dtype, Tensor::kV, 1, 64, 64};
    for (const double rel : {0.0053, 0.01, 0.05, 0.1, 0.5}) {
      for (int round = 0; round < 40; ++round) {
        const double range = std::exp2(random.Uniform() * 12 - 6), mean = random.Bell();
        std::vector<float> values(64 * 64);
        for (float& v : values) v = static_cast<float>(mean + range * (random.Uniform() - 0.5));
        const std::string bytes = ToBytes(dtype, values);
        const RoundTrip trip = RunGroup(shape, MakeProfile(rel, KUnit::kBlock, true), bytes);
        ASSERT_FALSE(HasFailure()) << rel << " " << mean << " " << range;
        const double m = std::fabs(mean) + range * (0.5 + rel);
        const bool room = 4 * 1.1 * Ulp(dtype, m) < 0.8 * rel * range;  // for every token's unit
        if (room) {
          EXPECT_EQ(trip.group.stats.bound_tiles, 0u) << rel << " " << mean << " " << range;
        }
      }
    }
  }
}

TEST(Kvcomp, SizesCountAsTheyAreStored) {
  const auto tile_of = [](uint32_t tokens, uint32_t channels) {
    return ToBytes(DType::kFp8E4m3, std::vector<float>(size_t{tokens} * channels, 1.0f));
  };
  // One head of a block: 16 bytes saved do not pay for a header of 8, stored as 16; two heads do.
  const Profile block = MakeProfile(0.25, KUnit::kBlock);
  const GroupShape one{DType::kFp8E4m3, Tensor::kK, 1, 2, 16};
  EXPECT_EQ(RunGroup(one, block, tile_of(2, 16)).group.stats.raw_tiles, 1u);
  const GroupShape two{DType::kFp8E4m3, Tensor::kK, 2, 2, 16};
  EXPECT_EQ(RunGroup(two, block, tile_of(4, 16)).group.stats.raw_tiles, 0u);
}

TEST(Kvcomp, PackedBeforeHuffmanWhereBothAreStoredAlike) {
  // Tiles of few codes: every mode that the encoder takes is the first of the smallest as stored.
  const auto stored = [](uint64_t bytes) { return (bytes + 15) / 16 * 16; };
  const Profile profile = MakeProfile(0.25, KUnit::kBlock);
  const Codebook& book = BuiltInBook(QuantUnit::kToken, AlphabetSize(profile, Tensor::kV));
  int equal = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const GroupShape shape{DType::kBf16, Tensor::kV, 6, static_cast<uint32_t>(1 + seed % 5), 24};
    const std::string values = SyntheticKv(shape.dtype, shape.tensor, 6, shape.tokens, 24, seed);
    const RoundTrip trip = RunGroup(shape, profile, values);
    if (trip.group.header.empty()) continue;
    for (uint32_t h = 0; h < 6; ++h) {
      // The codes again, from the decoded values.
      std::vector<uint8_t> codes;
      const auto y = kvcompd::testing::ToFloats(shape.dtype, trip.decoded);
      for (uint32_t t = 0; t < shape.tokens; ++t) {
        uint16_t scale;
        int16_t zero;
        memcpy(&scale, trip.group.header.data() + 4 + 2 * t, 2);
        memcpy(&zero, trip.group.header.data() + 4 + 2 * shape.tokens + 2 * t, 2);
        const float step = FloatOfBits(DType::kBf16, scale);
        for (uint32_t c = 0; c < 24; ++c) {
          const size_t i = (size_t{h} * shape.tokens + t) * 24 + c;
          codes.push_back(static_cast<uint8_t>(std::lround(y[i] / step) - zero));
        }
      }
      if (trip.group.modes[h] == TileMode::kRaw) continue;
      const uint64_t packed = PlanPacked(codes.data(), static_cast<uint32_t>(codes.size())).bytes;
      const uint64_t huffman = PlanHuffman(codes.data(), shape.tokens, 24, book).bytes;
      equal += stored(packed) == stored(huffman) && packed > huffman;
      EXPECT_EQ(trip.group.modes[h], stored(packed) <= stored(huffman) ? kKvcompPacked : kKvcompHuffman);
    }
  }
  EXPECT_GT(equal, 0);
}

TEST(Kvcomp, HistogramCountsTheCodesOfQuantisedTiles) {
  const GroupShape shape{DType::kBf16, Tensor::kV, 4, 64, 128};
  const std::string values = SyntheticKv(shape.dtype, shape.tensor, 4, 64, 128, 2);
  const RoundTrip trip = RunGroup(shape, MakeProfile(0.1, KUnit::kBlock), values);
  uint64_t sum = 0;
  for (uint32_t s = 0; s < 256; ++s) {
    sum += trip.group.histogram[s];
    if (s >= AlphabetSize(0.1, false)) {
      EXPECT_EQ(trip.group.histogram[s], 0u);
    }
  }
  EXPECT_EQ(sum, 4u * 64 * 128);
  // A book of these codes makes the group smaller than the built-in one.
  CodebookTrainer trainer(Fingerprint{}, MakeProfile(0.1, KUnit::kBlock));
  trainer.Add(0, Tensor::kV, trip.group.histogram);
  const auto set = trainer.Build();
  const RoundTrip trained =
      RunGroup(shape, MakeProfile(0.1, KUnit::kBlock), values, set->Find(0, Tensor::kV));
  EXPECT_LT(trained.group.stats.payload_bytes, trip.group.stats.payload_bytes);
  EXPECT_EQ(trained.decoded, trip.decoded);
}

TEST(Kvcomp, CompressesSyntheticSamplesAsItDid) {
  // Sizes are part of the contract with users: a change of ratio shows as a change of this table.
  struct Row {
    DType dtype;
    Tensor tensor;
    KUnit unit;
    double rel;
    uint64_t bytes;  // of 8 x 64 x 128 values
  };
  const Row rows[] = {
      {DType::kBf16, Tensor::kK, KUnit::kBlock, 0.05, 18379},
      {DType::kBf16, Tensor::kK, KUnit::kChannel, 0.25, 21145},
      {DType::kBf16, Tensor::kV, KUnit::kBlock, 0.1, 22482},
      {DType::kFp16, Tensor::kV, KUnit::kBlock, 0.1, 22485},
      {DType::kFp8E4m3, Tensor::kK, KUnit::kBlock, 0.05, 24499},
  };
  for (const Row& row : rows) {
    const GroupShape shape{row.dtype, row.tensor, 8, 64, 128};
    const std::string values = SyntheticKv(row.dtype, row.tensor, 8, 64, 128, 1);
    const RoundTrip trip = RunGroup(shape, MakeProfile(row.rel, row.unit), values);
    EXPECT_EQ(trip.group.stats.payload_bytes, row.bytes)
        << DTypeName(row.dtype) << " " << TensorName(row.tensor) << " rel " << row.rel;
  }
}

TEST(Kvcomp, OpaqueBytesAreRaw) {
  const GroupShape shape{DType::kOpaque, Tensor::kK, 2, 64, 300};
  const std::string values = SyntheticKv(DType::kOpaque, Tensor::kK, 2, 64, 300, 1);
  const KvcompCodec codec;
  const auto group = EncodeGroup(codec, shape, values, {.profile = MakeProfile(0.05, KUnit::kBlock)});
  ASSERT_TRUE(group.ok());
  EXPECT_EQ(group->stats.raw_tiles, 2u);
  EXPECT_EQ(*DecodeTile(codec, shape, *group, 1), values.substr(64 * 300));
}

}  // namespace
}  // namespace kvcompd::codec
