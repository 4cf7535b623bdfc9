// The service's benchmark against the real daemon, cut short: what it measures does not matter here, that it
// measures and reports all of it does.
#include "client/ctl/bench_serve.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "client/client.h"
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
  options.blocks = 32;
  options.seconds = 0.05;
  options.latency_calls = 2;
  return options;
}

TEST(BenchServe, MeasuresEveryRunAndReportsIt) {
  auto tcp = TcpBaseline::Start(2);
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  auto daemon = LocalDaemon::Start({.binary = "server/kvcompd", .extra_args = {"--host-memory=512MiB"}});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const auto report = RunServeBench(ShortOptions(**daemon), **tcp);
  ASSERT_TRUE(report.ok()) << report.status() << "\n" << (*daemon)->LogTail();
  ASSERT_EQ(report->runs.size(), 16u);
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
    EXPECT_EQ(run.latency_samples, uint64_t{5} * 2 * run.clients) << name;
    EXPECT_GT(run.working_set_bytes, 0u) << name;
    ASSERT_TRUE(run.tcp_gbps.has_value()) << name;
    EXPECT_GT(*run.ratio_to_tcp, 0) << name;
    if (BenchWireForm(run.form) == "encoded") {
      EXPECT_LT(run.wire_gbps, run.logical_gbps) << name;
    } else {
      EXPECT_NEAR(run.wire_gbps, run.logical_gbps, 1e-9) << name;
    }
  }
  const Json json = ServeJson(*report);
  ASSERT_EQ(json["runs"].size(), 16u);
  for (const char* field :
       {"plane", "op", "form", "profile", "clients", "block_bytes", "logical_gbps", "wire_gbps", "p50_us",
        "p99_us", "p999_us", "cpu_s_per_gb", "client_codec", "latency_samples", "working_set_bytes",
        "cache_resident", "tcp_gbps", "ratio_to_tcp"}) {
    EXPECT_TRUE(json["runs"][0].contains(field)) << field;
  }
  for (const Json& run : json["runs"]) {
    const std::string form = run["form"];
    EXPECT_TRUE(form == "raw" || form == "encoded" || form == "decoded") << form;
  }
  // 32 blocks of 256 KiB, compressed: well within any cache that is taken for one.
  EXPECT_EQ(json["runs"][1]["form"], "encoded");
  EXPECT_EQ(json["runs"][1]["cache_resident"], true);
  EXPECT_EQ(json["runs"][2]["client_codec"], true);
  EXPECT_TRUE(json["baselines"]["tcp_gbps"].is_number());
  EXPECT_TRUE(json["baselines"]["memcpy_gbps"].is_number());
  std::ostringstream table;
  PrintServeTable(*report, table);
  EXPECT_NE(table.str().find("ready containers"), std::string::npos);
  EXPECT_NE(table.str().find("cache-resident"), std::string::npos);
  // Nothing is left behind.
  auto client = Client::Connect({.address = (*daemon)->address()});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto namespaces = (*client)->admin().ListNamespaces();
  ASSERT_TRUE(namespaces.ok()) << namespaces.status();
  ASSERT_EQ(namespaces->namespaces_size(), 2);
  for (const auto& ns : namespaces->namespaces()) EXPECT_EQ(ns.blocks(), 0u);
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
  options.blocks = 1 << 20;
  EXPECT_EQ(options.Validate().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.forms.clear();
  EXPECT_EQ(options.Validate().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BenchServe, ADaemonElsewhereIsNotHeldAgainstLoopback) {
  ServeBenchOptions options;
  for (const char* here : {"127.0.0.1:7600", "localhost:7600", "unix:/run/kvcompd.sock", "[::1]:7600"}) {
    options.address = here;
    EXPECT_TRUE(options.loopback()) << here;
  }
  for (const char* elsewhere : {"10.0.0.7:7600", "cache.example:7600", "[2001:db8::1]:7600"}) {
    options.address = elsewhere;
    EXPECT_FALSE(options.loopback()) << elsewhere;
  }
}

}  // namespace
}  // namespace kvcompd::client
