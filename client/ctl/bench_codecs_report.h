// What `kvcompctl bench codecs` prints: a table, JSON, CSV and plots.
//
// Called by the command. Pure functions.
//
//   PrintJson(CodecBenchJson(report), out);
//   WriteFile("codecs.svg", CodecBenchSvg(report));
#ifndef KVCOMPD_CLIENT_CTL_BENCH_CODECS_REPORT_H_
#define KVCOMPD_CLIENT_CTL_BENCH_CODECS_REPORT_H_

#include <ostream>
#include <string>

#include "client/ctl/bench_codecs.h"
#include "client/ctl/table.h"

namespace kvcompd::client {

// {"data", "host", "results": [...], "baselines": [...], "anchors": [...], "left_out": [...]}. A result is a
// tensor (K, V, KV) of a profile and a data set; that of KV stands once for each setting in which speed was
// measured, and where none was the speed is null. attn_rel_l2 of K: with K alone decoded.
Json CodecBenchJson(const CodecBenchReport& report);
// The results of the JSON form, a line each.
std::string CodecBenchCsv(const CodecBenchReport& report);
// Gains over the anchors, a line each.
std::string CodecBenchAnchorsCsv(const CodecBenchReport& report);
void PrintCodecBenchTable(const CodecBenchReport& report, std::ostream& out);
// Rate against attention error and ratio per layer of each data set, and speed.
std::string CodecBenchSvg(const CodecBenchReport& report);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_CODECS_REPORT_H_
