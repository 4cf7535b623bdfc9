// The service's benchmark against the real daemon, cut short: what it measures does not matter here, that it
// measures and reports all of it does.
#include "client/ctl/bench_serve.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "client/ctl/bench_serve_report.h"
#include "client/ctl/local_daemon.h"

namespace kvcompd::client {
namespace {

ServeBenchOptions ShortOptions(const LocalDaemon& daemon) {
  ServeBenchOptions options;
  options.address = daemon.address();
  options.daemon_pid = daemon.pid();
  options.clients = {1, 2};
  options.block_bytes = kBenchLayerBytes;
  options.seconds = 0.05;
  options.latency_calls = 2;
  return options;
}

TEST(BenchServe, MeasuresEveryRunAndReportsIt) {
  auto tcp = TcpBaseline::Start();
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  auto daemon = LocalDaemon::Start({.binary = "server/kvcompd", .extra_args = {"--host-memory=512MiB"}});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const auto report = RunServeBench(ShortOptions(**daemon), **tcp);
  ASSERT_TRUE(report.ok()) << report.status() << "\n" << (*daemon)->LogTail();
  ASSERT_EQ(report->runs.size(), 12u);
  EXPECT_GT(report->tcp_gbps, 0);
  EXPECT_GT(report->memcpy_gbps, 0);
  std::set<std::string> runs;
  for (const ServeRun& run : report->runs) {
    const std::string name = std::string(BenchOpName(run.op)) + " " + std::string(BenchFormName(run.form)) +
                             " " + std::to_string(run.clients);
    EXPECT_TRUE(runs.insert(name).second) << name;
    EXPECT_GT(run.logical_gbps, 0) << name;
    EXPECT_GT(run.p50_us, 0) << name;
    EXPECT_LE(run.p50_us, run.p99_us) << name;
    EXPECT_LE(run.p99_us, run.p999_us) << name;
    EXPECT_TRUE(run.cpu_s_per_gb.has_value()) << name;
    if (run.form == BenchForm::kEncoded) {
      EXPECT_LT(run.wire_gbps, run.logical_gbps) << name;
    } else {
      EXPECT_DOUBLE_EQ(run.wire_gbps, run.logical_gbps) << name;
    }
  }
  const Json json = ServeJson(*report);
  ASSERT_EQ(json["runs"].size(), 12u);
  for (const char* field : {"plane", "op", "form", "profile", "clients", "block_bytes", "logical_gbps",
                            "wire_gbps", "p50_us", "p99_us", "p999_us", "cpu_s_per_gb"}) {
    EXPECT_TRUE(json["runs"][0].contains(field)) << field;
  }
  EXPECT_TRUE(json["baselines"]["tcp_gbps"].is_number());
  EXPECT_TRUE(json["baselines"]["memcpy_gbps"].is_number());
  std::ostringstream table;
  PrintServeTable(*report, table);
  EXPECT_NE(table.str().find("encoded"), std::string::npos);
  EXPECT_TRUE((*daemon)->Stop().ok());
}

TEST(BenchServe, RefusesOptionsOutOfRange) {
  auto tcp = TcpBaseline::Start();
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  ServeBenchOptions options;
  options.repeats = kMinServeRepeats - 1;
  EXPECT_EQ(RunServeBench(options, **tcp).status().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.clients = {0};
  EXPECT_EQ(options.Validate().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.forms.clear();
  EXPECT_EQ(options.Validate().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvcompd::client
