#include "server/ops/option_value.h"

#include <gtest/gtest.h>

#include "codec/base/human_size.h"

namespace kvcompd::server {
namespace {

TEST(OptionValue, Durations) {
  EXPECT_EQ(*ParseDurationMs("500ms"), 500u);
  EXPECT_EQ(*ParseDurationMs("10s"), 10'000u);
  EXPECT_EQ(*ParseDurationMs("1h30m"), 5'400'000u);
  EXPECT_EQ(*ParseDurationMs("0.25s"), 250u);
  EXPECT_EQ(*ParseDurationMs("0"), 0u);
  EXPECT_EQ(*ParseDurationMs("4294967295ms"), 4294967295u);
  for (const char* bad :
       {"", "10", "s", "-1s", "10 s", "inf", "1us", "0.0001s", "4294967296ms", "10sec", "1s x"}) {
    EXPECT_FALSE(ParseDurationMs(bad).ok()) << bad;
  }
}

TEST(OptionValue, DurationTextParsesBack) {
  EXPECT_EQ(DurationText(0), "0s");
  EXPECT_EQ(DurationText(1500), "1500ms");
  EXPECT_EQ(DurationText(90'000), "90s");
  EXPECT_EQ(DurationText(86'400'000), "24h");
  for (uint32_t ms : {0u, 1u, 999u, 1000u, 60'000u, 3'600'000u, 4294967295u}) {
    EXPECT_EQ(*ParseDurationMs(DurationText(ms)), ms);
  }
}

TEST(OptionValue, SizeTextParsesBackExactly) {
  EXPECT_EQ(SizeText(0), "0");
  EXPECT_EQ(SizeText(1000), "1000");
  EXPECT_EQ(SizeText(uint64_t{3} << 29), "1536MiB");
  EXPECT_EQ(SizeText(uint64_t{8} << 30), "8GiB");
  for (uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{1023}, uint64_t{1} << 20, (uint64_t{5} << 40) + 1,
                         uint64_t{64} << 40}) {
    EXPECT_EQ(*ParseHumanSize(SizeText(bytes)), bytes);
  }
}

TEST(OptionValue, BooleansCountsFractions) {
  for (const char* yes : {"true", "1", "yes", "on", "ON"}) EXPECT_TRUE(*ParseBool(yes)) << yes;
  for (const char* no : {"false", "0", "no", "off"}) EXPECT_FALSE(*ParseBool(no)) << no;
  for (const char* bad : {"", "maybe", "2"}) EXPECT_FALSE(ParseBool(bad).ok()) << bad;
  EXPECT_EQ(*ParseCount("4096"), 4096u);
  for (const char* bad : {"", "-1", "+1", "1.5", "4k", " 1", "99999999999999999999"}) {
    EXPECT_FALSE(ParseCount(bad).ok()) << bad;
  }
  EXPECT_EQ(*ParseFraction("0.95"), 0.95);
  for (const char* bad : {"", "nan", "-0.1", "1.01", "95%"}) EXPECT_FALSE(ParseFraction(bad).ok()) << bad;
  for (double value : {0.0, 0.1, 0.95, 1.0 / 3, 1.0}) EXPECT_EQ(*ParseFraction(FractionText(value)), value);
  EXPECT_EQ(FractionText(0.95), "0.95");
}

}  // namespace
}  // namespace kvcompd::server
