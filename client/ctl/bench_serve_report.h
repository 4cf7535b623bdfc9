// The report of `kvcompctl bench serve` for programs and people.
//
//   PrintJson(ServeJson(report), out);
//   PrintServeTable(report, out);
//
// Pure functions but for what they print.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_SERVE_REPORT_H_
#define KVCOMPD_CLIENT_CTL_BENCH_SERVE_REPORT_H_

#include <ostream>

#include "client/ctl/bench_serve.h"
#include "client/ctl/table.h"

namespace kvcompd::client {

// {"runs": [{"plane", "op", "form", "profile", "clients", "block_bytes", "logical_gbps", "wire_gbps",
// "p50_us", "p99_us", "p999_us", "cpu_s_per_gb", "ratio_to_tcp"}], "baselines": {"tcp_gbps", "memcpy_gbps",
// "tcp_cpu_s_per_gb"}, "host": {...}, "data", "repeats", "seconds", "blocks_per_call"}. cpu_s_per_gb is null
// where the daemon's process is not known.
Json ServeJson(const ServeReport& report);
void PrintServeTable(const ServeReport& report, std::ostream& out);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_SERVE_REPORT_H_
