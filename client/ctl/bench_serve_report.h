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
// "p50_us", "p99_us", "p999_us", "cpu_s_per_gb", "client_codec", "latency_samples", "working_set_bytes",
// "cache_resident", "tcp_gbps", "ratio_to_tcp"}], "baselines": {"tcp_gbps", "memcpy_gbps",
// "tcp_cpu_s_per_gb"}, "host": {...}, "data", "blocks", "repeats", "seconds", "blocks_per_call"}.
//
// form is what is on the wire; of the two encoded ones, client_codec says whether the client encodes or
// decodes or the containers are ready. cpu_s_per_gb is null where the daemon's process is not known.
// latency_samples are the calls that the percentiles are of; p999_us wants 1000. A run's tcp_gbps is of as
// many streams as it has clients, that of the baselines of one; where the daemon is not on this machine it is
// null, and the ratio with it.
Json ServeJson(const ServeReport& report);
void PrintServeTable(const ServeReport& report, std::ostream& out);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_SERVE_REPORT_H_
