#include "codec/base/human_size.h"

#include <gtest/gtest.h>

namespace kvcompd {
namespace {

TEST(HumanSizeTest, Parses) {
  const std::pair<const char*, uint64_t> kCases[] = {
      {"0", 0},
      {"1048576", 1048576},
      {"17B", 17},
      {"8GiB", uint64_t{8} << 30},
      {"512 MiB", uint64_t{512} << 20},
      {" 30gb ", 30'000'000'000},
      {"1k", 1000},
      {"1KiB", 1024},
      {"1.5 GiB", uint64_t{3} << 29},
      {"0.001k", 1},
      {"2T", 2'000'000'000'000},
      {"8388608TiB", uint64_t{1} << 63},
      {"9223372036854775808", uint64_t{1} << 63},
  };
  for (const auto& [text, bytes] : kCases) {
    const auto parsed = ParseHumanSize(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(HumanSizeTest, Rejects) {
  for (const char* text : {"",
                           " ",
                           "GiB",
                           "-1",
                           "+1",
                           "1.",
                           ".5k",
                           "1.5",
                           "1.5B",
                           "1..5k",
                           "1 2",
                           "1XiB",
                           "1iB",
                           "1KiBx",
                           "1e3",
                           "0x10",
                           "9223372036854775809",
                           "8388609TiB",
                           "99999999999999999999999999999999",
                           "nan",
                           "inf"}) {
    EXPECT_EQ(ParseHumanSize(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(HumanSizeTest, Prints) {
  const std::pair<uint64_t, const char*> kCases[] = {
      {0, "0B"},
      {17, "17B"},
      {1023, "1023B"},
      {1024, "1.0KiB"},
      {65536, "64KiB"},
      {1536, "1.5KiB"},
      {10188, "9.9KiB"},
      {10189, "10KiB"},
      {(1 << 20) - 1, "1.0MiB"},
      {uint64_t{8} << 30, "8.0GiB"},
      {UINT64_MAX, "16EiB"},
  };
  for (const auto& [bytes, text] : kCases) EXPECT_EQ(HumanSize(bytes), text) << bytes;
}

}  // namespace
}  // namespace kvcompd
