#include "server/ops/metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/family.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <utility>

namespace kvcompd::server {
namespace {

std::string LabelText(const std::vector<prometheus::ClientMetric::Label>& labels) {
  std::string out;
  for (const auto& label : labels) {
    if (!out.empty()) out += ',';
    out += label.name + "=\"" + label.value + "\"";
  }
  return out;
}

std::string LabelText(const Metrics::Labels& labels) {
  std::vector<prometheus::ClientMetric::Label> list;
  for (const auto& [name, value] : labels) {
    prometheus::ClientMetric::Label label;
    label.name = name;
    label.value = value;
    list.push_back(std::move(label));
  }
  return LabelText(list);
}

}  // namespace

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}

// A second Register with the same name and help gives the family that is there, and Add with the same labels
// the same counter, so several owners may share one family.
prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels);
}

std::vector<Metrics::Sample> Metrics::Collect() const {
  std::vector<Sample> samples;
  for (const prometheus::MetricFamily& family : registry_->Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      const double value =
          family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
      samples.push_back({family.name, LabelText(metric.label), value});
    }
  }
  return samples;
}

double Metrics::Value(const std::string& name, const Labels& labels) const {
  const std::string text = LabelText(labels);
  for (const Sample& sample : Collect()) {
    if (sample.name == name && sample.labels == text) return sample.value;
  }
  return 0;
}

}  // namespace kvcompd::server
