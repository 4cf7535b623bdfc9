#include "client/ctl/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace kvcompd::client {
namespace {

// Colours that stay apart for the colour-blind (Okabe and Ito), without their yellow, which is weak on white.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9",
                                    "#e69f00", "#444444", "#7f3c8d", "#80ba5a", "#a5aa99"};
constexpr double kWidth = 620, kHeight = 400;
constexpr double kLeft = 70, kRight = 20, kTop = 40, kBottom = 55;
constexpr double kLegendRow = 16;

const char* ColourOf(size_t i) { return kColours[i % std::size(kColours)]; }

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string Text(double x, double y, const std::string& text, const char* anchor, int size,
                 const char* more = "") {
  return absl::StrFormat("<text x='%.1f' y='%.1f' text-anchor='%s' font-size='%d'%s>%s</text>\n", x, y,
                         anchor, size, more, Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, const char* colour) {
  return absl::StrFormat("<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s'/>\n", x1, y1, x2, y2,
                         colour);
}

std::string NumberLabel(double value) { return absl::StrFormat("%.4g", value); }

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// One axis: values to places.
class Axis {
 public:
  Axis(const Extent& data, bool logarithmic, bool from_zero, double begin, double end)
      : logarithmic_(logarithmic), begin_(begin), end_(end) {
    Extent extent = data;
    if (!(extent.low <= extent.high)) extent = {logarithmic ? 0.1 : 0.0, 1.0};
    if (from_zero) extent.low = std::min(extent.low, 0.0);
    if (extent.low == extent.high) extent.high = extent.low + (extent.low == 0 ? 1 : std::fabs(extent.low));
    ticks_ = logarithmic ? LogAxisTicks(extent.low, extent.high) : AxisTicks(extent.low, extent.high, 6);
    low_ = std::min(extent.low, ticks_.front());
    high_ = std::max(extent.high, ticks_.back());
  }
  double At(double value) const {
    const double part =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return begin_ + part * (end_ - begin_);
  }
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  const bool logarithmic_;
  const double begin_, end_;
  double low_ = 0, high_ = 1;
  std::vector<double> ticks_;
};

}  // namespace

std::vector<double> AxisTicks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const auto first = static_cast<int64_t>(std::floor(low / step)),
             last = static_cast<int64_t>(std::ceil(high / step));
  for (int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::vector<double> LogAxisTicks(double low, double high) {
  std::vector<double> ticks;
  double below = 0;
  for (int power = static_cast<int>(std::floor(std::log10(low))) - 1; power < 300; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, power);
      if (tick <= low) {
        below = tick;
        continue;
      }
      if (ticks.empty()) ticks.push_back(below);
      ticks.push_back(tick);
      if (tick >= high) return ticks;
    }
  }
  return ticks;
}

SvgPanel ChartSvg(const LineChart& chart) {
  Extent x_extent, y_extent;
  for (const LineChart::Series& series : chart.series) {
    for (const auto& [x, y] : series.points) {
      if (chart.log_y && y <= 0) continue;
      x_extent.Add(x);
      y_extent.Add(y);
    }
  }
  const double height = kHeight + kLegendRow * static_cast<double>((chart.series.size() + 1) / 2);
  const Axis x_axis(x_extent, false, false, kLeft, kWidth - kRight);
  const Axis y_axis(y_extent, chart.log_y, !chart.log_y, kHeight - kBottom, kTop);
  std::string out = Text(kWidth / 2, 22, chart.title, "middle", 15, " font-weight='bold'");
  for (const double tick : y_axis.ticks()) {
    out += Line(kLeft, y_axis.At(tick), kWidth - kRight, y_axis.At(tick), "#dddddd");
    out += Text(kLeft - 6, y_axis.At(tick) + 4, NumberLabel(tick), "end", 11);
  }
  for (const double tick : x_axis.ticks()) {
    out += Line(x_axis.At(tick), kTop, x_axis.At(tick), kHeight - kBottom, "#eeeeee");
    out += Text(x_axis.At(tick), kHeight - kBottom + 16, NumberLabel(tick), "middle", 11);
  }
  out += Text((kLeft + kWidth - kRight) / 2, kHeight - 18, chart.x_label, "middle", 12);
  out += absl::StrFormat(
      "<text transform='translate(16 %.1f) rotate(-90)' text-anchor='middle' font-size='12'>%s"
      "</text>\n",
      (kTop + kHeight - kBottom) / 2, Escaped(chart.y_label));
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const LineChart::Series& series = chart.series[i];
    std::string path, dots;
    for (const auto& [x, y] : series.points) {
      if (chart.log_y && y <= 0) continue;
      absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : " L", x_axis.At(x), y_axis.At(y));
      absl::StrAppendFormat(&dots, "<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>\n", x_axis.At(x),
                            y_axis.At(y), ColourOf(i));
    }
    if (!series.dots_only) {
      absl::StrAppendFormat(&out, "<path d='%s' fill='none' stroke='%s' stroke-width='2'/>\n", path,
                            ColourOf(i));
    }
    out += dots;
    const double legend_x = kLeft + (i % 2 == 0 ? 0 : kWidth / 2 - 20);
    const double legend_y = kHeight + kLegendRow * static_cast<double>(i / 2);
    absl::StrAppendFormat(&out, "<rect x='%.1f' y='%.1f' width='14' height='4' fill='%s'/>\n", legend_x,
                          legend_y - 5, ColourOf(i));
    out += Text(legend_x + 20, legend_y, series.name, "start", 12);
  }
  return {.body = out, .width = kWidth, .height = height + 10};
}

SvgPanel ChartSvg(const BarChart& chart) {
  constexpr double kBar = 9, kGap = 7, kLabels = 290;
  const double row_height = kBar * static_cast<double>(chart.bars.size()) + kGap;
  const double bottom = kTop + row_height * static_cast<double>(chart.rows.size());
  const double height = bottom + kBottom + kLegendRow * static_cast<double>((chart.bars.size() + 1) / 2);
  Extent extent;
  for (const BarChart::Row& row : chart.rows) {
    for (const double value : row.values) extent.Add(value);
  }
  constexpr double kBarsWidth = kWidth + 260;
  const Axis axis(extent, false, true, kLabels, kBarsWidth - kRight - 30);
  std::string out = Text(kBarsWidth / 2, 22, chart.title, "middle", 15, " font-weight='bold'");
  for (const double tick : axis.ticks()) {
    out += Line(axis.At(tick), kTop, axis.At(tick), bottom, "#dddddd");
    out += Text(axis.At(tick), bottom + 16, NumberLabel(tick), "middle", 11);
  }
  out += Text((kLabels + kBarsWidth) / 2, bottom + 34, chart.x_label, "middle", 12);
  for (size_t r = 0; r < chart.rows.size(); ++r) {
    const double top = kTop + row_height * static_cast<double>(r) + kGap / 2;
    out += Text(kLabels - 8, top + (row_height - kGap) / 2 + 4, chart.rows[r].label, "end", 11);
    for (size_t b = 0; b < chart.rows[r].values.size(); ++b) {
      const double value = chart.rows[r].values[b], y = top + kBar * static_cast<double>(b);
      absl::StrAppendFormat(&out, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'/>\n",
                            axis.At(0), y, axis.At(value) - axis.At(0), kBar - 1, ColourOf(b));
      out += Text(axis.At(value) + 4, y + kBar - 1, NumberLabel(std::round(value * 100) / 100), "start", 9);
    }
  }
  for (size_t b = 0; b < chart.bars.size(); ++b) {
    const double x = kLabels + (b % 2 == 0 ? 0 : 280),
                 y = bottom + kBottom + kLegendRow * static_cast<double>(b / 2);
    absl::StrAppendFormat(&out, "<rect x='%.1f' y='%.1f' width='14' height='8' fill='%s'/>\n", x, y - 8,
                          ColourOf(b));
    out += Text(x + 20, y, chart.bars[b], "start", 12);
  }
  return {.body = out, .width = kBarsWidth, .height = height + 10};
}

std::string SvgPage(const std::vector<SvgPanel>& panels, int columns) {
  constexpr double kMargin = 20;
  double width = 0, y = kMargin, row_height = 0, x = kMargin;
  std::string body;
  for (size_t i = 0; i < panels.size(); ++i) {
    if (i > 0 && i % static_cast<size_t>(columns) == 0) {
      y += row_height + kMargin;
      row_height = 0;
      x = kMargin;
    }
    absl::StrAppendFormat(&body, "<g transform='translate(%.1f %.1f)'>\n%s</g>\n", x, y, panels[i].body);
    x += panels[i].width + kMargin;
    width = std::max(width, x);
    row_height = std::max(row_height, panels[i].height);
  }
  const double height = y + row_height + kMargin;
  return absl::StrFormat(
      "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' viewBox='0 0 %.0f %.0f' "
      "font-family='Helvetica, Arial, sans-serif' fill='#222222'>\n"
      "<rect width='100%%' height='100%%' fill='#ffffff'/>\n%s</svg>\n",
      width, height, width, height, body);
}

}  // namespace kvcompd::client
