// Medians and percentiles of measured samples, the one way that every report of kvcompctl computes them.
//
// Called by `kvcompctl bench` and `demo`. Free functions over the caller's values; thread-safe.
//
//   double gbps = Median(per_repeat);
//   double p99_us = Percentile(latencies_us, 0.99);
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_STATS_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_STATS_H_

#include <vector>

namespace kvcompd::client {

// Nearest rank: the smallest sample that at least `fraction` of the samples do not exceed. fraction in [0,
// 1]; 0 for no samples.
double Percentile(std::vector<double> samples, double fraction);
// The middle sample, or the mean of the two in the middle; 0 for no samples.
double Median(std::vector<double> samples);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_STATS_H_
