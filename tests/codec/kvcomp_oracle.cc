#include "tests/codec/kvcomp_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace kvcompd::testing {
namespace {

using codec::GroupShape;
using codec::TileMode;

// A dtype by its numbers; values by ldexp, nothing on bits.
struct Format {
  size_t bytes;
  int exponent_bits;
  int fraction_bits;
  bool has_inf;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int min_exponent() const { return 1 - bias(); }
  int max_exponent() const { return (1 << exponent_bits) - (has_inf ? 2 : 1) - bias(); }
  double max_finite() const {
    const double one_less = has_inf ? 1 : 2;  // E4M3's largest fraction is NaN
    return std::ldexp(2 - one_less * std::ldexp(1, -fraction_bits), max_exponent());
  }
  double Ulp(double value) const {
    const int exponent = value == 0 ? min_exponent() : std::ilogb(value);
    return std::ldexp(1, std::clamp(exponent, min_exponent(), max_exponent()) - fraction_bits);
  }
  // Half to even, never beyond the largest finite value.
  double Round(double value) const {
    const double ulp = Ulp(value);
    const double rounded = std::nearbyint(value / ulp) * ulp;
    return std::clamp(rounded, -max_finite(), max_finite());
  }
  // NaN where it is not finite.
  double Value(const std::string& values, size_t i) const {
    uint32_t bits = static_cast<uint8_t>(values[bytes * i]);
    if (bytes == 2) bits += 256u * static_cast<uint8_t>(values[2 * i + 1]);
    const uint32_t fraction = bits % (1u << fraction_bits);
    const uint32_t exponent = (bits >> fraction_bits) % (1u << exponent_bits);
    const bool negative = bits >> (fraction_bits + exponent_bits);
    const uint32_t last = (1u << exponent_bits) - 1;
    if (exponent == last && (has_inf || fraction == (1u << fraction_bits) - 1)) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    const double significand = fraction + (exponent == 0 ? 0.0 : std::ldexp(1, fraction_bits));
    const double magnitude =
        std::ldexp(significand, std::max(1, static_cast<int>(exponent)) - bias() - fraction_bits);
    return negative ? -magnitude : magnitude;
  }
};

Format FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kFp16:
      return {2, 5, 10, true};
    case DType::kFp8E4m3:
      return {1, 4, 3, false};
    case DType::kFp8E5m2:
      return {1, 5, 2, true};
    default:
      return {2, 8, 7, true};
  }
}

// Toward zero to 8 significant bits.
double Truncate(double step) {
  const double grain = std::ldexp(1, std::ilogb(step) - 7);
  return std::floor(step / grain) * grain;
}

struct Unit {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double r = 0;
  double step = 0;  // 0: constant, or without finite tile
  bool possible = true;

  void Choose(const Format& format, double rel, bool strict) {
    if (!(min < max)) return;
    const double s = rel * (max - min);
    r = s / 2;
    step = s;
    if (strict) {
      const double shrunk =
          s - format.Ulp(std::max(std::fabs(min), std::fabs(max)) + s / 2) * (1 + std::ldexp(1, -6));
      if (shrunk >= 0.75 * s) step = shrunk;
    }
    step = Truncate(step);
    possible = step >= std::ldexp(1, -126) &&
               std::fabs(static_cast<float>(min) / static_cast<float>(step)) <= std::ldexp(1, 21);
  }
  // x' of a value: the nearest multiple of the step, in binary32.
  double Approx(double x) const {
    if (step == 0) return x;
    const float multiple = std::nearbyint(static_cast<float>(x) / static_cast<float>(step));
    return multiple * static_cast<float>(step);
  }
};

class Units {
 public:
  Units(const GroupShape& shape, const Profile& profile)
      : shape_(shape),
        per_token_(shape.tensor == Tensor::kV && profile.v_unit == VUnit::kToken),
        per_channel_(shape.tensor == Tensor::kK && profile.k_unit == KUnit::kChannel),
        units_(per_token_     ? shape.tokens
               : per_channel_ ? size_t{shape.heads} * shape.channels
                              : 1) {}
  Unit& of(uint32_t head, uint32_t token, uint32_t channel) {
    if (per_token_) return units_[token];
    return units_[per_channel_ ? size_t{head} * shape_.channels + channel : 0];
  }
  std::vector<Unit>& all() { return units_; }

 private:
  const GroupShape shape_;
  const bool per_token_, per_channel_;
  std::vector<Unit> units_;
};

}  // namespace

BoundCheck CheckGroup(const GroupShape& shape, const Profile& profile, const std::string& values,
                      const std::string& decoded, const std::vector<TileMode>& modes) {
  BoundCheck check;
  const auto fail = [&](const std::string& what) {
    if (check.failures.empty()) check.failures = what;
  };
  const Format format = FormatOf(shape.dtype);
  const size_t tile = size_t{shape.tokens} * shape.channels;
  const auto token_of = [&](size_t i) { return static_cast<uint32_t>(i / shape.channels); };
  const auto channel_of = [&](size_t i) { return static_cast<uint32_t>(i % shape.channels); };
  Units units(shape, profile);
  std::vector<bool> finite(shape.heads, true);
  for (uint32_t h = 0; h < shape.heads; ++h) {
    for (size_t i = 0; i < tile; ++i)
      finite[h] = finite[h] && !std::isnan(format.Value(values, h * tile + i));
    for (size_t i = 0; finite[h] && i < tile; ++i) {
      Unit& unit = units.of(h, token_of(i), channel_of(i));
      unit.min = std::min(unit.min, format.Value(values, h * tile + i));
      unit.max = std::max(unit.max, format.Value(values, h * tile + i));
    }
  }
  for (Unit& unit : units.all()) unit.Choose(format, profile.rel(shape.tensor), profile.strict);

  double squares = 0;
  for (uint32_t h = 0; h < shape.heads; ++h) {
    if (modes[h] == TileMode::kRaw) {
      const size_t at = size_t{h} * shape.tile_bytes();
      if (values.compare(at, shape.tile_bytes(), decoded, at, shape.tile_bytes()) != 0) {
        fail(absl::StrCat("raw head ", h, " is not bit-exact"));
      }
      continue;
    }
    if (!finite[h]) fail(absl::StrCat("head ", h, " has NaN or Inf and is not raw"));
    for (size_t i = 0; i < tile; ++i) {
      const Unit& unit = units.of(h, token_of(i), channel_of(i));
      const double x = format.Value(values, h * tile + i), y = format.Value(decoded, h * tile + i);
      const double approx = unit.Approx(x), error = std::fabs(x - y);
      const double bound =
          profile.strict ? unit.r : unit.r * (1 + std::ldexp(1, -8)) + format.Ulp(approx) / 2;
      const auto where = [&] {
        return absl::StrCat("head ", h, " token ", token_of(i), " channel ", channel_of(i), ": ", x,
                            " became ", y);
      };
      if (!unit.possible) fail(absl::StrCat(where(), ", of a unit that cannot be quantised"));
      if (!(error <= bound) || (unit.r == 0 && error != 0)) {
        fail(absl::StrCat(where(), ", error ", error, " over ", bound));
      }
      if (y != format.Round(approx)) fail(absl::StrCat(where(), ", not ", format.Round(approx)));
      if (unit.r > 0) {
        check.max_error_over_r = std::max(check.max_error_over_r, error / unit.r);
        squares += (error / unit.r) * (error / unit.r);
        ++check.lossy_values;
      }
    }
  }
  if (check.lossy_values > 0)
    check.rms_error_over_r = std::sqrt(squares / static_cast<double>(check.lossy_values));
  return check;
}

}  // namespace kvcompd::testing
