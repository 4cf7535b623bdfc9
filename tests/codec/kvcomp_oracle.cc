#include "tests/codec/kvcomp_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "codec/float_format.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::testing {
namespace {

using codec::GroupShape;
using codec::TileMode;

struct Range {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
};

class Units {
 public:
  Units(const GroupShape& shape, const Profile& profile) : shape_(shape) {
    if (shape.tensor == Tensor::kV) {
      per_token_ = true;
    } else if (profile.k_unit == KUnit::kChannel) {
      per_channel_ = true;
    }
    ranges_.resize(size_t{shape.heads} * shape.tokens * shape.channels);
  }
  Range& of(uint32_t head, uint32_t token, uint32_t channel) {
    if (per_token_) return ranges_[token];
    if (per_channel_) return ranges_[head * shape_.channels + channel];
    return ranges_[0];
  }

 private:
  const GroupShape shape_;
  bool per_token_ = false, per_channel_ = false;
  std::vector<Range> ranges_;
};

}  // namespace

BoundCheck CheckGroup(const GroupShape& shape, const Profile& profile, const std::string& values,
                      const std::string& decoded, const std::vector<TileMode>& modes) {
  BoundCheck check;
  const auto fail = [&](const std::string& what) {
    if (check.failures.empty()) check.failures = what;
  };
  const std::vector<float> x = ToFloats(shape.dtype, values), y = ToFloats(shape.dtype, decoded);
  const size_t tile = size_t{shape.tokens} * shape.channels;
  Units units(shape, profile);
  std::vector<bool> finite(shape.heads);
  for (uint32_t h = 0; h < shape.heads; ++h) {
    finite[h] = codec::AllFinite(shape.dtype, AsBytes(values).data() + h * shape.tile_bytes(), tile);
    if (!finite[h]) continue;
    for (size_t i = 0; i < tile; ++i) {
      Range& r =
          units.of(h, static_cast<uint32_t>(i / shape.channels), static_cast<uint32_t>(i % shape.channels));
      r.min = std::min(r.min, static_cast<double>(x[h * tile + i]));
      r.max = std::max(r.max, static_cast<double>(x[h * tile + i]));
    }
  }

  double squares = 0;
  for (uint32_t h = 0; h < shape.heads; ++h) {
    if (!finite[h] && modes[h] != TileMode::kRaw)
      fail(absl::StrCat("head ", h, " has NaN or Inf and is not raw"));
    if (modes[h] == TileMode::kRaw) {
      const size_t at = size_t{h} * shape.tile_bytes();
      if (values.compare(at, shape.tile_bytes(), decoded, at, shape.tile_bytes()) != 0) {
        fail(absl::StrCat("raw head ", h, " is not bit-exact"));
      }
      continue;
    }
    for (size_t i = 0; i < tile; ++i) {
      const auto token = static_cast<uint32_t>(i / shape.channels),
                 channel = static_cast<uint32_t>(i % shape.channels);
      const Range& range = units.of(h, token, channel);
      const double r = profile.rel(shape.tensor) * (range.max - range.min) / 2;
      const double a = x[h * tile + i], b = y[h * tile + i], error = std::fabs(a - b);
      const double bound =
          profile.strict ? r : r * (1 + 1.0 / 256) + codec::HalfUlp(shape.dtype, static_cast<float>(b));
      if (!(error <= bound) || (r == 0 && error != 0)) {
        fail(absl::StrCat("head ", h, " token ", token, " channel ", channel, ": ", a, " became ", b,
                          ", error ", error, " over ", bound));
      }
      if (r > 0) {
        check.max_error_over_r = std::max(check.max_error_over_r, error / r);
        squares += (error / r) * (error / r);
        ++check.lossy_values;
      }
    }
  }
  if (check.lossy_values > 0)
    check.rms_error_over_r = std::sqrt(squares / static_cast<double>(check.lossy_values));
  return check;
}

}  // namespace kvcompd::testing
