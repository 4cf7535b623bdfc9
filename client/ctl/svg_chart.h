// Charts as SVG text: lines over linear or logarithmic axes, and horizontal bars. Light background, no
// scripts, no fonts of its own.
//
// Called by the codec bench. Plain values and pure functions.
//
//   LineChart chart{.title = "docs6m", .x_label = "bits a value", .y_label = "error", .log_y = true};
//   chart.series.push_back({.name = "kvcomp", .points = {{2.0, 0.3}, {4.0, 0.08}}});
//   std::string svg = SvgPage({ChartSvg(chart)}, /*columns=*/1);
#ifndef KVCOMPD_CLIENT_CTL_SVG_CHART_H_
#define KVCOMPD_CLIENT_CTL_SVG_CHART_H_

#include <string>
#include <utility>
#include <vector>

namespace kvcompd::client {

struct LineChart {
  struct Series {
    std::string name;
    std::vector<std::pair<double, double>> points;  // by rising x; joined by a line, each with a dot
    bool dots_only = false;
  };
  std::string title, x_label, y_label;
  bool log_y = false;  // points with y <= 0 are left out
  std::vector<Series> series;
};

struct BarChart {
  struct Row {
    std::string label;
    std::vector<double> values;  // one a name of `bars`
  };
  std::string title, x_label;
  std::vector<std::string> bars;
  std::vector<Row> rows;
};

struct SvgPanel {
  std::string body;  // drawn from (0, 0)
  double width = 0, height = 0;
};

SvgPanel ChartSvg(const LineChart& chart);
SvgPanel ChartSvg(const BarChart& chart);
// A whole document: the panels in rows of so many columns.
std::string SvgPage(const std::vector<SvgPanel>& panels, int columns);

// About `count` round numbers that cover [low, high]; of a logarithmic axis 1, 2 and 5 times powers of ten.
std::vector<double> AxisTicks(double low, double high, int count);
std::vector<double> LogAxisTicks(double low, double high);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SVG_CHART_H_
