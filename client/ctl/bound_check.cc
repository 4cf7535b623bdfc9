#include "client/ctl/bound_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kGroupTokens = 64;
constexpr double kSlack = 1.0 + 1.0 / 256;

struct FloatLayout {
  int exponent_bits;
  int fraction_bits;
};

FloatLayout LayoutOf(DType dtype) {
  switch (dtype) {
    case DType::kFp16:
      return {5, 10};
    case DType::kFp8E4m3:
      return {4, 3};
    case DType::kFp8E5m2:
      return {5, 2};
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return {8, 7};
}

double ValueOf(DType dtype, uint32_t bits) {
  const auto [exponent_bits, fraction_bits] = LayoutOf(dtype);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = static_cast<int>(bits & ((1u << fraction_bits) - 1));
  const double sign = ((bits >> (exponent_bits + fraction_bits)) & 1) != 0 ? -1.0 : 1.0;
  const bool all_ones = exponent == (1 << exponent_bits) - 1;
  if (dtype == DType::kFp8E4m3) {  // no Inf; one NaN
    if (all_ones && fraction == 7) return std::numeric_limits<double>::quiet_NaN();
  } else if (all_ones) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

double HalfUlpOf(DType dtype, uint32_t bits) {
  const auto [exponent_bits, fraction_bits] = LayoutOf(dtype);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  return std::ldexp(1.0, std::max(exponent, 1) - bias - fraction_bits - 1);
}

std::vector<double> MakeTable(DType dtype, double (*value_of)(DType, uint32_t)) {
  std::vector<double> table(size_t{1} << (8 * ElementBytes(dtype)));
  for (uint32_t bits = 0; bits < table.size(); ++bits) table[bits] = value_of(dtype, bits);
  return table;
}

const std::vector<double>& HalfUlpTable(DType dtype) {
  static const std::vector<double> bf16 = MakeTable(DType::kBf16, HalfUlpOf);
  static const std::vector<double> fp16 = MakeTable(DType::kFp16, HalfUlpOf);
  static const std::vector<double> e4m3 = MakeTable(DType::kFp8E4m3, HalfUlpOf);
  static const std::vector<double> e5m2 = MakeTable(DType::kFp8E5m2, HalfUlpOf);
  return dtype == DType::kFp16      ? fp16
         : dtype == DType::kFp8E4m3 ? e4m3
         : dtype == DType::kFp8E5m2 ? e5m2
                                    : bf16;
}

struct Range {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double Radius(double rel) const { return min > max ? 0 : rel * (max - min) / 2; }
};

// One group of tokens: ranges first, then every value.
class GroupCheck {
 public:
  GroupCheck(const BoundSpec& spec, ByteSpan original, ByteSpan decoded, uint32_t first_token)
      : spec_(spec),
        original_(original),
        decoded_(decoded),
        first_(first_token),
        count_(std::min(kGroupTokens, spec.tokens - first_token)),
        values_(ValueTable(spec.dtype)),
        half_ulps_(HalfUlpTable(spec.dtype)),
        finite_(spec.heads, true) {
    switch (spec.unit) {
      case BoundUnit::kGroup:
        ranges_.resize(1);
        break;
      case BoundUnit::kChannel:
        ranges_.resize(size_t{spec.heads} * spec.channels);
        break;
      case BoundUnit::kToken:
        ranges_.resize(count_);
        break;
      case BoundUnit::kChannelRun:
        runs_ = (count_ + spec.run - 1) / spec.run;
        ranges_.resize(size_t{spec.heads} * spec.channels * runs_);
        break;
      case BoundUnit::kTokenRun:
        runs_ = (spec.channels + spec.run - 1) / spec.run;
        ranges_.resize(size_t{spec.heads} * count_ * runs_);
        break;
    }
  }

  void Run(BoundReport* report) {
    ForTiles([this](uint32_t h, uint32_t t, uint32_t c, size_t i) {
      if (!std::isfinite(values_[Bits(original_, i)])) finite_[h] = false;
    });
    ForTiles([this](uint32_t h, uint32_t t, uint32_t c, size_t i) {
      if (!finite_[h]) return;
      Range& range = ranges_[UnitOf(h, t, c)];
      const double x = values_[Bits(original_, i)];
      range.min = std::min(range.min, x);
      range.max = std::max(range.max, x);
    });
    ForTiles(
        [this, report](uint32_t h, uint32_t t, uint32_t c, size_t i) { CheckValue(h, t, c, i, report); });
  }

 private:
  template <typename Visit>
  void ForTiles(Visit&& visit) const {
    for (uint32_t h = 0; h < spec_.heads; ++h) {
      for (uint32_t t = 0; t < count_; ++t) {
        const size_t row = (size_t{h} * spec_.tokens + first_ + t) * spec_.channels;
        for (uint32_t c = 0; c < spec_.channels; ++c) visit(h, t, c, row + c);
      }
    }
  }

  uint32_t Bits(ByteSpan values, size_t i) const {
    if (ElementBytes(spec_.dtype) == 1) return std::to_integer<uint32_t>(values[i]);
    return std::to_integer<uint32_t>(values[2 * i]) | std::to_integer<uint32_t>(values[2 * i + 1]) << 8;
  }

  size_t UnitOf(uint32_t h, uint32_t t, uint32_t c) const {
    switch (spec_.unit) {
      case BoundUnit::kGroup:
        return 0;
      case BoundUnit::kChannel:
        return size_t{h} * spec_.channels + c;
      case BoundUnit::kToken:
        return t;
      case BoundUnit::kChannelRun:
        return (size_t{h} * spec_.channels + c) * runs_ + t / spec_.run;
      case BoundUnit::kTokenRun:
        return (size_t{h} * count_ + t) * runs_ + c / spec_.run;
    }
    return 0;
  }

  void CheckValue(uint32_t h, uint32_t t, uint32_t c, size_t i, BoundReport* report) const {
    const uint32_t x_bits = Bits(original_, i), y_bits = Bits(decoded_, i);
    ++report->values;
    if (x_bits == y_bits) return;
    ++report->changed;
    const double x = values_[x_bits], y = values_[y_bits];
    const double error = std::fabs(x - y);
    double limit = 0;
    if (spec_.rel > 0 && finite_[h]) {
      const double r = ranges_[UnitOf(h, t, c)].Radius(spec_.rel);
      limit = spec_.strict ? r : r * kSlack + half_ulps_[y_bits];
      if (r > 0) report->max_error_over_r = std::max(report->max_error_over_r, error / r);
    }
    report->max_error = std::max(report->max_error, error);
    if (limit > 0) report->max_error_over_bound = std::max(report->max_error_over_bound, error / limit);
    const bool must_be_equal = spec_.rel <= 0 || !finite_[h];
    if (!must_be_equal && error <= limit) return;  // false for NaN
    if (report->violations++ > 0) return;
    report->first_violation = absl::StrFormat(
        "head %u, token %u, channel %u: %.9g became %.9g, allowed is %.3g", h, first_ + t, c, x, y, limit);
  }

  const BoundSpec& spec_;
  const ByteSpan original_;
  const ByteSpan decoded_;
  const uint32_t first_;
  const uint32_t count_;
  const std::vector<double>& values_;
  const std::vector<double>& half_ulps_;
  uint32_t runs_ = 0;         // of a channel, or of a token
  std::vector<bool> finite_;  // [heads]
  std::vector<Range> ranges_;
};

}  // namespace

const std::vector<double>& ValueTable(DType dtype) {
  static const std::vector<double> bf16 = MakeTable(DType::kBf16, ValueOf);
  static const std::vector<double> fp16 = MakeTable(DType::kFp16, ValueOf);
  static const std::vector<double> e4m3 = MakeTable(DType::kFp8E4m3, ValueOf);
  static const std::vector<double> e5m2 = MakeTable(DType::kFp8E5m2, ValueOf);
  return dtype == DType::kFp16      ? fp16
         : dtype == DType::kFp8E4m3 ? e4m3
         : dtype == DType::kFp8E5m2 ? e5m2
                                    : bf16;
}

BoundSpec BoundSpecOf(const Profile& profile, Tensor tensor, DType dtype, uint32_t heads, uint32_t tokens,
                      uint32_t channels) {
  BoundSpec spec{.dtype = dtype, .heads = heads, .tokens = tokens, .channels = channels};
  const bool k = tensor == Tensor::kK;
  switch (profile.codec) {
    case CodecId::kRaw:
    case CodecId::kLossless:
      break;  // rel stays 0
    case CodecId::kKvcomp:
      spec.rel = profile.rel(tensor);
      spec.strict = profile.strict;
      if (k) {
        spec.unit = profile.k_unit == KUnit::kChannel ? BoundUnit::kChannel : BoundUnit::kGroup;
      } else {
        spec.unit = profile.v_unit == VUnit::kBlock ? BoundUnit::kGroup : BoundUnit::kToken;
      }
      break;
    case CodecId::kIntq:
      spec.rel = 2 * profile.ErrorBound(tensor);  // a step of the range's 2^bits - 1
      spec.unit = k ? BoundUnit::kChannelRun : BoundUnit::kTokenRun;
      spec.run = profile.group;
      break;
    case CodecId::kPackkv:
      spec.rel = profile.rel(tensor);
      spec.unit = BoundUnit::kToken;
      break;
  }
  return spec;
}

void BoundReport::Add(const BoundReport& other) {
  if (first_violation.empty()) first_violation = other.first_violation;
  values += other.values;
  changed += other.changed;
  violations += other.violations;
  max_error = std::max(max_error, other.max_error);
  max_error_over_r = std::max(max_error_over_r, other.max_error_over_r);
  max_error_over_bound = std::max(max_error_over_bound, other.max_error_over_bound);
}

absl::StatusOr<BoundReport> CheckBound(const BoundSpec& spec, ByteSpan original, ByteSpan decoded) {
  if (spec.dtype == DType::kOpaque) return absl::InvalidArgumentError("opaque values have no error bound");
  const uint64_t bytes = uint64_t{spec.heads} * spec.tokens * spec.channels * ElementBytes(spec.dtype);
  if (original.size() != bytes || decoded.size() != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("values of ", original.size(), " and ", decoded.size(),
                                                   " bytes, the shape has ", bytes));
  }
  BoundReport report;
  for (uint32_t first = 0; first < spec.tokens; first += kGroupTokens) {
    GroupCheck(spec, original, decoded, first).Run(&report);
  }
  return report;
}

}  // namespace kvcompd::client
