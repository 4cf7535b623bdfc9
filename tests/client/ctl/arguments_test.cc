#include "client/ctl/arguments.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

const std::vector<FlagSpec> kFlags = {{"count", "N", "how many", "3"},
                                      {"key", "HEX", "keys"},
                                      {"size", "SIZE", "bytes", "1MiB"},
                                      {"wait", "DURATION", "how long"},
                                      {"json", "", "JSON"}};

absl::StatusOr<Arguments> Parse(std::vector<std::string> words) { return Arguments::Parse(kFlags, words); }

TEST(ArgumentsTest, FlagsAndPositionalsInAnyOrder) {
  const auto args = Parse({"a", "--count=7", "b", "--json", "--key=x=y"});
  ASSERT_TRUE(args.ok()) << args.status();
  EXPECT_EQ(args->positionals(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(args->Text("count"), "7");
  EXPECT_EQ(args->Text("key"), "x=y");  // cut at the first = only
  EXPECT_TRUE(args->Switch("json"));
  EXPECT_TRUE(args->Has("count"));
  EXPECT_FALSE(args->Has("size"));
}

TEST(ArgumentsTest, AValueMayBeTheNextWord) {
  const auto args = Parse({"--count", "7", "a", "--json", "b", "--key", "x=y"});
  ASSERT_TRUE(args.ok()) << args.status();
  EXPECT_EQ(args->Text("count"), "7");
  EXPECT_EQ(args->Text("key"), "x=y");
  EXPECT_TRUE(args->Switch("json"));
  EXPECT_EQ(args->positionals(), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(Parse({"--count", "--json"}).ok());
}

TEST(ArgumentsTest, DefaultsServeWhereNothingIsGiven) {
  const auto args = Parse({});
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(*args->Whole("count", 1, 10), 3u);
  EXPECT_EQ(*args->Size("size", 0, 1 << 30), 1u << 20);
  EXPECT_EQ(*args->DurationMs("wait"), 0u);
  EXPECT_FALSE(args->Switch("json"));
  EXPECT_TRUE(args->List("key").empty());
}

TEST(ArgumentsTest, ListsCutAtCommasAndGatherRepeats) {
  const auto args = Parse({"--key=a,b", "--key=c"});
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(args->List("key"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(args->Text("key"), "c");
}

TEST(ArgumentsTest, TwoDashesEndTheFlags) {
  const auto args = Parse({"--", "--count=7", "-x"});
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(args->positionals(), (std::vector<std::string>{"--count=7", "-x"}));
  EXPECT_FALSE(args->Has("count"));
}

TEST(ArgumentsTest, RefusesWhatItDoesNotKnow) {
  for (const std::string word : {"--nope", "--nope=1", "-j", "--count", "--json=maybe", "--=1"}) {
    const auto args = Parse({word});
    EXPECT_EQ(args.status().code(), absl::StatusCode::kInvalidArgument) << word;
  }
  EXPECT_FALSE(Parse({"--json=false"})->Switch("json"));
}

TEST(ArgumentsTest, NumbersAreCheckedAndNamed) {
  const auto args = Parse({"--count=11", "--size=1.5GiB", "--wait=1500us"});
  ASSERT_TRUE(args.ok());
  const auto count = args->Whole("count", 1, 10);
  EXPECT_EQ(count.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(count.status().message().find("--count"), absl::string_view::npos);
  EXPECT_EQ(*args->Whole("count", 1, 11), 11u);
  EXPECT_FALSE(args->Size("size", 0, 1 << 30).ok());
  EXPECT_EQ(*args->DurationMs("wait"), 1u);
  for (const std::string text : {"--count=-1", "--count=1x", "--count="}) {
    EXPECT_FALSE(Parse({text})->Whole("count", 0, 100).ok()) << text;
  }
  for (const std::string text : {"--wait=10", "--wait=0s", "--wait=-1s", "--wait=1us", "--wait=9999h"}) {
    EXPECT_FALSE(Parse({text})->DurationMs("wait").ok()) << text;
  }
}

}  // namespace
}  // namespace kvcompd::client
