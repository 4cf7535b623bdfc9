#include "tests/golden/golden_blocks.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/str_split.h"
#include "codec/base/types.h"

namespace kvcompd::codec {
namespace {

std::map<std::string, std::string> GoldenFiles() {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden")) {
    if (entry.path().extension() != ".hex") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    files[entry.path().filename()] = text.str();
  }
  return files;
}

// Every file, also those of older versions, reads as it says.
TEST(GoldenBlocksTest, ReadForEver) {
  const auto files = GoldenFiles();
  ASSERT_GE(files.size(), 27u);
  for (const auto& [name, text] : files) {
    std::string status, values, set_hex, hex;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(": ", 1));
      if (field.first == "status") {
        status = field.second;
      } else if (field.first == "values") {
        values = field.second;
      } else if (field.first == "set") {
        set_hex += field.second;
      } else if (!line.empty() && line[0] != '#') {
        hex.append(line.data(), line.size());
      }
    }
    const auto container = BytesOfHex(hex);
    ASSERT_TRUE(container.ok()) << name;
    const auto set = BytesOfHex(set_hex);
    ASSERT_TRUE(set.ok()) << name;
    const auto decoded = DecodeGolden(*container, *set);
    EXPECT_EQ(absl::StatusCodeToString(decoded.status().code()), status) << name << ": " << decoded.status();
    EXPECT_EQ(decoded.ok() ? *decoded : "", values) << name;
  }
}

// The encoder's bytes are part of the format: a change here needs a new version, or it is a bug.
TEST(GoldenBlocksTest, EncoderStillWritesThem) {
  const auto files = GoldenFiles();
  for (const GoldenBlock& block : CurrentGoldenBlocks()) {
    ASSERT_TRUE(files.contains(block.file)) << block.file;
    EXPECT_TRUE(files.at(block.file) == GoldenText(block)) << block.file;
  }
}

TEST(GoldenBlocksTest, ShowWhatTheyAreThereFor) {
  std::set<std::string> all;
  for (const GoldenBlock& block : CurrentGoldenBlocks()) {
    const auto found = CoverageOf(block.container);
    for (const std::string& what : block.covers)
      EXPECT_TRUE(found.contains(what)) << block.file << ": " << what;
    all.insert(block.covers.begin(), block.covers.end());
  }
  for (const char* unit : {"block", "channel", "token"}) {
    for (const char* mode : {"huffman", "packed", "packed wide"}) {
      EXPECT_TRUE(all.contains(std::string(unit) + " " + mode)) << unit << " " << mode;
    }
  }
}

// A change of ratio is a change of this table.
TEST(GoldenBlocksTest, SizesAreThoseOfTheTable) {
  std::ifstream file("tests/golden/sizes.txt", std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), GoldenSizes(CurrentGoldenBlocks()));
}

}  // namespace
}  // namespace kvcompd::codec
