#include "client/ctl/bench_kvdata_report.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvcompd::client {
namespace {

std::string KUnitText(const KvdataRow& row) { return row.k_unit == KUnit::kBlock ? "block" : "channel"; }
std::string BooksText(const KvdataRow& row) { return row.trained ? "trained" : "built-in"; }
std::string TensorText(const KvdataRow& row) {
  return row.tensor.has_value() ? std::string(TensorName(*row.tensor)) : "KV";
}

}  // namespace

KvdataTotals TotalsOf(const std::vector<KvdataRow>& rows) {
  KvdataTotals totals;
  for (const KvdataRow& row : rows) {
    if (!row.tensor.has_value()) continue;  // the sum of the two others
    totals.values_checked += row.values;
    totals.violations += row.violations;
  }
  return totals;
}

std::string KvdataCsv(const std::vector<KvdataRow>& rows) {
  std::string out =
      "model,sample,dtype,k_unit,rel,books,tensor,values,ratio_codec,ratio_effective,bits_per_value,"
      "max_error_over_r,raw_tile_share,violations\n";
  for (const KvdataRow& row : rows) {
    absl::StrAppend(&out, row.model, ",", row.sample, ",", ToAbsl(DTypeName(row.dtype)), ",");
    absl::StrAppend(&out, KUnitText(row), ",", row.rel, ",", BooksText(row), ",", TensorText(row), ",",
                    row.values, ",");
    absl::StrAppendFormat(&out, "%.4f,%.4f,%.4f,%.6f,%.6f,%d\n", row.ratio_codec(), row.ratio_effective(),
                          row.bits_per_value(), row.max_error_over_r, row.raw_tile_share(), row.violations);
  }
  return out;
}

Json KvdataJson(const std::vector<KvdataRow>& rows) {
  Json out;
  out["rows"] = Json::array();
  for (const KvdataRow& row : rows) {
    Json json;
    json["model"] = row.model;
    json["sample"] = row.sample;
    json["dtype"] = std::string(DTypeName(row.dtype));
    json["k_unit"] = KUnitText(row);
    json["rel"] = row.rel;
    json["books"] = BooksText(row);
    json["tensor"] = TensorText(row);
    json["values"] = row.values;
    json["ratio_codec"] = row.ratio_codec();
    json["ratio_effective"] = row.ratio_effective();
    json["bits_per_value"] = row.bits_per_value();
    json["max_error_over_r"] = row.max_error_over_r;
    json["raw_tile_share"] = row.raw_tile_share();
    json["violations"] = row.violations;
    out["rows"].push_back(std::move(json));
  }
  const KvdataTotals totals = TotalsOf(rows);
  out["values_checked"] = totals.values_checked;
  out["violations"] = totals.violations;
  return out;
}

void PrintKvdataTable(const std::vector<KvdataRow>& rows, std::ostream& out) {
  TextTable table({"sample", "dtype", "k_unit", ">rel", "books", ">ratio", ">effective", ">bits/value",
                   ">max err/r", ">raw tiles", ">violations"});
  for (const KvdataRow& row : rows) {
    if (row.tensor.has_value()) continue;
    table.AddRow({absl::StrCat(row.model, ".", row.sample), std::string(DTypeName(row.dtype)), KUnitText(row),
                  absl::StrCat(row.rel), BooksText(row), absl::StrFormat("%.3f", row.ratio_codec()),
                  absl::StrFormat("%.3f", row.ratio_effective()),
                  absl::StrFormat("%.3f", row.bits_per_value()),
                  absl::StrFormat("%.5f", row.max_error_over_r),
                  absl::StrFormat("%.2f%%", 100 * row.raw_tile_share()), absl::StrCat(row.violations)});
  }
  table.Print(out);
  const KvdataTotals totals = TotalsOf(rows);
  out << "\n" << totals.values_checked << " values checked, " << totals.violations << " outside the bound\n";
}

}  // namespace kvcompd::client
