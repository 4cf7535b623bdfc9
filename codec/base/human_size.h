// Sizes as people write them: "8GiB", "512 MiB", "30gb" (10^9), "1048576".
#ifndef KVCOMPD_CODEC_BASE_HUMAN_SIZE_H_
#define KVCOMPD_CODEC_BASE_HUMAN_SIZE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvcompd {

// Number, optional fraction, optional unit in any case: B, K/KB, M/MB, G/GB, T/TB (powers of 1000),
// KiB, MiB, GiB, TiB (powers of 1024). INVALID_ARGUMENT: anything else, negative, or over 2^63.
absl::StatusOr<uint64_t> ParseHumanSize(std::string_view text);

// "8.0GiB", "64KiB", "17B": for logs and tables.
std::string HumanSize(uint64_t bytes);

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_HUMAN_SIZE_H_
