#include "client/ctl/table.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace kvcompd::client {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no room.
size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string TrimEnd(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

TextTable::TextTable(std::vector<std::string> columns) {
  for (std::string& title : columns) {
    const bool right = title.starts_with('>');
    columns_.push_back({.title = right ? title.substr(1) : std::move(title), .right = right});
  }
}

void TextTable::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

void TextTable::Print(std::ostream& out) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = WidthOf(columns_[c].title);
    for (const auto& row : rows_) width = std::max(width, WidthOf(row[c]));
    widths.push_back(width);
  }
  auto print_line = [&](auto&& cell_of) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = cell_of(c);
      const std::string blanks(widths[c] - WidthOf(cell), ' ');
      if (c > 0) line += "  ";
      line += columns_[c].right ? blanks + cell : cell + blanks;
    }
    out << TrimEnd(std::move(line)) << "\n";
  };
  print_line([&](size_t c) { return columns_[c].title; });
  print_line([&](size_t c) { return std::string(widths[c], '-'); });
  for (const auto& row : rows_) print_line([&](size_t c) { return row[c]; });
}

void PrintJson(const Json& json, std::ostream& out) {
  out << json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) << "\n";
}

std::string RatioText(double numerator, double denominator) {
  return denominator > 0 ? absl::StrFormat("%.2fx", numerator / denominator) : "-";
}

std::string GigabytesPerSecondText(double bytes, double seconds) {
  return seconds > 0 ? absl::StrFormat("%.3f", bytes / seconds / 1e9) : "-";
}

}  // namespace kvcompd::client
