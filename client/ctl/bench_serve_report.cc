#include "client/ctl/bench_serve_report.h"

#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/base/human_size.h"

namespace kvcompd::client {
namespace {

// "AMD EPYC"; "" where the system does not say.
std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with("model name") && colon != std::string::npos) {
      return std::string(absl::StripAsciiWhitespace(absl::string_view(line).substr(colon + 1)));
    }
  }
  return "";
}

Json OrNull(const std::optional<double>& value) { return value.has_value() ? Json(*value) : Json(nullptr); }
std::string OrDash(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.2f", *value) : "-";
}
// For people.
std::string Label(BenchForm form) {
  switch (form) {
    case BenchForm::kRaw:
      return "raw";
    case BenchForm::kReady:
      return "encoded, ready containers";
    case BenchForm::kCodec:
      return "encoded, codec on the client";
    case BenchForm::kDecoded:
      return "decoded, codec on the daemon";
  }
  return "";
}

std::string Micros(double us) { return absl::StrFormat("%.0f", us); }
std::string Gbps(double gbps) { return absl::StrFormat("%.3f", gbps); }

}  // namespace

Json ServeJson(const ServeReport& report) {
  Json out;
  out["runs"] = Json::array();
  for (const ServeRun& run : report.runs) {
    Json row;
    row["plane"] = "grpc";
    row["op"] = std::string(BenchOpName(run.op));
    row["form"] = std::string(BenchWireForm(run.form));
    row["profile"] = BenchFormProfile(run.form);
    row["clients"] = run.clients;
    row["block_bytes"] = report.block_bytes;
    row["logical_gbps"] = run.logical_gbps;
    row["wire_gbps"] = run.wire_gbps;
    row["p50_us"] = run.p50_us;
    row["p99_us"] = run.p99_us;
    row["p999_us"] = run.p999_us;
    row["cpu_s_per_gb"] = OrNull(run.cpu_s_per_gb);
    row["client_codec"] = run.form == BenchForm::kCodec;
    row["latency_samples"] = run.latency_samples;
    row["working_set_bytes"] = run.working_set_bytes;
    row["cache_resident"] = run.cache_resident;
    row["tcp_gbps"] = OrNull(run.tcp_gbps);
    row["ratio_to_tcp"] = OrNull(run.ratio_to_tcp);
    out["runs"].push_back(std::move(row));
  }
  out["baselines"]["tcp_gbps"] = report.tcp_gbps;
  out["baselines"]["memcpy_gbps"] = report.memcpy_gbps;
  out["baselines"]["tcp_cpu_s_per_gb"] = report.tcp_cpu_s_per_gb;
  out["host"]["cpu"] = CpuModel();
  out["host"]["cores"] = std::thread::hardware_concurrency();
  out["host"]["last_level_cache_bytes"] = LastLevelCacheBytes();
  out["data"] = report.data;
  out["blocks"] = report.blocks;
  out["repeats"] = report.repeats;
  out["seconds"] = report.seconds;
  out["blocks_per_call"] = kServeBatch;
  return out;
}

void PrintServeTable(const ServeReport& report, std::ostream& out) {
  TextTable table({"op", "form", ">clients", ">GB/s", ">of TCP", ">wire GB/s", ">p50 us", ">p99 us",
                   ">p99.9 us", ">CPU s/GB", ">working set", ""});
  for (const ServeRun& run : report.runs) {
    table.AddRow({std::string(BenchOpName(run.op)), Label(run.form), absl::StrCat(run.clients),
                  Gbps(run.logical_gbps), OrDash(run.ratio_to_tcp), Gbps(run.wire_gbps), Micros(run.p50_us),
                  Micros(run.p99_us), run.latency_samples < kMinP999Samples ? "-" : Micros(run.p999_us),
                  OrDash(run.cpu_s_per_gb), HumanSize(run.working_set_bytes),
                  run.cache_resident ? "cache-resident" : ""});
  }
  table.Print(out);
  out << "\nof TCP: of as many plain streams as clients; one TCP stream " << Gbps(report.tcp_gbps)
      << " GB/s (CPU " << absl::StrFormat("%.2f", report.tcp_cpu_s_per_gb) << " s/GB), memcpy "
      << Gbps(report.memcpy_gbps) << " GB/s; " << report.blocks << " blocks of "
      << HumanSize(report.block_bytes) << ", " << kServeBatch << " a call; lossy profile "
      << kBenchLossyProfile << "; median of " << report.repeats << "; data: " << report.data << "\n";
}

}  // namespace kvcompd::client
