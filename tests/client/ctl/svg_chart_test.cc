#include "client/ctl/svg_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace kvcompd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

size_t Count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(SvgChartTest, TicksAreRoundAndCoverTheData) {
  EXPECT_THAT(AxisTicks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  const auto ticks = AxisTicks(1.3, 7.9, 6);
  EXPECT_LE(ticks.front(), 1.3);
  EXPECT_GE(ticks.back(), 7.9);
  const auto log_ticks = LogAxisTicks(0.03, 0.8);
  EXPECT_NEAR(log_ticks.front(), 0.02, 1e-12);
  EXPECT_NEAR(log_ticks.back(), 1.0, 1e-12);
  EXPECT_EQ(log_ticks.size(), 6u);  // 0.02 0.05 0.1 0.2 0.5 1
}

TEST(SvgChartTest, LinesHaveAPathADotAPointAndALegend) {
  LineChart chart{.title = "a < b", .x_label = "x", .y_label = "y", .log_y = true};
  chart.series.push_back({.name = "one", .points = {{1, 0.5}, {2, 0.25}, {3, 0}}});
  chart.series.push_back({.name = "dots", .points = {{1, 0.1}}, .dots_only = true});
  const std::string svg = SvgPage({ChartSvg(chart), ChartSvg(chart), ChartSvg(chart)}, 2);
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_EQ(Count(svg, "<circle"), 3u * 3);  // what is not above 0 has no place on a logarithmic axis
  EXPECT_EQ(Count(svg, "<path"), 3u);
  EXPECT_EQ(Count(svg, ">one<"), 3u);
  EXPECT_EQ(Count(svg, "<g "), Count(svg, "</g>"));
  EXPECT_EQ(Count(svg, "<svg "), 1u);
}

TEST(SvgChartTest, BarsAreAsLongAsTheirValues) {
  BarChart chart{.title = "t", .x_label = "GB/s", .bars = {"decode", "encode"}};
  chart.rows = {{"a", {1, 2}}, {"b", {0, 4}}};
  const std::string svg = ChartSvg(chart).body;
  EXPECT_EQ(Count(svg, "<rect"), 4u + 2);
  EXPECT_THAT(svg, HasSubstr("width='0.0'"));
  EXPECT_THAT(SvgPage({}, 1), HasSubstr("<svg"));
  EXPECT_THAT(ChartSvg(LineChart{}).body, Not(HasSubstr("nan")));
  EXPECT_THAT(ChartSvg(BarChart{}).body, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace kvcompd::client
