#include "client/ctl/frontier.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kvcompd::client {

std::vector<RdPoint> Frontier(std::vector<RdPoint> points) {
  std::erase_if(points, [](const RdPoint& p) { return !(p.error > 0); });
  std::sort(points.begin(), points.end(), [](const RdPoint& a, const RdPoint& b) {
    return a.bits != b.bits ? a.bits < b.bits : a.error < b.error;
  });
  std::vector<RdPoint> frontier;
  for (RdPoint& point : points) {
    if (frontier.empty() || point.error < frontier.back().error) frontier.push_back(std::move(point));
  }
  return frontier;
}

std::optional<double> RateAt(const std::vector<RdPoint>& frontier, double error) {
  for (size_t i = 0; i < frontier.size(); ++i) {
    if (frontier[i].error == error) return frontier[i].bits;
    if (i == 0 || !(frontier[i].error < error && error < frontier[i - 1].error)) continue;
    const double from = std::log(frontier[i - 1].error), to = std::log(frontier[i].error);
    const double part = (std::log(error) - from) / (to - from);
    return frontier[i - 1].bits + part * (frontier[i].bits - frontier[i - 1].bits);
  }
  return std::nullopt;
}

}  // namespace kvcompd::client
