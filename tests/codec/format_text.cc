#include "tests/codec/format_text.h"

#include <fstream>
#include <sstream>

#include "gtest/gtest.h"

namespace kvcompd::testing {

std::string FormatText() {
  std::ifstream file("codec/FORMAT.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> FormatLines(const std::string& comment) {
  const std::string text = FormatText();
  const size_t at = text.find("<!-- " + comment);
  EXPECT_NE(at, std::string::npos) << comment;
  if (at == std::string::npos) return {};
  const size_t begin = text.find("```\n", at) + 4;
  std::istringstream block(text.substr(begin, text.find("```", begin) - begin));
  std::vector<std::string> lines;
  for (std::string line; std::getline(block, line);) {
    if (!line.empty()) lines.push_back(line.substr(0, line.find('#')));
  }
  return lines;
}

std::string FormatHex(const std::string& comment) {
  std::string hex;
  for (const std::string& line : FormatLines(comment)) hex += line;
  std::erase(hex, ' ');
  return hex;
}

}  // namespace kvcompd::testing
