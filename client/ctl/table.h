// TextTable: aligned columns for people; and the one way in which commands print JSON for programs.
//
// Called by the commands. Plain values, one thread at a time.
//
//   TextTable table({"block", ">bytes"});            // ">": aligned to the right
//   table.AddRow({"0", HumanSize(bytes)});
//   table.Print(out);
#ifndef KVCOMPD_CLIENT_CTL_TABLE_H_
#define KVCOMPD_CLIENT_CTL_TABLE_H_

#include <ostream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace kvcompd::client {

// Fields in the order in which they were set.
using Json = nlohmann::ordered_json;

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> columns);
  // Missing cells are empty; cells beyond the columns are dropped.
  void AddRow(std::vector<std::string> cells);
  size_t rows() const { return rows_.size(); }
  // Header, rule and rows, without blanks at the ends of lines.
  void Print(std::ostream& out) const;

 private:
  struct Column {
    std::string title;
    bool right = false;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// One object and a newline. Bytes that are not UTF-8 are replaced, and no number is NaN.
void PrintJson(const Json& json, std::ostream& out);

// "3.97x"; "-" where the denominator is 0.
std::string RatioText(double numerator, double denominator);
// "1.25" GB/s (10^9 bytes); "-" where no time has passed.
std::string GigabytesPerSecondText(double bytes, double seconds);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_TABLE_H_
