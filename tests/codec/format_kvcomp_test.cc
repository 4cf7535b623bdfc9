// Holds the kvcomp parts of codec/FORMAT.md, read as data, against the code.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "codec/codec.h"
#include "codec/kvcomp_header.h"
#include "codec/kvcomp_rans.h"
#include "codec/tile_payload.h"
#include "gtest/gtest.h"
#include "tests/codec/format_text.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

std::map<std::string, std::string> Vectors(const std::string& comment) {
  std::map<std::string, std::string> vectors;
  for (const std::string& line : kvcompd::testing::FormatLines(comment)) {
    const size_t at = line.rfind(" = ");
    vectors[line.substr(0, at)] = line.substr(at + 3);
  }
  return vectors;
}

std::string Hex(std::string line) {
  std::erase(line, ' ');
  return line;
}

TEST(FormatKvcomp, Alphabet) {
  const auto vectors = Vectors("vector: alphabet");
  EXPECT_EQ(vectors.size(), 7u);
  for (const auto& [rel, symbols] : vectors) {
    double r = 0;
    ASSERT_TRUE(absl::SimpleAtod(rel, &r));
    EXPECT_EQ(std::to_string(AlphabetSize(r, false)), symbols) << rel;
  }
  const auto strict = Vectors("vector: strict alphabet");
  EXPECT_EQ(strict.size(), 7u);
  for (const auto& [rel, symbols] : strict) {
    double r = 0;
    ASSERT_TRUE(absl::SimpleAtod(rel, &r));
    EXPECT_EQ(std::to_string(AlphabetSize(r, true)), symbols) << rel;
  }
}

TEST(FormatKvcomp, BuiltInSets) {
  const auto vectors = Vectors("vector: built-in");
  EXPECT_EQ(vectors.size(), 5u);
  for (const auto& [text, id] : vectors) {
    const auto profile = Profile::Parse(text);
    ASSERT_TRUE(profile.ok()) << profile.status();
    EXPECT_EQ(profile->Text(), text);
    EXPECT_EQ(CodebookSet::BuiltIn(*profile)->id().Hex(), id) << text;
  }
}

TEST(FormatKvcomp, Example) {
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i % 16 + 1);
  const GroupShape shape{DType::kBf16, Tensor::kK, 2, 2, 8};
  const Profile profile{.codec = CodecId::kKvcomp, .rel_k = 0.25};
  const Codec& codec = *FindCodec(CodecId::kKvcomp);
  const auto group = kvcompd::testing::EncodeGroup(
      codec, shape, kvcompd::testing::ToBytes(shape.dtype, values), {.profile = profile});
  ASSERT_TRUE(group.ok());
  const auto lines = kvcompd::testing::FormatLines("example: kvcomp");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ("header" + HexOf(group->header), Hex(lines[0]));
  EXPECT_EQ("payload" + HexOf(group->payloads[0]), Hex(lines[1]));
  EXPECT_EQ(group->payloads[1], group->payloads[0]);
  EXPECT_EQ(group->modes[0], kKvcompPacked);
  const auto tile = kvcompd::testing::DecodeTile(codec, shape, *group, 0);
  ASSERT_TRUE(tile.ok());
  EXPECT_EQ(kvcompd::testing::ToFloats(shape.dtype, *tile),
            (std::vector<float>{0, 3.75, 3.75, 3.75, 3.75, 7.5, 7.5, 7.5, 7.5, 11.25, 11.25, 11.25, 11.25, 15,
                                15, 15}));
}

TEST(FormatKvcomp, RansExample) {
  // Code i of the 128 is i * i mod 7 mod 3; unit block of 3 codes from the multiple -1 on.
  std::vector<uint8_t> codes(128), symbols(128), scratch(128);
  for (uint32_t i = 0; i < 128; ++i) codes[i] = static_cast<uint8_t>(i * i % 7 % 3);
  const UnitParams params{.scale = 0x3f80, .zero = -1};
  const RansCodes shape = RansCodes::Of(QuantUnit::kBlock, 2, 64, 3, std::span(&params, 1));
  EXPECT_EQ(shape.carried(), 48u);
  const RansTables& tables = BuiltInBook(QuantUnit::kBlock, 3, Coder::kRans).rans_tables();
  std::vector<std::byte> words(RansWorkspaceBytes(128)), out(256);
  SymbolsOfCodes(shape, codes.data(), symbols.data());
  out.resize(WriteRansCodes(shape, codes.data(), symbols.data(), tables, words, out));
  const auto lines = kvcompd::testing::FormatLines("example: rans");
  ASSERT_EQ(lines.size(), 2u);
  std::string frequencies = "frequencies";
  for (const uint16_t f : BuiltInBook(QuantUnit::kBlock, 3, Coder::kRans).frequencies()) {
    frequencies += " " + std::to_string(f);
  }
  EXPECT_EQ(frequencies, lines[0]);
  EXPECT_EQ("payload" + HexOf(AsChars(out)), Hex(lines[1]));
  std::vector<uint8_t> decoded(128);
  ASSERT_TRUE(ReadRansCodes(shape, out, tables, scratch.data(), decoded.data()).ok());
  EXPECT_EQ(decoded, codes);
}

TEST(FormatKvcomp, StreamsExample) {
  const Codebook book = Codebook::FromLengths(std::vector<uint8_t>{1, 2, 2}).value();
  const std::vector<uint8_t> codes = {0, 1, 2, 0};
  const HuffmanPlan plan = PlanHuffman(codes.data(), 4, 1, book);
  std::vector<std::byte> out(plan.bytes);
  WriteHuffman(codes.data(), 4, 1, book, plan, out);
  const auto lines = kvcompd::testing::FormatLines("example: streams");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(HexOf(AsChars(out)), Hex(lines[0]));
}

}  // namespace
}  // namespace kvcompd::codec
