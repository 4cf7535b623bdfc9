#include "tests/golden/golden_blocks.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
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
  ASSERT_GE(files.size(), 8u);
  for (const auto& [name, text] : files) {
    std::string status, values, hex;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(": ", 1));
      if (field.first == "status") {
        status = field.second;
      } else if (field.first == "values") {
        values = field.second;
      } else if (!line.empty() && line[0] != '#') {
        hex.append(line.data(), line.size());
      }
    }
    const auto container = BytesOfHex(hex);
    ASSERT_TRUE(container.ok()) << name;
    const auto decoded = DecodeGolden(*container);
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

}  // namespace
}  // namespace kvcompd::codec
