#include "codec/container.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/codec/block_samples.h"
#include "tests/codec/kvcomp_oracle.h"

namespace kvcompd::codec {
namespace {

constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;
constexpr absl::StatusCode kPrecondition = absl::StatusCode::kFailedPrecondition;

// Parses, verifies and decodes everything: the first error, or the values of each segment.
absl::StatusOr<std::vector<std::string>> ReadAll(std::string_view bytes, const CodebookSet* set = nullptr) {
  const auto view = ContainerView::Parse(AsBytes(bytes));
  if (!view.ok()) return view.status();
  if (absl::Status s = view->VerifyAll(); !s.ok()) return s;
  const BlockHeader& h = view->header();
  std::vector<std::string> all;
  Workspace ws;
  for (uint32_t layer = 0; layer < h.shard.layer_count; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (tensor == Tensor::kV && h.head_dim_v == 0) continue;
      const auto segment = view->Segment(layer, tensor);
      if (!segment.ok()) return segment.status();
      std::string values(segment->shape().raw_bytes(), '\0');
      const auto book = FindBook(h.codebook_set, set, h.layers[layer], tensor);
      if (!book.ok()) return book.status();
      const absl::Status status = segment->Decode(h.place(layer, tensor), 0, h.shard.head_count, *book, &ws,
                                                  std::as_writable_bytes(std::span(values)));
      if (!status.ok()) return status;
      all.push_back(std::move(values));
    }
  }
  return all;
}

BlockSpec SmallSpec() {
  BlockSpec spec;
  spec.layers = {3, 9};
  spec.heads = 2;
  spec.tokens = 3;
  spec.head_dim_v = 12;
  return spec;
}

TEST(ContainerTest, RoundTripsHeaderSegmentsAndQuality) {
  for (const char* profile : {"raw", "kvcomp"}) {
    BlockSpec spec = SmallSpec();
    spec.profile = profile;
    spec.head_begin = 6;
    spec.tokens = 130;
    BlockSample block = MakeBlock(spec);
    const auto view = ContainerView::Parse(AsBytes(block.container));
    ASSERT_TRUE(view.ok()) << view.status();
    const BlockHeader& h = view->header();
    EXPECT_EQ(h.fingerprint, block.header.fingerprint);
    EXPECT_EQ(h.key, block.header.key);
    EXPECT_EQ(h.shard, block.header.shard);
    EXPECT_EQ(h.tokens, 130u);
    EXPECT_EQ(h.dtype, DType::kBf16);
    EXPECT_EQ(h.layers, (std::vector<uint32_t>{3, 9}));
    EXPECT_EQ(h.profile, block.header.profile);
    EXPECT_EQ(h.error_bound, block.header.error_bound);
    EXPECT_EQ(h.raw_bytes(), 2u * 2 * 130 * (8 + 12) * 2);
    EXPECT_EQ(view->quality().tiles, 2u * 2 * 2 * 3);
    EXPECT_EQ(view->quality().raw_bytes, h.raw_bytes());
    for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(AsChars(view->SegmentBytes(i)), block.segments[i]);
    EXPECT_EQ(view->header_bytes().size() + view->footer_bytes().size() + block.segments[0].size() +
                  block.segments[1].size() + block.segments[2].size() + block.segments[3].size(),
              block.container.size());
    const auto values = ReadAll(block.container);
    ASSERT_TRUE(values.ok()) << values.status();
    if (h.profile == "raw") {
      EXPECT_EQ(*values, block.values);
    }
    EXPECT_EQ(ErrorClass(h, view->quality()), h.profile == "raw" ? 0.0f : 0.05f);
  }
}

// What the oracle says of every group of a container, by the source values.
void ExpectBounds(const BlockSample& block, const std::vector<std::string>& decoded) {
  const Profile profile = *Profile::Parse(block.header.profile);
  for (uint32_t i = 0; i < block.values.size(); ++i) {
    const bool v = block.header.head_dim_v != 0 && i % 2 == 1;
    const SegmentShape shape = block.header.segment_shape(v ? Tensor::kV : Tensor::kK);
    const auto view = SegmentView::Parse(AsBytes(block.segments[i]));
    for (uint32_t g = 0; g < shape.groups(); ++g) {
      std::string x, y;
      std::vector<TileMode> modes;
      const GroupShape group = shape.group(g);
      for (uint32_t head = 0; head < shape.heads; ++head) {
        const size_t at = (size_t{head} * shape.tokens + size_t{g} * kTileTokens) * group.row_bytes();
        x += block.values[i].substr(at, group.tile_bytes());
        y += decoded[i].substr(at, group.tile_bytes());
        modes.push_back(view->tile(head, g).mode);
      }
      const auto check = kvcompd::testing::CheckGroup(group, profile, x, y, modes);
      EXPECT_EQ(check.failures, "") << "segment " << i << " group " << g;
    }
  }
}

TEST(ContainerTest, LossyBlocksKeepTheirBoundWithBuiltInAndTrainedBooks) {
  for (const char* profile : {"kvcomp:rel_k=0.05,rel_v=0.1", "kvcomp:rel_k=0.2,rel_v=0.05,k_unit=channel",
                              "kvcomp:rel_k=0.1,rel_v=0.1,strict=1"}) {
    for (const bool trained : {false, true}) {
      SCOPED_TRACE(std::string(profile) + (trained ? " trained" : ""));
      BlockSpec spec = SmallSpec();
      spec.profile = profile;
      spec.heads = 3;
      spec.tokens = 150;
      spec.head_dim_k = 40;
      spec.head_dim_v = 64;
      // The layers' own books, and the one of all layers.
      if (trained) spec.set = SampleSet(SampleHeader(spec).fingerprint, profile, {3});
      const BlockSample block = MakeBlock(spec);
      const auto values = ReadAll(block.container, spec.set.get());
      ASSERT_TRUE(values.ok()) << values.status();
      ExpectBounds(block, *values);
      const auto view = ContainerView::Parse(AsBytes(block.container));
      EXPECT_LT(view->quality().raw_tiles, view->quality().tiles / 2);
      EXPECT_GT(view->quality().max_error_over_r_k, 0.8f);
      EXPECT_GT(view->quality().max_error_over_r_v, 0.8f);
      EXPECT_GT(ErrorClass(view->header(), view->quality()), 0.0f);
      if (!trained) continue;
      EXPECT_EQ(ReadAll(block.container).status().code(), absl::StatusCode::kNotFound);
      const auto other = SampleSet(Sha256("another"), profile, {3});
      EXPECT_EQ(ReadAll(block.container, other.get()).status().code(), kDataLoss);
    }
  }
}

TEST(ContainerTest, ABlockOfRawTilesHasErrorClass0) {
  BlockSpec spec = SmallSpec();
  spec.profile = "kvcomp";
  spec.values = [](const SegmentShape& shape, uint32_t) {
    return std::string(shape.raw_bytes(), '\xff');  // bf16 NaN
  };
  const BlockSample block = MakeBlock(spec);
  const auto view = ContainerView::Parse(AsBytes(block.container));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->header().error_bound, 0.05f);
  EXPECT_EQ(view->quality().raw_tiles, view->quality().tiles);
  EXPECT_EQ(ErrorClass(view->header(), view->quality()), 0.0f);
  EXPECT_EQ(*ReadAll(block.container), block.values);
}

TEST(ContainerTest, ErrorBound0IsForBitExactCodecsOnly) {
  BlockSpec spec = SmallSpec();
  spec.profile = "kvcomp";
  const BlockSample block = MakeBlock(spec);
  std::string bad = block.container;
  Poke<float>(&bad, 136, 0.0f);
  ResealBlockHeader(&bad);
  EXPECT_EQ(ContainerView::Parse(AsBytes(bad)).status().code(), kDataLoss);
  BlockHeader header = block.header;
  header.error_bound = 0;
  ContainerWriter writer(header);
  EXPECT_EQ(writer.AddSegment(AsBytes(block.segments[0])).code(), kPrecondition);
  // Raw segments under a bound are fine: it is nominal.
  std::string raw = MakeBlock(SmallSpec()).container;
  Poke<float>(&raw, 136, 0.25f);
  ResealBlockHeader(&raw);
  const auto view = ContainerView::Parse(AsBytes(raw));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(ErrorClass(view->header(), view->quality()), 0.0f);
}

TEST(ContainerTest, AnUnknownProfileIsNoObstacle) {
  for (const bool trained : {false, true}) {
    BlockSpec spec = SmallSpec();
    spec.profile = "kvcomp";
    if (trained) spec.set = SampleSet(SampleHeader(spec).fingerprint, "kvcomp", {3});
    const BlockSample block = MakeBlock(spec);
    BlockHeader header = block.header;
    header.profile = "kvcomp:rel_k=0.05,rel_v=0.1,zero_bits=8";
    ContainerWriter writer(header);
    for (const std::string& s : block.segments) ASSERT_EQ(writer.AddSegment(AsBytes(s)), absl::OkStatus());
    const auto container = std::move(writer).Finish({});
    ASSERT_TRUE(container.ok()) << container.status();
    EXPECT_EQ(*ReadAll(*container, spec.set.get()), *ReadAll(block.container, spec.set.get()));
  }
}

TEST(QualityRecordTest, AddsByTensorAndThereIsNoErrorOfVWithoutV) {
  QualityRecord quality;
  EncodeStats stats;
  stats.tiles = 3;
  stats.raw_tiles = 1;
  stats.raw_bytes = 100;
  stats.max_error_over_r = 0.75;
  quality.Add(Tensor::kK, stats);
  stats.max_error_over_r = 0.5;
  quality.Add(Tensor::kV, stats);
  quality.Add(Tensor::kK, stats);
  EXPECT_EQ(quality.tiles, 9u);
  EXPECT_EQ(quality.raw_tiles, 3u);
  EXPECT_EQ(quality.raw_bytes, 300u);
  EXPECT_EQ(quality.max_error_over_r_k, 0.75f);
  EXPECT_EQ(quality.max_error_over_r_v, 0.5f);

  BlockSpec spec;
  spec.head_dim_v = 0;
  std::string bad = MakeBlock(spec).container;
  Poke<float>(&bad, bad.size() - FooterBytes(1) + 36, 0.5f);
  ResealFooter(&bad);
  EXPECT_EQ(ContainerView::Parse(AsBytes(bad)).status().code(), kDataLoss);
}

TEST(ContainerTest, WithoutVThereAreOnlyKSegments) {
  BlockSpec spec = SmallSpec();
  spec.head_dim_v = 0;
  const BlockSample block = MakeBlock(spec);
  const auto view = ContainerView::Parse(AsBytes(block.container));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(view->Segment(1, Tensor::kK).ok());
  EXPECT_EQ(view->Segment(1, Tensor::kV).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(view->Segment(2, Tensor::kK).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(view->SegmentBytes(2).empty());
  EXPECT_EQ(*ReadAll(block.container), block.values);
}

TEST(ContainerTest, OpaqueTilesOf4MiBAreRead) {
  BlockSpec spec;
  spec.dtype = DType::kOpaque;
  spec.tokens = 64;
  spec.head_dim_k = 65536;
  spec.head_dim_v = 0;
  const BlockSample block = MakeBlock(spec);
  EXPECT_EQ(*ReadAll(block.container), block.values);
}

TEST(ContainerTest, EveryFlippedByteIsFound) {
  for (const char* profile : {"raw", "kvcomp:rel_k=0.2"}) {
    BlockSpec spec = SmallSpec();
    spec.profile = profile;
    spec.tokens = 20;
    const BlockSample block = MakeBlock(spec);
    ASSERT_TRUE(ReadAll(block.container).ok());
    for (size_t i = 0; i < block.container.size(); ++i) {
      for (uint8_t mask : {0x01, 0x80}) {
        std::string bad = block.container;
        bad[i] = static_cast<char>(bad[i] ^ mask);
        // Damage to the major version looks like another version: the one byte that no CRC can vouch for.
        EXPECT_EQ(ReadAll(bad).status().code(), i == 4 ? kUnimplemented : kDataLoss) << "byte " << i;
      }
    }
  }
}

TEST(ContainerTest, EveryOtherLengthIsFound) {
  const BlockSample block = MakeBlock(SmallSpec());
  for (size_t n = 0; n < block.container.size(); ++n) {
    EXPECT_EQ(ContainerView::Parse(AsBytes(block.container).first(n)).status().code(), kDataLoss) << n;
  }
  for (size_t more : {1, 63, 64, 128}) {
    const std::string longer = block.container + std::string(more, '\0');
    EXPECT_EQ(ContainerView::Parse(AsBytes(longer)).status().code(), kDataLoss) << more;
  }
}

TEST(ContainerTest, SegmentsOfOtherLayersAreFound) {
  const BlockSample block = MakeBlock(SmallSpec());
  const auto view = ContainerView::Parse(AsBytes(block.container));
  const size_t first = view->header_bytes().size();
  const size_t pair_bytes = block.segments[0].size() + block.segments[1].size();
  std::string swapped = block.container;
  std::swap_ranges(swapped.begin() + first, swapped.begin() + first + pair_bytes,
                   swapped.begin() + first + pair_bytes);
  EXPECT_EQ(ContainerView::Parse(AsBytes(swapped)).status().code(), kDataLoss);

  // Layer 9's K as layer 3's, its header changed to say so: only the checksums with the place can tell.
  std::string moved = block.segments[2];
  Poke<uint16_t>(&moved, 12, 3);
  ResealSegment(&moved);
  std::string bad = block.container;
  bad.replace(first, moved.size(), moved);
  ASSERT_TRUE(ContainerView::Parse(AsBytes(bad)).ok());
  EXPECT_EQ(ReadAll(bad).status().code(), kDataLoss);
}

TEST(ContainerTest, AnotherBlocksSegmentsAreFound) {
  const BlockSample block = MakeBlock(SmallSpec());
  std::string bad = block.container;
  bad[52] = static_cast<char>(bad[52] ^ 1);  // the key
  ResealBlockHeader(&bad);
  ASSERT_TRUE(ContainerView::Parse(AsBytes(bad)).ok());
  EXPECT_EQ(ReadAll(bad).status().code(), kDataLoss);
}

TEST(BlockHeaderTest, RangesOfEveryField) {
  const BlockSample block = MakeBlock(SmallSpec());  // header of 192 bytes, layer list at 176, profile at 180
  struct Case {
    size_t offset;
    size_t width;
    uint64_t value;
    absl::StatusCode code;
  };
  const Case kCases[] = {
      {4, 1, 0, kUnimplemented},
      {4, 1, 2, kUnimplemented},  // major
      {6, 2, 0, kDataLoss},
      {6, 2, 128, kDataLoss},
      {6, 2, 193, kDataLoss},  // header_bytes
      {8, 4, 1, kUnimplemented},
      {8, 4, 0x80000000, kUnimplemented},  // must-understand
      {12, 4, 0xffffffff, kOk},            // may-ignore
      {48, 1, 15, kDataLoss},
      {48, 1, 65, kDataLoss},  // key_bytes
      {49, 1, 0, kUnimplemented},
      {49, 1, 6, kUnimplemented},  // dtype
      {50, 2, 0, kDataLoss},
      {50, 2, 1025, kUnimplemented},  // tokens
      {68, 1, 1, kDataLoss},
      {115, 1, 1, kDataLoss},  // padding of the key
      {116, 2, 255, kOk},
      {116, 2, 256, kUnimplemented},  // group
      {118, 2, 1022, kOk},
      {118, 2, 1023, kUnimplemented},  // head_begin
      {120, 2, 0, kDataLoss},
      {120, 2, 1025, kUnimplemented},  // heads
      {122, 2, 1022, kOk},
      {122, 2, 1023, kUnimplemented},  // layer_begin
      {124, 2, 0, kDataLoss},
      {124, 2, 1025, kUnimplemented},  // layers
      {124, 2, 1024, kDataLoss},
      {126, 2, 1, kDataLoss},  // reserved
      {128, 4, 0, kDataLoss},
      {128, 4, 7, kUnimplemented},
      {128, 4, 577, kUnimplemented},  // head_dim_k
      {132, 4, 7, kUnimplemented},
      {132, 4, 577, kUnimplemented},
      {132, 4, 0, kOk},  // head_dim_v
      {136, 4, 0x3f800000, kOk},
      {136, 4, 0x3f800001, kDataLoss},  // error_bound
      {136, 4, 0x80000000, kDataLoss},
      {136, 4, 0x7fc00000, kDataLoss},  // -0, NaN
      {140, 2, 0, kDataLoss},
      {140, 2, 512, kDataLoss},
      {140, 2, 513, kUnimplemented},
      {142, 2, 1, kDataLoss},  // profile_bytes
      {176, 2, 9, kDataLoss},
      {178, 2, 2, kDataLoss},
      {178, 2, 65535, kDataLoss},  // layer list
      {178, 2, 65534, kOk},
      {180, 1, 0, kDataLoss},
      {180, 1, 0x20, kDataLoss},  // profile
      {180, 1, 0x7e, kOk},
      {183, 1, 1, kDataLoss},
      {187, 1, 1, kDataLoss},  // padding
  };
  for (const Case& c : kCases) {
    std::string changed = block.container;
    std::memcpy(changed.data() + c.offset, &c.value, c.width);
    if (c.offset != 6) ResealBlockHeader(&changed);
    size_t consumed = 0;
    const auto header = ParseBlockHeader(AsBytes(changed), &consumed);
    EXPECT_EQ(header.status().code(), c.code) << "offset " << c.offset << " value " << c.value;
    if (header.ok()) {
      EXPECT_EQ(consumed, 192u);
    }
  }
}

TEST(BlockHeaderTest, LargestHeaderIsReadAndSerialisesToItself) {
  BlockSpec spec;
  spec.layers.clear();
  for (uint32_t i = 0; i < kMaxLayers; ++i) spec.layers.push_back(64 * i);
  BlockHeader h = SampleHeader(spec);
  h.key = *BlockKey::FromBytes(std::string(64, 'k'));
  h.profile = std::string(512, 'p');  // not a codec known here: kept as text
  h.codebook_set = Sha256("set");
  h.error_bound = 0.25f;
  const std::string bytes = SerializeBlockHeader(h);
  EXPECT_EQ(*BlockHeaderBytes(AsBytes(bytes).first(16)), bytes.size());
  EXPECT_EQ(BlockHeaderBytes(AsBytes(bytes).first(15)).status().code(), kDataLoss);
  const auto back = ParseBlockHeader(AsBytes(bytes));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->layers, h.layers);
  EXPECT_EQ(back->profile, h.profile);
  EXPECT_EQ(back->codebook_set, h.codebook_set);
  EXPECT_EQ(SerializeBlockHeader(*back), bytes);
}

TEST(CompatibilityTest, NewerMinorVersionsAreReadWithTheirAdditions) {
  const BlockSample block = MakeBlock(SmallSpec());
  for (const auto& [header_more, footer_more] :
       {std::pair(0, 0), std::pair(64, 0), std::pair(0, 64), std::pair(640, 128)}) {
    const std::string newer = WithAdditions(block.container, 1, header_more, footer_more);
    const auto values = ReadAll(newer);
    ASSERT_TRUE(values.ok()) << values.status();
    EXPECT_EQ(*values, block.values);
    EXPECT_EQ(ParseBlockHeader(AsBytes(newer))->minor, 1);
    std::string flipped = newer;  // additions are under the CRC
    flipped[192 - 4] = static_cast<char>(flipped[192 - 4] ^ 1);
    EXPECT_EQ(ReadAll(flipped).status().code(), kDataLoss);
  }
}

TEST(CompatibilityTest, ThisMinorVersionHasNoAdditions) {
  const BlockSample block = MakeBlock(SmallSpec());
  EXPECT_EQ(ReadAll(WithAdditions(block.container, 0, 0, 0))->size(), 4u);
  EXPECT_EQ(ReadAll(WithAdditions(block.container, 0, 64, 0)).status().code(), kDataLoss);
  EXPECT_EQ(ReadAll(WithAdditions(block.container, 0, 0, 64)).status().code(), kDataLoss);
}

TEST(CompatibilityTest, SerialisingANewerHeaderWritesThisVersion) {
  const BlockSample block = MakeBlock(SmallSpec());
  std::string newer = WithAdditions(block.container, 7, 64, 0);
  Poke<uint32_t>(&newer, 12, 5);
  ResealBlockHeader(&newer);
  const auto header = ParseBlockHeader(AsBytes(newer));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->may_ignore, 5u);
  EXPECT_EQ(SerializeBlockHeader(*header), SerializeBlockHeader(block.header));
}

TEST(FooterTest, RangesOfEveryField) {
  const BlockSample block = MakeBlock(SmallSpec());
  const size_t footer_bytes = FooterBytes(4);
  ASSERT_EQ(footer_bytes, 128u);
  const size_t footer = block.container.size() - footer_bytes;
  struct Case {
    size_t offset;
    size_t width;
    uint64_t value;
    absl::StatusCode code;
  };
  const Case kCases[] = {
      {0, 4, 0, kDataLoss},  // magic
      {4, 4, 3, kDataLoss},
      {4, 4, 0xffffffff, kDataLoss},  // num_segments
      {8, 8, 64, kDataLoss},
      {16, 8, 12345, kDataLoss},  // container_bytes, raw_bytes
      {24, 4, 100, kDataLoss},
      {24, 4, 7, kDataLoss},
      {28, 4, 1000, kDataLoss},
      {28, 4, 7, kDataLoss},  // tiles, raw_tiles: 8 each
      {32, 4, 0x3f800000, kOk},
      {32, 4, 0x7f800000, kDataLoss},  // max_error_over_r_k
      {32, 4, 0x80000000, kDataLoss},
      {32, 4, 0x7fc00000, kDataLoss},
      {36, 4, 0x3f800000, kOk},
      {36, 4, 0x7f800000, kDataLoss},  // max_error_over_r_v
      {36, 4, 0x80000000, kDataLoss},
      {40, 8, 0, kDataLoss},
      {40, 8, 1ull << 63, kDataLoss},  // extents
      {48, 8, 64, kDataLoss},
      {48, 8, ~0ull, kDataLoss},  //
      {104, 1, 1, kDataLoss},
      {115, 1, 1, kDataLoss},  // padding
      {116, 4, 64, kDataLoss},
      {116, 4, 192, kDataLoss},  // footer_bytes
      {116, 4, 0xffffffc0, kDataLoss},
      {116, 4, 0, kDataLoss},
      {124, 4, 0, kDataLoss},  // end magic
  };
  for (const Case& c : kCases) {
    std::string changed = block.container;
    std::memcpy(changed.data() + footer + c.offset, &c.value, c.width);
    if (c.offset < 116) ResealFooter(&changed);
    EXPECT_EQ(ContainerView::Parse(AsBytes(changed)).status().code(), c.code)
        << "offset " << c.offset << " value " << c.value;
  }
}

TEST(ContainerWriterTest, SegmentsComeInOrderAndAll) {
  const BlockSample block = MakeBlock(SmallSpec());
  const auto& s = block.segments;
  ContainerWriter writer(block.header);
  EXPECT_EQ(writer.AddSegment(AsBytes(s[1])).code(), kPrecondition);
  EXPECT_EQ(writer.AddSegment(AsBytes(s[0])), absl::OkStatus());
  EXPECT_EQ(writer.AddSegment(AsBytes(s[0])).code(), kPrecondition);
  EXPECT_EQ(writer.AddSegment(AsBytes(s[1] + std::string(64, '\0'))).code(), kDataLoss);
  EXPECT_EQ(writer.AddSegment(AsBytes("junk")).code(), kDataLoss);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(writer.AddSegment(AsBytes(s[i])), absl::OkStatus());
  EXPECT_EQ(writer.AddSegment(AsBytes(s[3])).code(), kPrecondition);
  EXPECT_EQ(*std::move(writer).Finish({}), block.container);

  ContainerWriter incomplete(block.header);
  EXPECT_EQ(std::move(incomplete).Finish({}).status().code(), kPrecondition);
}

TEST(ContainerWriterTest, AHeaderOutOfRangeIsTheCallersMistake) {
  BlockSpec spec;
  spec.head_dim_v = 0;
  const BlockSample block = MakeBlock(spec);
  for (int which = 0; which < 4; ++which) {
    BlockHeader h = block.header;
    if (which == 0) h.profile = "two words";
    if (which == 1) h.error_bound = -1;
    if (which == 2) h.shard.group = 256;
    if (which == 3) h.key = BlockKey();
    ContainerWriter writer(h);
    ASSERT_EQ(writer.AddSegment(AsBytes(block.segments[0])), absl::OkStatus());
    EXPECT_EQ(std::move(writer).Finish({}).status().code(), absl::StatusCode::kInvalidArgument) << which;
  }
  ContainerWriter writer(block.header);
  ASSERT_EQ(writer.AddSegment(AsBytes(block.segments[0])), absl::OkStatus());
  QualityRecord quality;
  quality.max_error_over_r_k = std::nanf("");
  EXPECT_EQ(std::move(writer).Finish(quality).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvcompd::codec
