// The rows of `kvcompctl bench kvdata` for programs and people.
//
//   out << KvdataCsv(rows);     // tests/bench/results/kvdata_kvcomp.csv is such a text
//
// Pure functions but for what they print.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_KVDATA_REPORT_H_
#define KVCOMPD_CLIENT_CTL_BENCH_KVDATA_REPORT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "client/ctl/bench_kvdata.h"
#include "client/ctl/table.h"

namespace kvcompd::client {

// A header line and one line a row, in the order given. tests/bench/README.md describes the columns.
std::string KvdataCsv(const std::vector<KvdataRow>& rows);
// {"rows": [...], "values_checked", "violations"}; a row has the CSV's columns by name.
Json KvdataJson(const std::vector<KvdataRow>& rows);
// Only the rows of K and V together, and the sums.
void PrintKvdataTable(const std::vector<KvdataRow>& rows, std::ostream& out);

struct KvdataTotals {
  uint64_t values_checked = 0;
  uint64_t violations = 0;
};
KvdataTotals TotalsOf(const std::vector<KvdataRow>& rows);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_KVDATA_REPORT_H_
