// Holds codec/FORMAT.md, read as data, against the code: vectors, numbers, the hex example, and the tables of
// fields, whose offsets are looked up in the example.
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "codec/base/chain_hash.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/codec.h"
#include "codec/container.h"
#include "codec/kvcomp_header.h"
#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

std::string ReadFormat() {
  std::ifstream file("codec/FORMAT.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The code block after a comment.
std::string Block(const std::string& text, const std::string& comment) {
  const size_t at = text.find("<!-- " + comment + " -->");
  if (at == std::string::npos) return "";
  const size_t begin = text.find("```\n", at) + 4;
  return text.substr(begin, text.find("```", begin) - begin);
}

std::map<std::string, std::string> Vectors(const std::string& name) {
  std::map<std::string, std::string> vectors;
  for (absl::string_view line :
       absl::StrSplit(Block(ReadFormat(), "vector: " + name), '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(line, absl::MaxSplits(" = ", 1));
    vectors.insert(entry);
  }
  return vectors;
}

// Rows of the first table after a heading or sentence: trimmed cells.
std::vector<std::vector<std::string>> Table(const std::string& after) {
  const std::string text = ReadFormat();
  const size_t at = text.find(after);
  if (at == std::string::npos) return {};
  std::vector<std::vector<std::string>> rows;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text).substr(text.find("\n|", at) + 1), '\n')) {
    if (line.empty() || line[0] != '|') break;
    std::vector<std::string> cells = absl::StrSplit(line, '|');
    cells.erase(cells.begin());
    cells.pop_back();
    for (std::string& cell : cells) absl::StripAsciiWhitespace(&cell);
    rows.push_back(std::move(cells));
  }
  if (rows.size() >= 2) rows.erase(rows.begin(), rows.begin() + 2);  // titles and rule
  return rows;
}

struct Field {
  size_t offset;
  size_t size;
};

// Fields of a table by name, where offset and size are numbers; checks that these leave no gap.
std::map<std::string, Field> Fields(const std::string& after) {
  std::map<std::string, Field> fields;
  size_t end = 0;
  for (const std::vector<std::string>& row : Table(after)) {
    uint32_t offset, size;
    if (row.size() < 3 || !absl::SimpleAtoi(row[0], &offset)) continue;
    EXPECT_EQ(offset, end) << after << ": " << row[2];
    if (!absl::SimpleAtoi(row[1], &size)) break;
    end = offset + size;
    if (!row[2].empty()) fields[row[2]] = {offset, size};
  }
  return fields;
}

std::string ExampleBytes() {
  std::string bytes;
  for (absl::string_view line :
       absl::StrSplit(Block(ReadFormat(), "example: container"), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words =
        absl::StrSplit(line.substr(0, line.find('#')), ' ', absl::SkipWhitespace());
    EXPECT_EQ(words[0], absl::StrCat(absl::Hex(bytes.size(), absl::kZeroPad3)));
    for (size_t i = 1; i < words.size(); ++i) bytes += BytesOfHex(words[i]).value();
  }
  return bytes;
}

BlockSample ExampleBlock() {
  BlockSpec spec;
  spec.head_dim_v = 0;
  BlockSample block;
  block.header = SampleHeader(spec);
  std::string values;
  for (int i = 1; i <= 16; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(i));
    values += {static_cast<char>(bits >> 16), static_cast<char>(bits >> 24)};
  }
  block.values = {values};
  block.segments = {SampleSegment(block.header, 0, Tensor::kK, values)};
  ContainerWriter writer(block.header);
  EXPECT_TRUE(writer.AddSegment(AsBytes(block.segments[0])).ok());
  block.container = std::move(writer).Finish({}).value();
  return block;
}

uint64_t At(const std::string& bytes, size_t base, const std::map<std::string, Field>& fields,
            const std::string& name) {
  const auto it = fields.find(name);
  if (it == fields.end() || it->second.size > 8) {
    ADD_FAILURE() << "FORMAT.md has no number " << name;
    return ~uint64_t{0};
  }
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + base + it->second.offset, it->second.size);
  return value;
}

TEST(FormatDocTest, TitleHasTheVersion) {
  const std::string title = absl::StrCat("version ", kFormatMajor, ".", kFormatMinor, "\n");
  EXPECT_NE(ReadFormat().substr(0, 100).find(title), std::string::npos);
}

TEST(FormatDocTest, NumbersOfDTypesTensorsCodecsAndModes) {
  const auto dtypes = Table("## Conventions");
  ASSERT_EQ(dtypes.size(), 5u);
  const DType kDTypes[] = {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2, DType::kOpaque};
  const char* kNames[] = {"bf16", "fp16", "fp8 E4M3", "fp8 E5M2", "opaque"};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(dtypes[i][0], absl::StrCat(static_cast<int>(kDTypes[i])));
    EXPECT_EQ(dtypes[i][1].find(kNames[i]), 0u);
    EXPECT_EQ(dtypes[i][2], absl::StrCat(ElementBytes(kDTypes[i])));
  }
  const auto numbers = Table("| 5 | opaque");
  const auto number = [](auto e) { return absl::StrCat(static_cast<int>(e)); };
  const CodecId kCodecs[] = {CodecId::kRaw, CodecId::kKvcomp, CodecId::kLossless, CodecId::kIntq,
                             CodecId::kPackkv};
  ASSERT_EQ(numbers.size(), std::size(kCodecs));
  EXPECT_EQ(numbers[0][0], number(Tensor::kK));
  EXPECT_EQ(numbers[1][0], number(Tensor::kV));
  for (size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(numbers[i][3], number(kCodecs[i]));
    EXPECT_EQ(numbers[i][4], std::string(CodecName(kCodecs[i])));
  }
}

TEST(FormatDocTest, TileModesAreTheCodecs) {
  for (const auto& row : Table("| 5 | packkv")) {
    for (int id = 1; id < 256; ++id) {
      const Codec* const codec = FindCodec(static_cast<CodecId>(id));
      if (codec == nullptr || CodecName(codec->id()) != ToStd(row[0])) continue;
      std::string modes;
      for (size_t mode = 0; mode < codec->mode_names().size(); ++mode) {
        absl::StrAppend(&modes, mode == 0 ? "" : ", ", mode, " ", ToAbsl(codec->mode_names()[mode]));
      }
      EXPECT_EQ(row[1], modes) << row[0];
    }
  }
}

TEST(FormatDocTest, LimitsAreTheCodes) {
  std::map<std::string, std::string> limits;
  for (const auto& row : Table("## Limits")) limits[row[0]] = row[1];
  EXPECT_EQ(limits["block key"], absl::StrCat(BlockKey::kMinBytes, " to ", BlockKey::kMaxBytes, " bytes"));
  EXPECT_EQ(limits["tokens of a block"], absl::StrCat("1 to ", kMaxBlockTokens));
  EXPECT_EQ(limits["channels (head dimension)"],
            absl::StrCat(kMinHeadDim, " to ", kMaxHeadDim, "; opaque: 1 to ", kMaxOpaqueBytes));
  EXPECT_EQ(limits["layers of a shard"],
            absl::StrCat("1 to ", kMaxLayers, "; layer_begin + layers at most ", kMaxLayers));
  EXPECT_EQ(limits["layer number"], absl::StrCat("0 to ", kMaxLayerNumber));
  EXPECT_EQ(limits["profile text"].find(absl::StrCat("1 to ", Profile::kMaxTextBytes, " bytes")), 0u);
  EXPECT_EQ(limits["heads of a shard or segment"],
            absl::StrCat("1 to ", kMaxHeads, "; head_begin + heads at most ", kMaxHeads));
  EXPECT_EQ(limits["codebook set"].find(absl::StrCat("16 MiB and ", CodebookSet::kMaxBooks, " books")), 0u);
  EXPECT_EQ(CodebookSet::kMaxBytes, size_t{16} << 20);
  EXPECT_EQ(limits["group header"],
            "raw, lossless, intq and opaque: 0 bytes; kvcomp: at most 10 bytes for K, 4 + 6 * tokens of "
            "the group for V; packkv: 38 + 6 * tokens + ceil(6 * tokens / 8)");
  EXPECT_EQ(FindCodec(CodecId::kPackkv)->GroupHeaderBound({DType::kBf16, Tensor::kK, 2, 33, 8}),
            38u + 6 * 33 + (6 * 33 + 7) / 8);
  const Codec& kvcomp = *FindCodec(CodecId::kKvcomp);
  EXPECT_EQ(kvcomp.GroupHeaderBound({DType::kBf16, Tensor::kK, 2, 64, 8}), 10u);
  EXPECT_EQ(kvcomp.GroupHeaderBound({DType::kBf16, Tensor::kV, 2, 33, 8}), 4u + 6 * 33);
  EXPECT_EQ(kvcomp.GroupHeaderBound({DType::kOpaque, Tensor::kK, 2, 33, 8}), 0u);
  EXPECT_EQ(limits["container, segment"], "at most 2^32 - 64 bytes each");
  EXPECT_EQ(kMaxContainerBytes, (uint64_t{1} << 32) - 64);
}

TEST(FormatDocTest, ExampleIsWhatTheWriterWritesAndDecodes) {
  const BlockSample block = ExampleBlock();
  EXPECT_EQ(HexOf(ExampleBytes()), HexOf(block.container));
  const std::string bytes = ExampleBytes();
  const auto view = ContainerView::Parse(AsBytes(bytes));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->VerifyAll(), absl::OkStatus());
  EXPECT_EQ(AsChars(view->Segment(0, Tensor::kK)->RawValues(0, 1)), block.values[0]);
}

TEST(FormatDocTest, TablesGiveTheOffsetsOfTheBlockHeader) {
  const std::string bytes = ExampleBytes();
  const auto f = Fields("### Block header");
  EXPECT_EQ(At(bytes, 0, f, "magic"), 0x4243564bu);
  EXPECT_EQ(At(bytes, 0, f, "major"), kFormatMajor);
  EXPECT_EQ(At(bytes, 0, f, "minor"), kFormatMinor);
  EXPECT_EQ(At(bytes, 0, f, "header_bytes"), 192u);
  EXPECT_EQ(At(bytes, 0, f, "key_bytes"), 16u);
  EXPECT_EQ(At(bytes, 0, f, "dtype"), 1u);
  EXPECT_EQ(At(bytes, 0, f, "tokens"), 2u);
  EXPECT_EQ(At(bytes, 0, f, "heads"), 1u);
  EXPECT_EQ(At(bytes, 0, f, "layers"), 1u);
  EXPECT_EQ(At(bytes, 0, f, "head_dim_k"), 8u);
  EXPECT_EQ(At(bytes, 0, f, "head_dim_v"), 0u);
  EXPECT_EQ(At(bytes, 0, f, "profile_bytes"), 3u);
  ASSERT_TRUE(f.contains("codebook_set"));
  EXPECT_EQ(f.at("codebook_set").offset + f.at("codebook_set").size, 176u);
}

TEST(FormatDocTest, TablesGiveTheOffsetsOfSegmentAndFooter) {
  const std::string bytes = ExampleBytes();
  const size_t segment = 192;
  const auto f = Fields("## Segment\n");
  EXPECT_EQ(At(bytes, segment, f, "magic"), 0x4753564bu);
  EXPECT_EQ(At(bytes, segment, f, "layer"), 3u);
  EXPECT_EQ(At(bytes, segment, f, "tensor"), 1u);
  EXPECT_EQ(At(bytes, segment, f, "codec"), 1u);
  EXPECT_EQ(At(bytes, segment, f, "heads"), 1u);
  EXPECT_EQ(At(bytes, segment, f, "tokens"), 2u);
  EXPECT_EQ(At(bytes, segment, f, "channels"), 8u);
  EXPECT_EQ(At(bytes, segment, f, "segment_bytes"), 128u);
  EXPECT_EQ(At(bytes, segment, f, "groups"), 1u);
  EXPECT_EQ(At(bytes, segment, f, "data"), 96u);
  ASSERT_TRUE(f.contains("crc"));
  EXPECT_EQ(f.at("crc").offset + f.at("crc").size, 64u);
  const auto tile = Fields("Tile index, one entry a tile");
  EXPECT_EQ(At(bytes, segment + 64, tile, "offset"), 96u);
  EXPECT_EQ(At(bytes, segment + 64, tile, "bytes"), 32u);
  const auto group = Fields("Group index, one entry a group");
  EXPECT_EQ(At(bytes, segment + 80, group, "offset"), 96u);
  const size_t footer_at = bytes.size() - FooterBytes(1);
  const auto footer = Fields("### Footer");
  EXPECT_EQ(At(bytes, footer_at, footer, "num_segments"), 1u);
  EXPECT_EQ(At(bytes, footer_at, footer, "container_bytes"), bytes.size());
  EXPECT_EQ(At(bytes, footer_at, footer, "raw_bytes"), 32u);
  EXPECT_EQ(At(bytes, footer_at, footer, "tiles"), 1u);
  EXPECT_EQ(At(bytes, footer_at, footer, "raw_tiles"), 1u);
  ASSERT_TRUE(footer.contains("max_error_over_r_k") && footer.contains("max_error_over_r_v"));
  EXPECT_EQ(footer.at("max_error_over_r_k").offset, 32u);
  EXPECT_EQ(footer.at("max_error_over_r_v").offset, 36u);
}

TEST(FormatDocTest, ProfilesInTheTextAreCanonical) {
  const std::string text = ReadFormat();
  const size_t begin = text.find("    raw\n    kvcomp:");
  ASSERT_NE(begin, std::string::npos);
  int profiles = 0;
  for (absl::string_view line : absl::StrSplit(text.substr(begin), '\n')) {
    if (line.empty()) break;
    const std::string profile(absl::StripAsciiWhitespace(line));
    EXPECT_EQ(Profile::Parse(profile).value().Text(), profile);
    ++profiles;
  }
  EXPECT_EQ(profiles, 11);
}

TEST(FormatDocTest, KeyVectors) {
  const auto vectors = Vectors("keys");
  ASSERT_EQ(vectors.size(), 4u);
  const std::vector<uint32_t> first = {1, 2, 3}, second = {4, 5};
  const std::vector<std::string> extra = {"lora:7", ""};
  const BlockKey a = ChainHash({}, first);
  EXPECT_EQ(a.Hex(), vectors.at("A"));
  EXPECT_EQ(ChainHash(a, second, extra).Hex(), vectors.at("B"));
  EXPECT_EQ(ChainHash({}, {}).Hex(), vectors.at("C"));
  EXPECT_EQ(SaltedKey(a, "tenant").Hex(), vectors.at("S"));
}

TEST(FormatDocTest, ModelVector) {
  ModelDescriptor m;
  m.model_id = "m";
  m.weights_version = "w";
  AttentionGroup g;
  g.layers = {0, 1};
  g.kv_heads = 2;
  g.head_dim_k = g.head_dim_v = 64;
  m.groups = {g};
  ASSERT_TRUE(m.Validate().ok());
  EXPECT_EQ(m.Fingerprint().Hex(), Vectors("model")["fingerprint"]);
}

}  // namespace
}  // namespace kvcompd::codec
