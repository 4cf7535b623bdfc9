// Values of options as text, and back. Each Parse names what it expects in its INVALID_ARGUMENT; each text
// parses back to the same value. Pure functions.
//
//   ParseDurationMs("1m30s") == 90'000;   DurationText(90'000) == "90s"
#ifndef KVCOMPD_SERVER_OPS_OPTION_VALUE_H_
#define KVCOMPD_SERVER_OPS_OPTION_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvcompd::server {

// Of whole milliseconds, 0 to 2^32 - 1; a unit must stand there.
absl::StatusOr<uint32_t> ParseDurationMs(std::string_view text);
std::string DurationText(uint32_t ms);  // in the longest of h, m, s, ms that keeps it whole

std::string SizeText(uint64_t bytes);  // "8GiB"; in the longest unit that keeps it whole

absl::StatusOr<bool> ParseBool(std::string_view text);
absl::StatusOr<uint64_t> ParseCount(std::string_view text);
absl::StatusOr<double> ParseFraction(std::string_view text);  // 0 to 1
std::string FractionText(double value);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_OPTION_VALUE_H_
