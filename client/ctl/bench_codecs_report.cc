#include "client/ctl/bench_codecs_report.h"

#include <algorithm>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/bench_baseline.h"
#include "client/ctl/svg_chart.h"
#include "codec/simd/targets.h"

namespace kvcompd::client {
namespace {

// One line of the results.
struct ResultRow {
  const DatasetResult* set = nullptr;
  const Trial* trial = nullptr;
  std::string tensor;
  const SpeedRow* speed = nullptr;

  const TrialPart& part() const { return tensor == "K" ? trial->k : tensor == "V" ? trial->v : trial->kv; }
  double attention() const {
    const AttentionErrors& errors = trial->attention;
    return (tensor == "K" ? errors.k_only : tensor == "V" ? errors.v_only : errors.kv).RelativeL2();
  }
};

std::vector<ResultRow> RowsOf(const CodecBenchReport& report) {
  std::vector<ResultRow> rows;
  for (const DatasetResult& set : report.datasets) {
    for (const Trial& trial : set.trials) {
      for (const char* tensor : {"K", "V"}) rows.push_back({&set, &trial, tensor});
      bool measured = false;
      for (const SpeedRow& speed : report.speed.rows) {
        if (speed.baseline || set.dataset->name != report.speed.dataset ||
            set.dataset->dtype != report.speed.dtype || speed.name != trial.profile.Text()) {
          continue;
        }
        rows.push_back({&set, &trial, "KV", &speed});
        measured = true;
      }
      if (!measured) rows.push_back({&set, &trial, "KV"});
    }
  }
  return rows;
}

const char* ResidentText(const SpeedRow& speed) { return speed.memory_resident ? "memory" : "cache"; }

Json HostJson() {
  Json host;
  host["cores"] = std::thread::hardware_concurrency();
  host["last_level_cache_bytes"] = LastLevelCacheBytes();
  host["simd"] = std::string(codec::SimdTargetName(codec::ActiveSimdTarget()));
  return host;
}

Json RowJson(const ResultRow& row) {
  Json json;
  json["model"] = row.set->dataset->name;
  json["synthetic"] = row.set->dataset->synthetic;
  json["profile"] = row.trial->profile.Text();
  json["codec"] = std::string(CodecName(row.trial->profile.codec));
  json["dtype"] = std::string(DTypeName(row.set->dataset->dtype));
  json["tensor"] = row.tensor;
  json["ratio_codec"] = row.part().ratio_codec();
  json["ratio_effective"] = row.part().ratio_effective();
  json["bits_per_value"] = row.part().bits_per_value();
  json["rel_l2"] = row.part().squared.RelativeL2();
  json["max_error"] = row.part().max_error;
  json["attn_rel_l2"] = row.attention();
  json["encode_gbps"] = row.speed == nullptr ? Json(nullptr) : Json(row.speed->encode_gbps);
  json["decode_gbps"] = row.speed == nullptr ? Json(nullptr) : Json(row.speed->decode_gbps);
  json["threads"] = row.speed == nullptr ? Json(nullptr) : Json(row.speed->threads);
  json["resident"] = row.speed == nullptr ? Json(nullptr) : Json(ResidentText(*row.speed));
  if (row.speed != nullptr) {
    json["encode_over_zstd"] = row.speed->encode_over_zstd;
    json["decode_over_zstd"] = row.speed->decode_over_zstd;
    json["decode_over_memcpy"] = row.speed->decode_over_memcpy;
  }
  return json;
}

// Frontiers of every curve, and intq as dots.
LineChart RateChart(const DatasetResult& set) {
  LineChart chart{.title = absl::StrCat(set.dataset->name, " ", ToAbsl(DTypeName(set.dataset->dtype)),
                                        ": rate against attention error"),
                  .x_label = "effective bits a value, K and V",
                  .y_label = "relative L2 error of the attention output",
                  .log_y = true};
  std::map<std::string, std::vector<RdPoint>> curves;
  for (const Trial& trial : set.trials) {
    const std::string curve = CurveOf(trial.profile);
    if (!trial.profile.lossless() && curves.count(curve) == 0)
      curves[curve] = PointsOf(set.trials, curve, "KV");
  }
  for (auto& [name, points] : curves) {
    LineChart::Series series{.name = name, .dots_only = name == "intq"};
    if (!series.dots_only) points = Frontier(std::move(points));
    for (const RdPoint& point : points) series.points.emplace_back(point.bits, point.error);
    chart.series.push_back(std::move(series));
  }
  return chart;
}

// Of each curve the profile whose error is nearest to that of intq at 4 bits, and the lossless ones.
LineChart LayerChart(const DatasetResult& set) {
  LineChart chart{
      .title = absl::StrCat(set.dataset->name, ": ratio per layer, at about the error of intq 4 bit"),
      .x_label = "layer",
      .y_label = "ratio, segments of K and V"};
  double target = 0;
  for (const Trial& trial : set.trials) {
    if (trial.profile.Text() == "intq:bits=4,group=32") target = trial.attention.kv.RelativeL2();
  }
  std::map<std::string, const Trial*> chosen;
  const auto distance = [&](const Trial& trial) {
    const double error = trial.attention.kv.RelativeL2();
    return error > target ? error - target : target - error;
  };
  for (const Trial& trial : set.trials) {
    const bool lossless = trial.profile.lossless();
    if (trial.profile.codec == CodecId::kRaw) continue;
    const Trial*& best = chosen[lossless ? trial.profile.Text() : CurveOf(trial.profile)];
    if (best == nullptr || (!lossless && distance(trial) < distance(*best))) best = &trial;
  }
  for (const auto& [name, trial] : chosen) {
    LineChart::Series series{.name = trial->profile.Text()};
    for (size_t layer = 0; layer < trial->layer_ratios.size(); ++layer) {
      series.points.emplace_back(static_cast<double>(layer), trial->layer_ratios[layer]);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

BarChart SpeedChart(const CodecBenchReport& report, uint32_t threads, bool memory) {
  BarChart chart{
      .title = absl::StrCat(report.speed.dataset, ": speed, ", threads, threads == 1 ? " thread" : " threads",
                            memory ? ", memory-resident" : ", cache-resident"),
      .x_label = "GB/s of uncompressed bytes, checksums included (median)",
      .bars = {"decode", "encode"}};
  for (const SpeedRow& row : report.speed.rows) {
    if (row.threads != threads || row.memory_resident != memory) continue;
    if (row.name == "memcpy" && !memory) continue;  // would leave no room for the others
    chart.rows.push_back({row.name, {row.decode_gbps, row.encode_gbps}});
  }
  return chart;
}

std::string Optional(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.4f", *value) : "";
}

}  // namespace

Json CodecBenchJson(const CodecBenchReport& report) {
  Json json;
  json["data"] = Json::array();
  for (const DatasetResult& set : report.datasets) {
    Json data;
    data["model"] = set.dataset->name;
    data["dtype"] = std::string(DTypeName(set.dataset->dtype));
    data["synthetic"] = set.dataset->synthetic;
    data["samples"] = set.dataset->samples.size();
    data["raw_bytes"] = set.dataset->raw_bytes();
    json["data"].push_back(std::move(data));
  }
  json["host"] = HostJson();
  json["results"] = Json::array();
  for (const ResultRow& row : RowsOf(report)) json["results"].push_back(RowJson(row));
  json["baselines"] = Json::array();
  for (const SpeedRow& row : report.speed.rows) {
    if (!row.baseline) continue;
    json["baselines"].push_back({{"name", row.name},
                                 {"ratio", row.ratio},
                                 {"encode_gbps", row.encode_gbps},
                                 {"decode_gbps", row.decode_gbps},
                                 {"threads", row.threads},
                                 {"resident", ResidentText(row)}});
  }
  json["anchors"] = Json::array();
  for (const DatasetResult& set : report.datasets) {
    for (const AnchorGain& gain : set.gains) {
      json["anchors"].push_back({{"model", set.dataset->name},
                                 {"dtype", std::string(DTypeName(set.dataset->dtype))},
                                 {"anchor", gain.anchor},
                                 {"tensor", gain.tensor},
                                 {"curve", gain.curve},
                                 {"anchor_bits", gain.anchor_bits},
                                 {"attn_rel_l2", gain.anchor_error},
                                 {"bits", gain.bits.has_value() ? Json(*gain.bits) : Json(nullptr)},
                                 {"gain", gain.bits.has_value() ? Json(gain.gain()) : Json(nullptr)}});
    }
  }
  json["left_out"] = report.left_out;
  return json;
}

std::string CodecBenchCsv(const CodecBenchReport& report) {
  std::string out =
      "model,synthetic,dtype,codec,profile,tensor,ratio_codec,ratio_effective,bits_per_value,rel_l2,max_"
      "error,"
      "attn_rel_l2,encode_gbps,decode_gbps,threads,resident,encode_over_zstd,decode_over_zstd,decode_over_"
      "memcpy\n";
  const auto add_speed = [&out](const SpeedRow& speed) {
    absl::StrAppendFormat(&out, ",%.3f,%.3f,%d,%s,%.3f,%.3f,%.3f\n", speed.encode_gbps, speed.decode_gbps,
                          speed.threads, ResidentText(speed), speed.encode_over_zstd, speed.decode_over_zstd,
                          speed.decode_over_memcpy);
  };
  for (const ResultRow& row : RowsOf(report)) {
    absl::StrAppendFormat(&out, "%s,%d,%s,%s,\"%s\",%s,%.4f,%.4f,%.4f,%.6g,%.6g,%.6g", row.set->dataset->name,
                          row.set->dataset->synthetic ? 1 : 0, ToAbsl(DTypeName(row.set->dataset->dtype)),
                          ToAbsl(CodecName(row.trial->profile.codec)), row.trial->profile.Text(), row.tensor,
                          row.part().ratio_codec(), row.part().ratio_effective(), row.part().bits_per_value(),
                          row.part().squared.RelativeL2(), row.part().max_error, row.attention());
    if (row.speed != nullptr) {
      add_speed(*row.speed);
    } else {
      out += ",,,,,,,\n";
    }
  }
  for (const SpeedRow& row : report.speed.rows) {
    if (!row.baseline) continue;
    absl::StrAppendFormat(&out, "%s,,,baseline,%s,KV,%.4f,%.4f,,,,", report.speed.dataset, row.name,
                          row.ratio, row.ratio);
    add_speed(row);
  }
  return out;
}

std::string CodecBenchAnchorsCsv(const CodecBenchReport& report) {
  std::string out = "model,dtype,anchor,tensor,attn_rel_l2,anchor_bits,curve,bits,gain\n";
  for (const DatasetResult& set : report.datasets) {
    for (const AnchorGain& gain : set.gains) {
      absl::StrAppendFormat(&out, "%s,%s,\"%s\",%s,%.6g,%.4f,%s,%s,%s\n", set.dataset->name,
                            ToAbsl(DTypeName(set.dataset->dtype)), gain.anchor, gain.tensor,
                            gain.anchor_error, gain.anchor_bits, gain.curve, Optional(gain.bits),
                            gain.bits.has_value() ? absl::StrFormat("%.4f", gain.gain()) : "");
    }
  }
  return out;
}

void PrintCodecBenchTable(const CodecBenchReport& report, std::ostream& out) {
  TextTable table(
      {"data", "profile", ">ratio", ">effective", ">bits/value", ">K rel L2", ">V rel L2", ">attention"});
  for (const DatasetResult& set : report.datasets) {
    for (const Trial& trial : set.trials) {
      table.AddRow({absl::StrCat(set.dataset->name, " ", ToAbsl(DTypeName(set.dataset->dtype))),
                    trial.profile.Text(), absl::StrFormat("%.3f", trial.kv.ratio_codec()),
                    absl::StrFormat("%.3f", trial.kv.ratio_effective()),
                    absl::StrFormat("%.3f", trial.kv.bits_per_value()),
                    absl::StrFormat("%.4f", trial.k.squared.RelativeL2()),
                    absl::StrFormat("%.4f", trial.v.squared.RelativeL2()),
                    absl::StrFormat("%.5f", trial.attention.kv.RelativeL2())});
    }
  }
  table.Print(out);
  TextTable gains({"data", "anchor", "decoded", ">attention", ">bits/value", "codec", ">at", ">gain"});
  for (const DatasetResult& set : report.datasets) {
    for (const AnchorGain& gain : set.gains) {
      gains.AddRow({absl::StrCat(set.dataset->name, " ", ToAbsl(DTypeName(set.dataset->dtype))), gain.anchor,
                    gain.tensor, absl::StrFormat("%.5f", gain.anchor_error),
                    absl::StrFormat("%.3f", gain.anchor_bits), gain.curve,
                    gain.bits.has_value() ? absl::StrFormat("%.3f", *gain.bits) : "-",
                    gain.bits.has_value() ? absl::StrFormat("%.3fx", gain.gain()) : "-"});
    }
  }
  if (gains.rows() > 0) {
    out << "\n";
    gains.Print(out);
  }
  if (!report.speed.rows.empty()) {
    out << "\nspeed on " << report.speed.dataset << ", GB/s of uncompressed bytes, checksums included\n";
    TextTable speed({"profile", ">threads", "resident", ">ratio", ">encode", ">decode", ">enc/zstd",
                     ">dec/zstd", ">dec/memcpy"});
    for (const SpeedRow& row : report.speed.rows) {
      speed.AddRow({row.name, absl::StrCat(row.threads), ResidentText(row),
                    absl::StrFormat("%.3f", row.ratio), absl::StrFormat("%.2f", row.encode_gbps),
                    absl::StrFormat("%.2f", row.decode_gbps), absl::StrFormat("%.2f", row.encode_over_zstd),
                    absl::StrFormat("%.2f", row.decode_over_zstd),
                    absl::StrFormat("%.2f", row.decode_over_memcpy)});
    }
    speed.Print(out);
  }
  for (const std::string& profile : report.left_out)
    out << "left out, its codec is not in this build: " << profile << "\n";
}

std::string CodecBenchSvg(const CodecBenchReport& report) {
  std::vector<SvgPanel> panels;
  for (const DatasetResult& set : report.datasets) {
    panels.push_back(ChartSvg(RateChart(set)));
    panels.push_back(ChartSvg(LayerChart(set)));
  }
  std::vector<std::pair<uint32_t, bool>> settings;
  for (const SpeedRow& row : report.speed.rows) {
    const std::pair setting{row.threads, row.memory_resident};
    if (std::find(settings.begin(), settings.end(), setting) == settings.end()) settings.push_back(setting);
  }
  for (const auto& [threads, memory] : settings)
    panels.push_back(ChartSvg(SpeedChart(report, threads, memory)));
  return SvgPage(panels, 2);
}

}  // namespace kvcompd::client
