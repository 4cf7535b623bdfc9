#include "client/ctl/sample_stats.h"

#include <algorithm>
#include <cmath>

namespace kvcompd::client {

double Percentile(std::vector<double> samples, double fraction) {
  if (samples.empty()) return 0;
  const double rank = std::ceil(fraction * static_cast<double>(samples.size()));
  const size_t index =
      std::clamp(static_cast<size_t>(std::max(rank, 1.0)) - 1, size_t{0}, samples.size() - 1);
  std::nth_element(samples.begin(), samples.begin() + index, samples.end());
  return samples[index];
}

double Median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const size_t middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

}  // namespace kvcompd::client
