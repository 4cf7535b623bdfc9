#include "codec/base/human_size.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/base/types.h"

namespace kvcompd {
namespace {

constexpr uint64_t kMax = uint64_t{1} << 63;
__extension__ typedef unsigned __int128 Uint128;

// 0: no such unit.
uint64_t UnitBytes(std::string_view unit) {
  const std::string u = absl::AsciiStrToLower(ToAbsl(unit));
  if (u.empty() || u == "b") return 1;
  const size_t power = std::string_view("kmgt").find(u[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = std::string_view(u).substr(1);
  const bool binary = rest == "ib";
  if (!binary && !rest.empty() && rest != "b") return 0;
  uint64_t bytes = 1;
  for (size_t i = 0; i <= power; ++i) bytes *= binary ? 1024 : 1000;
  return bytes;
}

}  // namespace

absl::StatusOr<uint64_t> ParseHumanSize(std::string_view text) {
  const auto invalid = [text](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("size \"", absl::CHexEscape(ToAbsl(text.substr(0, 64))), "\": ", why,
                     "; expected a number and B, K, M, G, T (powers of 1000) or KiB, MiB, GiB, TiB"));
  };
  std::string_view rest = ToStd(absl::StripAsciiWhitespace(ToAbsl(text)));
  Uint128 digits = 0;  // the number without its point
  Uint128 scale = 1;   // 10^(digits after the point)
  bool any = false, point = false;
  while (!rest.empty() && (absl::ascii_isdigit(rest[0]) || (rest[0] == '.' && !point && any))) {
    if (rest[0] == '.') {
      point = true;
    } else {
      any = true;
      digits = digits * 10 + static_cast<unsigned>(rest[0] - '0');
      if (point) scale *= 10;
      if (digits > kMax) return invalid("too large or too many digits");
    }
    rest.remove_prefix(1);
  }
  if (!any) return invalid("no number");
  if (point && scale == 1) return invalid("no digit after the point");
  const uint64_t unit = UnitBytes(ToStd(absl::StripLeadingAsciiWhitespace(ToAbsl(rest))));
  if (unit == 0) return invalid("unknown unit");
  if (unit == 1 && point) return invalid("a fraction of a byte");
  const Uint128 bytes = digits * unit / scale;  // under 2^63 * 2^40: no overflow
  if (bytes > kMax) return invalid("over 2^63 bytes");
  return static_cast<uint64_t>(bytes);
}

std::string HumanSize(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, "B");
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {  // 1023.5 would print as 1024
    value /= 1024;
    ++unit;
  }
  return value < 9.95 ? absl::StrFormat("%.1f%s", value, kUnits[unit])
                      : absl::StrFormat("%.0f%s", value, kUnits[unit]);
}

}  // namespace kvcompd
