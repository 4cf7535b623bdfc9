// Checks decoded values against the error bound of the codecs that have one, value by value, in double.
//
// Called by `get --verify`, the demo and the benchmarks. Written from FORMAT.md ("Error bound") alone and
// shares no code with the codec, so that the two check each other. Pure functions; any thread.
//
//   BoundSpec spec = BoundSpecOf(profile, Tensor::kK, dtype, heads, tokens, channels);
//   auto report = CheckBound(spec, original, decoded);      // both [heads, tokens, channels]
//   if (report->violations > 0) Complain(report->first_violation);
#ifndef KVCOMPD_CLIENT_CTL_BOUND_CHECK_H_
#define KVCOMPD_CLIENT_CTL_BOUND_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"

namespace kvcompd::client {

// What shares one range of values. Tokens are cut into groups of 64 first.
enum class BoundUnit {
  kGroup,       // kvcomp's K and v_unit=block: all heads, tokens and channels of a group
  kChannel,     // kvcomp's K, k_unit=channel: one channel of one head over a group's tokens
  kToken,       // kvcomp's V, packkv: one token over all heads and channels
  kChannelRun,  // intq's K: `run` tokens of one channel of one head
  kTokenRun,    // intq's V: `run` channels of one token of one head
};

struct BoundSpec {
  DType dtype = DType::kBf16;
  uint32_t heads = 0;   // of the shard as it was encoded: heads share ranges
  uint32_t tokens = 0;  // of one block, from its first token
  uint32_t channels = 0;
  BoundUnit unit = BoundUnit::kGroup;
  uint32_t run = 0;
  double rel = 0;  // 0: every bit must be the same
  bool strict = false;
};

BoundSpec BoundSpecOf(const Profile& profile, Tensor tensor, DType dtype, uint32_t heads, uint32_t tokens,
                      uint32_t channels);

struct BoundReport {
  uint64_t values = 0;          // compared
  uint64_t changed = 0;         // of these, not bit-equal
  uint64_t violations = 0;      // over the bound, or not finite where the original is, or the other way round
  double max_error = 0;         // |x - y|
  double max_error_over_r = 0;  // |x - y| / r, over units with r > 0; the ulp term may take it over 1
  double max_error_over_bound = 0;  // |x - y| / bound, over bounds > 0; never over 1 without a violation
  std::string first_violation;

  void Add(const BoundReport& other);
};

// With r = rel * (max - min) / 2 over a unit's values of finite tiles: |x - y| <= r * (1 + 2^-8) + ulp(y) /
// 2, or
// <= r where strict. (The format has the ulp of y before rounding to the dtype, which is never the larger
// one.) In a tile, one head of a group, with NaN or Inf every bit must be the same. INVALID_ARGUMENT: sizes
// that do not fit.
absl::StatusOr<BoundReport> CheckBound(const BoundSpec& spec, ByteSpan original, ByteSpan decoded);

// Every value that a float dtype can have, as double, by its bits. Not for kOpaque.
const std::vector<double>& ValueTable(DType dtype);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BOUND_CHECK_H_
