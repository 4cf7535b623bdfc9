#include "client/ctl/frontier.h"

#include <cmath>

#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

TEST(FrontierTest, KeepsWhatNothingElseBeats) {
  const auto frontier = Frontier({{3, 0.2, "a"},
                                  {2, 0.5, "b"},
                                  {2.5, 0.6, "worse"},
                                  {4, 0.1, "c"},
                                  {4, 0.15, "d"},
                                  {5, 0.1, "late"},
                                  {9, 0, "lossless"}});
  ASSERT_EQ(frontier.size(), 3u);
  EXPECT_EQ(frontier[0].label, "b");
  EXPECT_EQ(frontier[1].label, "a");
  EXPECT_EQ(frontier[2].label, "c");
  EXPECT_TRUE(Frontier({}).empty());
}

TEST(FrontierTest, RatesAreInterpolatedOverTheLogarithmOfTheError) {
  const auto frontier = Frontier({{2, 0.4}, {3, 0.1}, {5, 0.025}});
  EXPECT_DOUBLE_EQ(*RateAt(frontier, 0.1), 3);
  EXPECT_DOUBLE_EQ(*RateAt(frontier, 0.4), 2);
  EXPECT_NEAR(*RateAt(frontier, 0.2), 2.5, 1e-12);   // half way between 0.4 and 0.1
  EXPECT_NEAR(*RateAt(frontier, 0.05), 4.0, 1e-12);  // between 0.1 and 0.025
  EXPECT_FALSE(RateAt(frontier, 0.5).has_value());
  EXPECT_FALSE(RateAt(frontier, 0.02).has_value());
  EXPECT_FALSE(RateAt({}, 0.02).has_value());
}

}  // namespace
}  // namespace kvcompd::client
