#include "codec/segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

using ::testing::HasSubstr;

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

MutableByteSpan Writable(std::string& s) { return std::as_writable_bytes(std::span(s)); }

// One segment, its place and its values.
struct Sample {
  explicit Sample(BlockSpec spec, Tensor tensor = Tensor::kK)
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
    if (view->codec_id() == CodecId::kRaw) {
      EXPECT_EQ(*values, s.values);
    }
    // Tiles of a head lie after one another, so the index gives the CRC of the whole.
    EXPECT_EQ(view->RawValuesCrc(0, s.shape.heads), Crc32c(AsBytes(*values)));
  }
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
                         ::testing::Combine(::testing::Values("raw", "kvcomp",
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
      {14, 1, 0, kDataLoss},
      {14, 1, 3, kDataLoss},        // tensor
      {15, 1, 77, kUnimplemented},  // codec
      {16, 1, 0, kDataLoss},
      {16, 1, 6, kDataLoss},     // dtype
      {17, 1, 1, kDataLoss},     // reserved
      {18, 2, 1023, kDataLoss},  // head_begin
      {20, 2, 0, kDataLoss},
      {20, 2, 1, kDataLoss},      // heads
      {20, 2, 65535, kDataLoss},  //
      {22, 2, 0, kDataLoss},
      {22, 2, 64, kDataLoss},  // tokens
      {22, 2, 66, kDataLoss},
      {22, 2, 1025, kDataLoss},  //
      {24, 4, 7, kDataLoss},
      {24, 4, 10, kDataLoss},                   // channels
      {24, 4, 0xffffffff, kDataLoss},           //
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
      {71, 1, 1, kDataLoss},                 // Huffman in codec raw
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
      EXPECT_EQ(*SegmentView::Parse(AsBytes(changed))->Slice(0, s.shape.heads), changed);
    }
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

TEST(WorkspaceTest, IsAlignedAndGrows) {
  Workspace ws;
  for (uint64_t n : {1, 64, 4096, 100}) {
    const MutableByteSpan memory = ws.Get(n);
    ASSERT_EQ(memory.size(), n);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 64, 0u);
    std::fill(memory.begin(), memory.end(), std::byte{1});
  }
}

}  // namespace
}  // namespace kvcompd::codec
