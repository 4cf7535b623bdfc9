// Metrics: the daemon's counters and gauges, kept by prometheus-cpp. One prefix, kvcompd_; names end in
// _total, _bytes or _seconds; every rejection, drop and eviction has a reason label.
//
// Thread-safe. Families are made once (at construction of what bumps them) and handles kept.
//
//   auto* evicted = &metrics->Counter("kvcompd_evictions_total", "Blocks evicted", {{"reason",
//   "watermark"}}); evicted->Increment();
#ifndef KVCOMPD_SERVER_OPS_METRICS_H_
#define KVCOMPD_SERVER_OPS_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace kvcompd::server {

class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;
  Metrics();
  prometheus::Counter& Counter(const std::string& name, const std::string& help, const Labels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  prometheus::Registry& registry() { return *registry_; }

  struct Sample {
    std::string name;
    std::string labels;  // reason="quota"
    double value = 0;
  };
  std::vector<Sample> Collect() const;
  double Value(const std::string& name, const Labels& labels = {}) const;  // 0 where absent; for tests

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_METRICS_H_
