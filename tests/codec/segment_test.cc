#include "codec/segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "tests/codec/block_samples.h"
#include "tests/codec/kvcomp_oracle.h"

namespace kvcompd::codec {
namespace {

using ::testing::HasSubstr;

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

MutableByteSpan Writable(std::string& s) { return std::as_writable_bytes(std::span(s)); }

// One segment, its place and its values.
struct Sample {
  explicit Sample(const BlockSpec& spec, Tensor tensor = Tensor::kK)
      : header(SampleHeader(spec)), shape(header.segment_shape(tensor)), place(header.place(0, tensor)) {
    values = SampleValues(shape, spec.seed);
    bytes = SampleSegment(header, 0, tensor, values);
  }
  BlockHeader header;
  SegmentShape shape;
  SegmentPlace place;
  std::string values;
  std::string bytes;
};

// Parses, verifies and decodes all heads: the first error, or the values.
absl::StatusOr<std::string> ReadAll(std::string_view bytes, const SegmentPlace& place) {
  const auto view = SegmentView::Parse(AsBytes(bytes));
  if (!view.ok()) return view.status();
  std::string values(view->shape().raw_bytes(), '\x5a');
  Workspace ws;
  const absl::Status status = view->Decode(place, 0, view->shape().heads, nullptr, &ws, Writable(values));
  if (!status.ok()) return status;
  return values;
}

// What the oracle says of each group, by the source values.
void ExpectBounds(const Sample& s, const SegmentView& view, const std::string& decoded) {
  const Profile profile = *Profile::Parse(s.header.profile);
  for (uint32_t g = 0; g < s.shape.groups(); ++g) {
    const GroupShape group = s.shape.group(g);
    std::string x, y;
    std::vector<TileMode> modes;
    for (uint32_t head = 0; head < s.shape.heads; ++head) {
      const size_t at = (size_t{head} * s.shape.tokens + size_t{g} * kTileTokens) * group.row_bytes();
      x += s.values.substr(at, group.tile_bytes());
      y += decoded.substr(at, group.tile_bytes());
      modes.push_back(view.tile(head, g).mode);
    }
    EXPECT_EQ(kvcompd::testing::CheckGroup(group, profile, x, y, modes).failures, "") << "group " << g;
  }
}

class SegmentShapesTest
    : public ::testing::TestWithParam<std::tuple<const char*, DType, uint32_t, uint32_t, uint32_t>> {
 protected:
  BlockSpec spec() const {
    const auto& [profile, dtype, heads, tokens, channels] = GetParam();
    BlockSpec spec;
    spec.profile = profile;
    spec.dtype = dtype;
    spec.head_begin = 5;
    spec.heads = heads;
    spec.tokens = tokens;
    spec.head_dim_k = channels;
    spec.head_dim_v = dtype == DType::kOpaque ? 0 : channels;
    return spec;
  }
};

TEST_P(SegmentShapesTest, RoundTripsInCanonicalLayout) {
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    if (tensor == Tensor::kV && spec().head_dim_v == 0) continue;
    const Sample s(spec(), tensor);
    const auto view = SegmentView::Parse(AsBytes(s.bytes));
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->bytes().size(), s.bytes.size());
    EXPECT_EQ(view->layer(), 3u);
    EXPECT_EQ(view->shape().head_begin, 5u);
    EXPECT_EQ(view->shape().tensor, tensor);
    EXPECT_EQ(s.bytes.size() % 64, 0u);
    EXPECT_EQ(*SegmentView::SegmentBytes(AsBytes(s.bytes).first(64)), s.bytes.size());
    EXPECT_LE(s.bytes.size(), SegmentBound(s.shape, *FindCodec(view->codec_id())));
    const auto values = ReadAll(s.bytes, s.place);
    ASSERT_TRUE(values.ok()) << values.status();
    if (view->codec_id() == CodecId::kRaw || s.shape.dtype == DType::kOpaque) {
      EXPECT_EQ(*values, s.values);
    } else {
      ExpectBounds(s, *view, *values);
    }
    // Tiles of a head lie after one another, so the index gives the CRC of the whole.
    EXPECT_EQ(view->RawValuesCrc(0, s.shape.heads), Crc32c(AsBytes(*values)));
  }
}

TEST_P(SegmentShapesTest, RoundTripsWithATrainedBook) {
  if (std::get<0>(GetParam()) == std::string("raw")) return;
  const Sample built_in(spec());
  BlockSpec trained_spec = spec();
  trained_spec.set = SampleSet(built_in.header.fingerprint, trained_spec.profile, {3});
  Sample s = built_in;
  s.header = SampleHeader(trained_spec);
  s.bytes = SampleSegment(s.header, 0, Tensor::kK, s.values, trained_spec.set.get());
  const auto view = SegmentView::Parse(AsBytes(s.bytes));
  ASSERT_TRUE(view.ok()) << view.status();
  std::string values(s.shape.raw_bytes(), '\0');
  Workspace ws;
  ASSERT_EQ(
      view->Decode(s.place, 0, s.shape.heads, trained_spec.set->Find(3, Tensor::kK), &ws, Writable(values)),
      absl::OkStatus());
  if (s.shape.dtype != DType::kOpaque) ExpectBounds(s, *view, values);
}

TEST_P(SegmentShapesTest, BytesDependOnValuesOnly) {
  const Sample s(spec());
  const EncodeParams params{.profile = *Profile::Parse(s.header.profile)};
  const Codec& codec = *FindCodec(params.profile.codec);
  std::string out(SegmentBound(s.shape, codec) + 13, '\xee');
  Workspace ws;
  const MutableByteSpan dirty = ws.Get(1 << 20);
  std::fill(dirty.begin(), dirty.end(), std::byte{0xdd});
  EncodeStats stats;
  const auto n =
      EncodeSegment(codec, s.place, s.shape, AsBytes(s.values), params, &ws, Writable(out), &stats);
  ASSERT_TRUE(n.ok()) << n.status();
  EXPECT_EQ(out.substr(0, *n), s.bytes);
  EXPECT_EQ(stats.tiles, s.shape.heads * s.shape.groups());
  EXPECT_EQ(stats.raw_bytes, s.values.size());
}

TEST_P(SegmentShapesTest, SlicesAreSegmentsOfTheirOwn) {
  const Sample s(spec());
  const auto view = SegmentView::Parse(AsBytes(s.bytes));
  ASSERT_TRUE(view.ok());
  const std::string all = *ReadAll(s.bytes, s.place);
  const size_t head_bytes = all.size() / s.shape.heads;
  EXPECT_EQ(*view->Slice(0, s.shape.heads), s.bytes);
  for (uint32_t begin = 0; begin < s.shape.heads; ++begin) {
    for (uint32_t count = 1; begin + count <= s.shape.heads; ++count) {
      const auto slice = view->Slice(begin, count);
      ASSERT_TRUE(slice.ok()) << slice.status();
      EXPECT_EQ(SegmentView::Parse(AsBytes(*slice))->shape().head_begin, 5 + begin);
      const auto values = ReadAll(*slice, s.place);
      ASSERT_TRUE(values.ok()) << values.status();
      EXPECT_EQ(*values, all.substr(begin * head_bytes, count * head_bytes));
      std::string direct(count * head_bytes, '\0');
      Workspace ws;
      ASSERT_TRUE(view->Decode(s.place, begin, count, nullptr, &ws, Writable(direct)).ok());
      EXPECT_EQ(direct, *values);
      EXPECT_EQ(view->RawValuesCrc(begin, count), Crc32c(AsBytes(direct)));
    }
  }
}

TEST_P(SegmentShapesTest, RawValuesAreTheDecodedValuesWhereverGiven) {
  const Sample s(spec());
  const auto view = SegmentView::Parse(AsBytes(s.bytes));
  ASSERT_TRUE(view.ok());
  const ByteSpan raw = view->RawValues(0, s.shape.heads);
  const bool back_to_back = s.shape.heads * s.shape.groups() == 1 ||
                            (s.shape.channels * ElementBytes(s.shape.dtype) * s.shape.tokens % 16 == 0);
  if (view->codec_id() == CodecId::kRaw && back_to_back) {
    EXPECT_FALSE(raw.empty());
  }
  if (!raw.empty()) {
    EXPECT_EQ(AsChars(raw), *ReadAll(s.bytes, s.place));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SegmentShapesTest,
                         ::testing::Combine(::testing::Values("raw", "kvcomp", "kvcomp:strict=1",
                                                              "kvcomp:rel_k=0.01,k_unit=channel"),
                                            ::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3,
                                                              DType::kFp8E5m2, DType::kOpaque),
                                            ::testing::Values(1, 3), ::testing::Values(1, 64, 65, 150),
                                            ::testing::Values(8, 13, 128)));

// Small enough to try every byte of; one with padding everywhere, one with lossy tiles.
std::vector<Sample> SmallSamples() {
  BlockSpec raw;
  raw.heads = 2;
  raw.tokens = 65;
  raw.dtype = DType::kFp8E4m3;
  raw.head_dim_k = 9;
  BlockSpec lossy;
  lossy.profile = "kvcomp:rel_k=0.2";
  lossy.heads = 2;
  lossy.tokens = 66;
  lossy.head_dim_k = 16;
  std::vector<Sample> samples;
  samples.emplace_back(raw);
  samples.emplace_back(lossy);
  return samples;
}

TEST(SegmentDamageTest, SamplesHoldLossyTiles) {
  const Sample s = SmallSamples()[1];
  EXPECT_NE(SegmentView::Parse(AsBytes(s.bytes))->tile(0, 0).mode, TileMode::kRaw);
}

TEST(SegmentDamageTest, EveryFlippedByteIsFound) {
  for (const Sample& s : SmallSamples()) {
    ASSERT_TRUE(ReadAll(s.bytes, s.place).ok());
    for (size_t i = 0; i < s.bytes.size(); ++i) {
      for (uint8_t mask : {0x01, 0x80, 0xff}) {
        std::string bad = s.bytes;
        bad[i] = static_cast<char>(bad[i] ^ mask);
        EXPECT_EQ(ReadAll(bad, s.place).status().code(), kDataLoss) << "byte " << i;
      }
    }
  }
}

TEST(SegmentDamageTest, EveryTruncationIsFoundAndMoreBytesAreNotTheSegments) {
  for (const Sample& s : SmallSamples()) {
    for (size_t n = 0; n < s.bytes.size(); ++n) {
      EXPECT_EQ(SegmentView::Parse(AsBytes(s.bytes).first(n)).status().code(), kDataLoss) << n;
    }
    const std::string longer = s.bytes + "more";
    EXPECT_EQ(SegmentView::Parse(AsBytes(longer))->bytes().size(), s.bytes.size());
  }
}

TEST(SegmentDamageTest, WrongPlaceIsFound) {
  for (const Sample& s : SmallSamples()) {
    SegmentPlace key = s.place, fingerprint = s.place, layer = s.place, tensor = s.place;
    key.key = *BlockKey::FromBytes(std::string(16, 'x'));
    fingerprint.fingerprint.bytes[31] ^= 1;
    layer.layer = 4;
    tensor.tensor = Tensor::kV;
    for (const SegmentPlace& wrong : {key, fingerprint, layer, tensor}) {
      EXPECT_EQ(ReadAll(s.bytes, wrong).status().code(), kDataLoss);
    }
    // Also where header and checksum of the index have been made to agree with the wrong place.
    std::string moved = s.bytes;
    Poke<uint16_t>(&moved, 12, 4);
    ResealSegment(&moved);
    EXPECT_EQ(ReadAll(moved, layer).status().code(), kDataLoss);
    std::string other_heads = s.bytes;
    Poke<uint16_t>(&other_heads, 18, 1);
    ResealSegment(&other_heads);
    EXPECT_EQ(ReadAll(other_heads, s.place).status().code(), kDataLoss);
  }
}

TEST(SegmentDamageTest, TilesSwappedWithTheirIndexRowsAreFound) {
  BlockSpec spec;
  spec.heads = 2;
  spec.tokens = 128;
  const Sample s(spec);
  const auto view = SegmentView::Parse(AsBytes(s.bytes));
  ASSERT_TRUE(view.ok());
  const uint32_t tile_bytes = view->tile(0, 0).bytes;
  for (const auto& [a, b] : {std::pair(0, 1), std::pair(0, 2), std::pair(1, 3)}) {
    std::string bad = s.bytes;
    const uint32_t row_a = 64 + 16 * a, row_b = 64 + 16 * b;
    const uint32_t at_a = Peek<uint32_t>(bad, row_a), at_b = Peek<uint32_t>(bad, row_b);
    std::swap_ranges(bad.begin() + at_a, bad.begin() + at_a + tile_bytes, bad.begin() + at_b);
    std::swap_ranges(bad.begin() + row_a + 8, bad.begin() + row_a + 16, bad.begin() + row_b + 8);  // the CRCs
    ResealSegment(&bad);
    ASSERT_TRUE(SegmentView::Parse(AsBytes(bad)).ok());
    EXPECT_EQ(ReadAll(bad, s.place).status().code(), kDataLoss);
  }
}

TEST(SegmentDamageTest, AWrongDecodedCrcIsFound) {
  for (const Sample& s : SmallSamples()) {
    std::string bad = s.bytes;
    bad[64 + 12] = static_cast<char>(bad[64 + 12] ^ 1);
    ResealSegment(&bad);
    const absl::Status status = ReadAll(bad, s.place).status();
    EXPECT_EQ(status.code(), kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("layer 3 K head 0 group 0"));
  }
}

TEST(SegmentFormatTest, BitsFieldsAndRulesOfTheHeader) {
  const Sample s = SmallSamples()[0];
  const uint32_t data = Peek<uint32_t>(s.bytes, 44);
  struct Case {
    size_t offset;
    size_t width;
    uint64_t value;
    absl::StatusCode code;
  };
  const Case kCases[] = {
      {4, 4, 1, kUnimplemented},
      {4, 4, 0x80000000, kUnimplemented},                  // must-understand
      {8, 4, 0xffffffff, absl::StatusCode::kOk},           // may-ignore
      {48, 8, 0x0102030405060708, absl::StatusCode::kOk},  // unused
      {12, 2, 65535, kDataLoss},                           // layer
      {14, 1, 0, kUnimplemented},
      {14, 1, 3, kUnimplemented},   // tensor
      {15, 1, 77, kUnimplemented},  // codec
      {16, 1, 0, kUnimplemented},
      {16, 1, 6, kUnimplemented},     // dtype
      {17, 1, 1, kDataLoss},          // reserved
      {18, 2, 1023, kUnimplemented},  // head_begin
      {20, 2, 0, kDataLoss},
      {20, 2, 1, kDataLoss},           // heads
      {20, 2, 65535, kUnimplemented},  //
      {22, 2, 0, kDataLoss},
      {22, 2, 64, kDataLoss},  // tokens
      {22, 2, 66, kDataLoss},
      {22, 2, 1025, kUnimplemented},  //
      {24, 4, 0, kDataLoss},
      {24, 4, 7, kUnimplemented},
      {24, 4, 10, kDataLoss},                   // channels
      {24, 4, 0xffffffff, kUnimplemented},      //
      {28, 4, s.bytes.size() - 64, kDataLoss},  // segment_bytes
      {32, 2, 1, kDataLoss},
      {34, 2, 1, kDataLoss},  // groups, reserved
      {36, 4, 80, kDataLoss},
      {40, 4, 64, kDataLoss},         // index offsets
      {56, 4, 1, kDataLoss},          // reserved
      {64, 4, data + 16, kDataLoss},  // tile 0: offset
      {68, 1, 1, kDataLoss},          // size of a raw tile
      {71, 1, 3, kUnimplemented},
      {71, 1, 255, kUnimplemented},          // mode
      {71, 1, 1, kUnimplemented},            // kvcomp's Huffman is no mode of codec raw
      {data - 32, 4, data + 16, kDataLoss},  // group 0: offset
      {data - 28, 4, 16, kDataLoss},         // header in codec raw
      {data - 20, 4, 1, kDataLoss},          // reserved
      {data - 24, 4, 1, kDataLoss},          // CRC of the empty header
  };
  for (const Case& c : kCases) {
    std::string changed = s.bytes;
    std::memcpy(changed.data() + c.offset, &c.value, c.width);
    ResealSegment(&changed);
    const auto values = ReadAll(changed, s.place);
    EXPECT_EQ(values.status().code(), c.code) << "offset " << c.offset << " value " << c.value;
    if (values.ok()) {
      EXPECT_EQ(*values, s.values);
      // A slice leaves out what it does not know.
      EXPECT_EQ(*SegmentView::Parse(AsBytes(changed))->Slice(0, s.shape.heads), s.bytes);
    }
  }
}

TEST(SegmentFormatTest, AnAnnouncedExtensionIsSkippedAndSlicedAway) {
  for (const Sample& s : SmallSamples()) {
    const std::string values = *ReadAll(s.bytes, s.place);
    for (const uint32_t more : {0u, 16u, 48u, 64u, 4096u, 65536u}) {
      const std::string longer = WithExtension(s.bytes, more, 4);
      ASSERT_TRUE(ReadAll(longer, s.place).ok()) << ReadAll(longer, s.place).status();
      EXPECT_EQ(*ReadAll(longer, s.place), values);
      const auto view = SegmentView::Parse(AsBytes(longer));
      EXPECT_EQ(*view->Slice(0, s.shape.heads), s.bytes);
      EXPECT_EQ(*view->Slice(1, 1), *SegmentView::Parse(AsBytes(s.bytes))->Slice(1, 1));
      EXPECT_EQ(view->RawValuesCrc(0, 2), Crc32c(AsBytes(values)));
      if (more == 0) continue;
      std::string flipped = longer;  // it lies under the CRC
      const size_t at = Peek<uint32_t>(longer, 44) - 1;
      flipped[at] = static_cast<char>(flipped[at] ^ 1);
      EXPECT_EQ(ReadAll(flipped, s.place).status().code(), kDataLoss);
    }
  }
}

TEST(SegmentFormatTest, OtherExtensionsAreRefused) {
  for (const Sample& s : SmallSamples()) {
    EXPECT_EQ(ReadAll(WithExtension(s.bytes, 16, 0), s.place).status().code(), kDataLoss);  // not announced
    for (const uint32_t more : {1u, 8u, 24u, 65536u + 16, 1u << 20}) {                      // odd, too long
      EXPECT_EQ(ReadAll(WithExtension(s.bytes, more, 4), s.place).status().code(), kDataLoss) << more;
    }
    std::string shorter = s.bytes;
    Poke<uint32_t>(&shorter, 8, 4);
    Poke<uint32_t>(&shorter, 44, Peek<uint32_t>(shorter, 44) - 16);
    ResealSegment(&shorter);
    EXPECT_EQ(ReadAll(shorter, s.place).status().code(), kDataLoss);
  }
}

TEST(SegmentFormatTest, ModesAreTheCodecs) {
  const Sample s = SmallSamples()[1];
  for (const int mode : {4, 5, 128, 255}) {
    std::string changed = s.bytes;
    changed[64 + 7] = static_cast<char>(mode);
    ResealSegment(&changed);
    EXPECT_EQ(SegmentView::Parse(AsBytes(changed)).status().code(), kUnimplemented) << mode;
  }
}

TEST(SegmentFormatTest, GroupHeadersKeepTheCodecsLength) {
  // Codec raw and opaque bytes have none; one of kvcomp is no longer than its bound.
  for (const char* profile : {"raw", "kvcomp"}) {
    for (const DType dtype : {DType::kBf16, DType::kOpaque}) {
      BlockSpec spec;
      spec.profile = profile;
      spec.dtype = dtype;
      spec.tokens = 64;
      spec.head_dim_k = 32;
      const Sample s(spec);
      const bool headers = std::string(profile) == "kvcomp" && dtype == DType::kBf16;
      for (const uint32_t bytes : {11u, 0xffffffu, 0xffffffffu}) {
        std::string changed = s.bytes;
        Poke<uint32_t>(&changed, 64 + 16 + 4, bytes);
        ResealSegment(&changed);
        EXPECT_EQ(SegmentView::Parse(AsBytes(changed)).status().code(), kDataLoss) << profile << bytes;
      }
      EXPECT_EQ(SegmentView::Parse(AsBytes(s.bytes))->group(0).bytes, headers ? 8u : 0u);
    }
  }
}

TEST(SegmentDamageTest, AGroupHeaderOfAnotherGroupIsFound) {
  // Two groups of equal shape; their headers change places, with their rows of the index.
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    BlockSpec spec;
    spec.profile = "kvcomp";
    spec.heads = 2;
    spec.tokens = 128;
    spec.head_dim_k = spec.head_dim_v = 32;
    const Sample s(spec, tensor);
    const auto view = SegmentView::Parse(AsBytes(s.bytes));
    ASSERT_TRUE(view.ok());
    const GroupEntry a = view->group(0), b = view->group(1);
    ASSERT_EQ(a.bytes, b.bytes);
    ASSERT_GT(a.bytes, 0u);
    std::string bad = s.bytes;
    std::swap_ranges(bad.begin() + a.offset, bad.begin() + a.offset + a.bytes, bad.begin() + b.offset);
    const size_t index = Peek<uint32_t>(bad, 40);
    Poke<uint32_t>(&bad, index + 8, b.crc);
    Poke<uint32_t>(&bad, index + 16 + 8, a.crc);
    ResealSegment(&bad);
    const absl::Status status = ReadAll(bad, s.place).status();
    EXPECT_EQ(status.code(), kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("CRC of the group header"));
  }
}

TEST(SegmentDamageTest, TheTensorIsPartOfThePlace) {
  // K's segment with V in its header: only the checksums with the place can tell.
  for (const char* profile : {"raw", "kvcomp"}) {
    BlockSpec spec;
    spec.profile = profile;
    spec.tokens = 64;
    const Sample s(spec);
    std::string moved = s.bytes;
    Poke<uint8_t>(&moved, 14, 2);
    ResealSegment(&moved);
    SegmentPlace v = s.place;
    v.tensor = Tensor::kV;
    ASSERT_TRUE(SegmentView::Parse(AsBytes(moved)).ok());
    const absl::Status status = ReadAll(moved, v).status();
    EXPECT_EQ(status.code(), kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("CRC"));
  }
}

TEST(SegmentDamageTest, AGroupHeaderIsReadAlsoWhereAllTilesAreRaw) {
  // A slice of the heads that are raw keeps the header of the others.
  BlockSpec spec;
  spec.profile = "kvcomp";
  spec.heads = 2;
  spec.tokens = 64;
  spec.head_dim_k = 32;
  spec.values = [](const SegmentShape& shape, uint32_t seed) {
    std::string values = SampleValues(shape, seed);
    values.replace(0, 2, "\xff\x7f");  // NaN in head 0
    return values;
  };
  const BlockSample block = MakeBlock(spec);
  const SegmentPlace place = block.header.place(0, Tensor::kK);
  const auto whole = SegmentView::Parse(AsBytes(block.segments[0]));
  std::string raw = *whole->Slice(0, 1);
  const auto view = SegmentView::Parse(AsBytes(raw));
  ASSERT_EQ(view->tile(0, 0).mode, TileMode::kRaw);
  ASSERT_EQ(view->group(0).bytes, 8u);
  EXPECT_EQ(*ReadAll(raw, place), block.values[0].substr(0, 64 * 32 * 2));
  const size_t header = view->group(0).offset;
  struct Case {
    size_t at;
    int value;
    absl::StatusCode code;
  };
  for (const Case& c : {Case{0, 9, kUnimplemented}, Case{1, 2, kUnimplemented}, Case{0, 3, kDataLoss},
                        Case{2, 1, kDataLoss}, Case{5, 0xff, kDataLoss}}) {
    std::string junk = raw;
    junk[header + c.at] = static_cast<char>(c.value);
    ResealTiles(block.header.fingerprint, block.header.key, &junk);
    const auto bad = SegmentView::Parse(AsBytes(junk));
    ASSERT_TRUE(bad.ok());
    EXPECT_EQ(bad->Verify(place, 0, 1).code(), c.code) << c.at;
    EXPECT_EQ(ReadAll(junk, place).status().code(), c.code) << c.at;
  }
}

TEST(SegmentViewTest, HeadsOneByOneAfterTheGroupHeaders) {
  for (const Sample& s : SmallSamples()) {
    const auto view = SegmentView::Parse(AsBytes(s.bytes));
    ASSERT_EQ(view->VerifyGroupHeaders(s.place), absl::OkStatus());
    const std::string all = *ReadAll(s.bytes, s.place);
    std::string values(all.size() / s.shape.heads, '\0'), one_by_one;
    Workspace ws;
    for (uint32_t head = 0; head < s.shape.heads; ++head) {
      ASSERT_EQ(view->DecodeTiles(s.place, head, 1, nullptr, &ws, Writable(values)), absl::OkStatus());
      one_by_one += values;
    }
    EXPECT_EQ(one_by_one, all);
    SegmentPlace other = s.place;
    other.fingerprint.bytes[0] ^= 1;
    EXPECT_EQ(view->VerifyGroupHeaders(other).code(), kDataLoss);
    EXPECT_EQ(view->DecodeTiles(other, 0, 1, nullptr, &ws, Writable(values)).code(), kDataLoss);
    EXPECT_EQ(view->DecodeTiles(s.place, 2, 1, nullptr, &ws, Writable(values)).code(), kInvalid);
  }
}

TEST(SegmentFormatTest, HugeDataOffsetIsNotFollowed) {
  std::string bad = SmallSamples()[0].bytes;
  for (uint32_t data : {0u, 63u, 0xffffffffu, static_cast<uint32_t>(bad.size()) + 1}) {
    Poke<uint32_t>(&bad, 44, data);
    EXPECT_EQ(SegmentView::Parse(AsBytes(bad)).status().code(), kDataLoss) << data;
  }
}

TEST(SegmentArgumentsTest, EncodeChecksItsCaller) {
  const Sample s{BlockSpec{}};
  const Codec& codec = *FindCodec(CodecId::kRaw);
  Workspace ws;
  std::string out(SegmentBound(s.shape, codec), '\0');
  const auto encode = [&](const SegmentPlace& place, const SegmentShape& shape, ByteSpan values,
                          MutableByteSpan buffer) {
    return EncodeSegment(codec, place, shape, values, {}, &ws, buffer, nullptr).status().code();
  };
  const ByteSpan values = AsBytes(s.values);
  EXPECT_EQ(encode(s.place, s.shape, values, Writable(out)), absl::StatusCode::kOk);
  EXPECT_EQ(encode(s.place, s.shape, values.first(values.size() - 1), Writable(out)), kInvalid);
  EXPECT_EQ(encode(s.place, s.shape, values, Writable(out).first(out.size() - 1)), kInvalid);
  SegmentPlace place = s.place;
  place.layer = 65535;
  EXPECT_EQ(encode(place, s.shape, values, Writable(out)), kInvalid);
  place = s.place;
  place.key = BlockKey();
  EXPECT_EQ(encode(place, s.shape, values, Writable(out)), kInvalid);
  place = s.place;
  place.tensor = Tensor::kV;
  EXPECT_EQ(encode(place, s.shape, values, Writable(out)), kInvalid);
  SegmentShape huge{DType::kOpaque, Tensor::kK, 0, 1024, 1024, 65536};
  EXPECT_EQ(encode(s.place, huge, values, Writable(out)), kInvalid);
}

TEST(SegmentArgumentsTest, ReadersCheckHeadsAndBuffers) {
  const Sample s = SmallSamples()[0];
  const auto view = SegmentView::Parse(AsBytes(s.bytes));
  ASSERT_TRUE(view.ok());
  Workspace ws;
  std::string values(s.values.size() + 1, '\0');
  for (const auto& [begin, count] :
       {std::pair(0u, 0u), std::pair(0u, 3u), std::pair(2u, 1u), std::pair(1u, ~0u)}) {
    EXPECT_EQ(view->Verify(s.place, begin, count).code(), kInvalid);
    EXPECT_EQ(view->Slice(begin, count).status().code(), kInvalid);
    EXPECT_TRUE(view->RawValues(begin, count).empty());
    EXPECT_EQ(view->RawValuesCrc(begin, count), 0u);
  }
  EXPECT_EQ(view->Decode(s.place, 0, 2, nullptr, &ws, Writable(values)).code(), kInvalid);
}

}  // namespace
}  // namespace kvcompd::codec
