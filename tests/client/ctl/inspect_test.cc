#include "client/ctl/inspect.h"

#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/child_process.h"
#include "client/ctl/inspect_command.h"
#include "client/ctl/sample.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

// The container of a golden file.
std::string Golden(const std::string& name) {
  std::ifstream file("tests/golden/" + name);
  std::string line, hex;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#' || line.find(':') != std::string::npos) continue;
    hex += line;
  }
  const auto bytes = BytesOfHex(hex);
  EXPECT_TRUE(bytes.ok() && !bytes->empty()) << name;
  return bytes.value_or("");
}

InspectReport Inspect(std::string_view container) { return InspectContainer(AsBytes(container), nullptr); }

const InspectField* Field(const std::vector<InspectField>& fields, std::string_view name) {
  for (const InspectField& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

class InspectGoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(InspectGoldenTest, FindsNoProblem) {
  const std::string container = Golden(GetParam());
  const InspectReport report = Inspect(container);
  for (const InspectProblem& problem : report.problems)
    ADD_FAILURE() << problem.where << ": " << problem.status;
  ASSERT_TRUE(report.block.has_value());
  ASSERT_EQ(report.segments.size(), report.block->num_segments());
  EXPECT_EQ(report.raw_bytes(), report.block->raw_bytes());
  EXPECT_GT(report.payload_bytes(), 0u);
  EXPECT_LE(report.payload_bytes(), report.bytes);
  for (const InspectSegment& segment : report.segments) {
    EXPECT_TRUE(segment.checksums_ok && segment.decoded);
    EXPECT_EQ(std::accumulate(segment.tile_modes.begin(), segment.tile_modes.end(), size_t{0}),
              segment.tiles.size());
    EXPECT_EQ(segment.tiles.size(), size_t{segment.shape.heads} * segment.shape.groups());
    EXPECT_EQ(Field(segment.fields, "crc")->note, "matches");
  }
  EXPECT_EQ(Field(report.header, "crc")->note, "matches");
  EXPECT_EQ(Field(report.header, "tokens")->value, report.block->tokens);
  EXPECT_EQ(Field(report.header, "profile")->value, report.block->profile);
  EXPECT_EQ(Field(report.header, "key")->value, report.block->key.Hex());
  EXPECT_EQ(Field(report.footer, "crc")->note, "matches");
  EXPECT_EQ(Field(report.footer, "container_bytes")->value, container.size());
  EXPECT_EQ(Field(report.footer, "end_magic")->value, "KVCE");
}

INSTANTIATE_TEST_SUITE_P(All, InspectGoldenTest,
                         ::testing::Values("v1_0_raw_bf16.hex", "v1_0_raw_opaque.hex", "v1_0_kvcomp_bf16.hex",
                                           "v1_0_kvcomp_channel_huffman.hex", "v1_0_kvcomp_fp8_e4m3.hex",
                                           "v1_0_kvcomp_latent.hex", "v1_0_kvcomp_strict.hex",
                                           "v1_1_may_ignore.hex", "v1_1_longer_header_and_footer.hex",
                                           "v1_1_segment_extension.hex", "v1_1_unknown_profile.hex"));

TEST(InspectTest, ExplainsQuantisation) {
  const InspectReport report = Inspect(Golden("v1_0_kvcomp_bf16.hex"));
  bool some = false;
  for (const InspectSegment& segment : report.segments) {
    EXPECT_EQ(segment.codec, "kvcomp");
    for (uint32_t g = 0; g < segment.groups.size(); ++g) {
      const InspectGroup& group = segment.groups[g];
      if (group.unit.empty()) continue;
      some = true;
      EXPECT_EQ(group.unit, segment.tensor == Tensor::kK ? "block" : "token");
      EXPECT_EQ(group.scales, segment.tensor == Tensor::kK ? 1 : segment.shape.group_tokens(g));
      EXPECT_GT(group.symbols, 1u);
      EXPECT_LE(group.min_scale, group.max_scale);
    }
  }
  EXPECT_TRUE(some);
}

TEST(InspectTest, NamesTheDamagedTile) {
  const std::string good = Golden("v1_0_kvcomp_bf16.hex");
  const InspectReport sound = Inspect(good);
  ASSERT_GE(sound.segments.size(), 2u);
  const InspectSegment& target = sound.segments[1];
  const InspectTile& tile = target.tiles.back();
  std::string bad = good;
  bad[tile.offset] = static_cast<char>(bad[tile.offset] ^ 0x10);
  const InspectReport report = Inspect(bad);
  ASSERT_EQ(report.problems.size(), 1u);
  const InspectProblem& problem = report.problems[0];
  EXPECT_EQ(problem.status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(problem.where, absl::StrCat("segment 1 (layer ", target.layer, " V), head ",
                                        target.shape.head_begin + target.shape.heads - 1));
  EXPECT_EQ(problem.offset, target.tiles[(target.shape.heads - 1) * target.shape.groups()].offset);
  // The others are still explained and sound.
  ASSERT_EQ(report.segments.size(), sound.segments.size());
  EXPECT_FALSE(report.segments[1].checksums_ok);
  EXPECT_TRUE(report.segments[0].decoded);
}

TEST(InspectTest, NamesTheDamagedPart) {
  const std::string good = Golden("v1_0_kvcomp_bf16.hex");
  const InspectReport sound = Inspect(good);
  struct Case {
    uint64_t byte;
    std::string where;
  };
  for (const Case& c :
       {Case{20, "block header"}, Case{sound.segments[2].offset + 30, "segment 2"},
        Case{sound.segments[0].offset + 70, "segment 0"}, Case{sound.footer_offset + 24, "footer"}}) {
    std::string bad = good;
    bad[c.byte] = static_cast<char>(bad[c.byte] ^ 1);
    const InspectReport report = Inspect(bad);
    ASSERT_FALSE(report.ok()) << c.where;
    EXPECT_EQ(report.problems[0].where, c.where) << report.problems[0].status;
    // Nothing hides the sound parts.
    EXPECT_EQ(report.segments.size(), sound.segments.size()) << c.where;
  }
}

TEST(InspectTest, AnyBytesGiveAReport) {
  const std::string good = Golden("v1_0_kvcomp_bf16.hex");
  for (size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{200}, good.size() / 2, good.size() - 1}) {
    const InspectReport report = Inspect(std::string_view(good).substr(0, size));
    EXPECT_FALSE(report.ok()) << size;
    EXPECT_FALSE(InspectJson(report, true).dump().empty());
  }
  // Every byte counts: none can change without a problem, but for the fields that readers ignore.
  const InspectReport sound = Inspect(good);
  size_t unnoticed = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x40);
    unnoticed += Inspect(bad).ok();
  }
  EXPECT_EQ(unnoticed, 0u);
}

TEST(InspectTest, AWrongPlaceIsFound) {
  EXPECT_FALSE(Inspect(Golden("error_wrong_place.hex")).ok());
  const InspectReport newer = Inspect(Golden("error_must_understand.hex"));
  ASSERT_FALSE(newer.ok());
  EXPECT_EQ(newer.problems[0].status.code(), absl::StatusCode::kUnimplemented);
}

class InspectCommandTest : public ::testing::Test {
 protected:
  int Run(const std::string& container, std::vector<std::string> flags) {
    auto folder = TemporaryFolder::Create();
    EXPECT_TRUE(folder.ok());
    const std::string path = (*folder)->path() + "/block.kvcb";
    EXPECT_TRUE(WriteFileBytes(path, AsBytes(container)).ok());
    std::vector<std::string> words = {"inspect", path};
    words.insert(words.end(), flags.begin(), flags.end());
    out_.str("");
    err_.str("");
    const std::vector<Command> commands = {InspectCommand()};
    return RunCommandLine(commands, words, out_, err_);
  }
  std::ostringstream out_, err_;
};

TEST_F(InspectCommandTest, PrintsForPeopleAndForPrograms) {
  const std::string good = Golden("v1_0_kvcomp_bf16.hex");
  EXPECT_EQ(Run(good, {"--tiles"}), kExitOk) << err_.str();
  for (const char* text : {"fingerprint", "container_bytes", "encoded_crc", "no problem found"}) {
    EXPECT_NE(out_.str().find(text), std::string::npos) << text;
  }
  EXPECT_EQ(Run(good, {"--json"}), kExitOk);
  const Json json = Json::parse(out_.str(), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["bytes"], good.size());
  EXPECT_TRUE(json["segments"][0]["fields"].is_array());
}

TEST_F(InspectCommandTest, ADamagedFileFails) {
  std::string bad = Golden("v1_0_kvcomp_bf16.hex");
  bad[20] = static_cast<char>(bad[20] ^ 1);
  EXPECT_EQ(Run(bad, {}), kExitFailed);
  EXPECT_NE(out_.str().find("PROBLEM at byte 0, block header"), std::string::npos) << out_.str();
  EXPECT_NE(err_.str().find("DATA_LOSS"), std::string::npos);
  EXPECT_EQ(Run(bad, {"--json"}), kExitFailed);
  EXPECT_EQ(Json::parse(out_.str(), nullptr, false)["ok"], false);
}

}  // namespace
}  // namespace kvcompd::client
