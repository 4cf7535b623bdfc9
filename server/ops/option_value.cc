#include "server/ops/option_value.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "codec/base/types.h"

namespace kvcompd::server {

absl::StatusOr<uint32_t> ParseDurationMs(std::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(ToAbsl(text), &duration)) {
    return absl::InvalidArgumentError("expected a duration such as 500ms, 10s or 1h30m");
  }
  if (duration < absl::ZeroDuration() || duration > absl::Milliseconds(UINT32_MAX)) {
    return absl::InvalidArgumentError("expected a duration from 0s to 49 days");
  }
  if (duration % absl::Milliseconds(1) != absl::ZeroDuration()) {
    return absl::InvalidArgumentError("expected a duration of whole milliseconds");
  }
  return static_cast<uint32_t>(absl::ToInt64Milliseconds(duration));
}

std::string DurationText(uint32_t ms) {
  if (ms != 0 && ms % 3'600'000 == 0) return absl::StrCat(ms / 3'600'000, "h");
  if (ms % 1000 == 0) return absl::StrCat(ms / 1000, "s");
  return absl::StrCat(ms, "ms");
}

std::string SizeText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, kUnits[unit]);
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  bool value = false;
  const std::string lower = absl::AsciiStrToLower(ToAbsl(text));
  if (lower == "on" || lower == "off") return lower == "on";
  if (!absl::SimpleAtob(lower, &value)) return absl::InvalidArgumentError("expected true or false");
  return value;
}

absl::StatusOr<uint64_t> ParseCount(std::string_view text) {
  uint64_t value = 0;
  if (text.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(text[0])) ||
      !absl::SimpleAtoi(ToAbsl(text), &value)) {
    return absl::InvalidArgumentError("expected a whole number");
  }
  return value;
}

absl::StatusOr<double> ParseFraction(std::string_view text) {
  double value = 0;
  if (!absl::SimpleAtod(ToAbsl(text), &value) || !(value >= 0 && value <= 1)) {
    return absl::InvalidArgumentError("expected a number from 0 to 1");
  }
  return value;
}

std::string FractionText(double value) {
  for (int digits = 6; digits < 17; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    double back = 0;
    if (absl::SimpleAtod(text, &back) && back == value) return text;
  }
  return absl::StrFormat("%.17g", value);
}

}  // namespace kvcompd::server
