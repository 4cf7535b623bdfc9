#include "server/ops/logging.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace kvcompd::server {
namespace {

// What InitLogging with these options lets through.
class LoggingTest : public testing::Test {
 protected:
  ~LoggingTest() override { InitLogging({}); }
  void Init(LogLevel level, LogFormat format) {
    InitLogging({.level = level, .format = format}, std::make_shared<spdlog::sinks::ostream_sink_mt>(out_));
  }
  std::ostringstream out_;
};

TEST_F(LoggingTest, TextLineHasTimeLevelMessage) {
  Init(LogLevel::kInfo, LogFormat::kText);
  spdlog::warn("evicted blocks={}", 3);
  const std::string line = out_.str();
  ASSERT_EQ(line.size(), std::string("2026-01-02T03:04:05.678901Z warn evicted blocks=3\n").size()) << line;
  EXPECT_EQ(line.substr(10, 1), "T");
  EXPECT_EQ(line.substr(26), "Z warn evicted blocks=3\n");
}

TEST_F(LoggingTest, LevelFilters) {
  Init(LogLevel::kWarn, LogFormat::kText);
  spdlog::debug("a");
  spdlog::info("b");
  EXPECT_EQ(out_.str(), "");
  spdlog::error("c");
  EXPECT_NE(out_.str().find(" error c\n"), std::string::npos);
}

TEST_F(LoggingTest, AMessageCannotForgeALine) {
  Init(LogLevel::kInfo, LogFormat::kText);
  spdlog::info("tenant={}", "x\n2026-01-02T03:04:05Z info forged\x1b[2J");
  const std::string line = out_.str();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
  EXPECT_NE(line.find("x\\n2026"), std::string::npos);
}

TEST_F(LoggingTest, JsonLinesParseWhateverTheMessage) {
  Init(LogLevel::kDebug, LogFormat::kJson);
  const std::string message = "quote \" backslash \\ newline \n tab \t";
  spdlog::debug(message);
  spdlog::info("not utf-8: \xff\xfe");
  std::istringstream lines(out_.str());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const auto first = nlohmann::json::parse(line);
  EXPECT_EQ(first["message"], message);
  EXPECT_EQ(first["level"], "debug");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(LogValue, QuotesWhatWouldBreakAPair) {
  EXPECT_EQ(LogValue("plain-1.0/x"), "plain-1.0/x");
  EXPECT_EQ(LogValue(""), "\"\"");
  EXPECT_EQ(LogValue("two words"), "\"two words\"");
  EXPECT_EQ(LogValue("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(LogValue(std::string_view("a\nb\0c", 5)), "\"a\\nb\\x00c\"");
}

}  // namespace
}  // namespace kvcompd::server
