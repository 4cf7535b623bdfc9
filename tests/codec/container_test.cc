#include "codec/container.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;
constexpr absl::StatusCode kPrecondition = absl::StatusCode::kFailedPrecondition;

// Parses, verifies and decodes everything: the first error, or the values of each segment.
absl::StatusOr<std::vector<std::string>> ReadAll(std::string_view bytes) {
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
      const absl::Status status = segment->Decode(h.place(layer, tensor), 0, h.shard.head_count, nullptr, &ws,
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
  }
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
      {49, 1, 0, kDataLoss},
      {49, 1, 6, kDataLoss},  // dtype
      {50, 2, 0, kDataLoss},
      {50, 2, 1025, kDataLoss},  // tokens
      {68, 1, 1, kDataLoss},
      {115, 1, 1, kDataLoss},  // padding of the key
      {116, 2, 255, kOk},
      {116, 2, 256, kDataLoss},  // group
      {118, 2, 1022, kOk},
      {118, 2, 1023, kDataLoss},  // head_begin
      {120, 2, 0, kDataLoss},
      {120, 2, 1025, kDataLoss},  // heads
      {122, 2, 1022, kOk},
      {122, 2, 1023, kDataLoss},  // layer_begin
      {124, 2, 0, kDataLoss},
      {124, 2, 1025, kDataLoss},  // layers
      {124, 2, 1024, kDataLoss},
      {126, 2, 1, kDataLoss},  // reserved
      {128, 4, 7, kDataLoss},
      {128, 4, 577, kDataLoss},  // head_dim_k
      {132, 4, 7, kDataLoss},
      {132, 4, 577, kDataLoss},
      {132, 4, 0, kOk},  // head_dim_v
      {136, 4, 0x3f800000, kOk},
      {136, 4, 0x3f800001, kDataLoss},  // error_bound
      {136, 4, 0x80000000, kDataLoss},
      {136, 4, 0x7fc00000, kDataLoss},  // -0, NaN
      {140, 2, 0, kDataLoss},
      {140, 2, 129, kDataLoss},
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
  h.profile = std::string(128, 'p');  // not a codec known here: kept as text
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

// The container with `header_more` and `footer_more` bytes of additions and this minor version.
std::string WithAdditions(const BlockSample& block, uint8_t minor, size_t header_more, size_t footer_more) {
  const auto view = ContainerView::Parse(AsBytes(block.container));
  const size_t header_bytes = view->header_bytes().size();
  const size_t footer_bytes = view->footer_bytes().size();
  std::string out = block.container;
  Poke<uint8_t>(&out, 5, minor);
  Poke<uint16_t>(&out, 6, static_cast<uint16_t>(header_bytes + header_more));
  out.insert(out.size() - 12, footer_more, '\x77');
  Poke<uint32_t>(&out, out.size() - 12, static_cast<uint32_t>(footer_bytes + footer_more));
  out.insert(header_bytes - 4, header_more, '\x77');
  const size_t footer = out.size() - footer_bytes - footer_more;
  Poke<uint64_t>(&out, footer + 8, out.size());
  for (size_t i = 0; i < block.segments.size(); ++i) {
    const size_t extent = footer + 40 + 16 * i;
    Poke<uint64_t>(&out, extent, Peek<uint64_t>(out, extent) + header_more);
  }
  ResealBlockHeader(&out);
  ResealFooter(&out);
  return out;
}

TEST(CompatibilityTest, NewerMinorVersionsAreReadWithTheirAdditions) {
  const BlockSample block = MakeBlock(SmallSpec());
  for (const auto& [header_more, footer_more] :
       {std::pair(0, 0), std::pair(64, 0), std::pair(0, 64), std::pair(640, 128)}) {
    const std::string newer = WithAdditions(block, 1, header_more, footer_more);
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
  EXPECT_EQ(ReadAll(WithAdditions(block, 0, 0, 0))->size(), 4u);
  EXPECT_EQ(ReadAll(WithAdditions(block, 0, 64, 0)).status().code(), kDataLoss);
  EXPECT_EQ(ReadAll(WithAdditions(block, 0, 0, 64)).status().code(), kDataLoss);
}

TEST(CompatibilityTest, SerialisingANewerHeaderWritesThisVersion) {
  const BlockSample block = MakeBlock(SmallSpec());
  std::string newer = WithAdditions(block, 7, 64, 0);
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
      {16, 8, 12345, kOk},  // container_bytes, raw_bytes
      {24, 4, 100, kOk},
      {28, 4, 1000, kDataLoss},  // tiles, raw_tiles
      {32, 4, 0x3f800000, kOk},
      {32, 4, 0x7f800000, kDataLoss},  // max_error_over_r
      {32, 4, 0x80000000, kDataLoss},
      {32, 4, 0x7fc00000, kDataLoss},
      {36, 4, 1, kDataLoss},
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
  QualityRecord quality;
  quality.tiles = 8;
  quality.raw_bytes = block.header.raw_bytes();
  EXPECT_EQ(*std::move(writer).Finish(quality), block.container);

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
  quality.max_error_over_r = std::nanf("");
  EXPECT_EQ(std::move(writer).Finish(quality).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvcompd::codec
