// The frontier of a codec's rate-distortion points, and the rate at which it reaches another codec's error.
//
// Called by the codec bench. Pure functions.
//
//   std::vector<RdPoint> frontier = Frontier(points);
//   std::optional<double> bits = RateAt(frontier, anchor_error);
#ifndef KVCOMPD_CLIENT_CTL_FRONTIER_H_
#define KVCOMPD_CLIENT_CTL_FRONTIER_H_

#include <optional>
#include <string>
#include <vector>

namespace kvcompd::client {

struct RdPoint {
  double bits = 0;   // a value, effective
  double error = 0;  // relative L2 of the attention output
  std::string label;
};

// Those that no other point is at least as good as in both, by rising rate, so of falling error. Points
// without error (lossless) are left out.
std::vector<RdPoint> Frontier(std::vector<RdPoint> points);

// The rate at which the frontier has this error: the logarithm of the error is taken as linear in the rate
// between two points. Nothing where the error lies outside the frontier's. frontier: as Frontier gives it.
std::optional<double> RateAt(const std::vector<RdPoint>& frontier, double error);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_FRONTIER_H_
