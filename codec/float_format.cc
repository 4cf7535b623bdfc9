#include "codec/float_format.h"

#include <cfenv>
#include <cstring>

namespace kvcompd::codec {
namespace {

template <DType kType>
using Element = std::conditional_t<ElementBytes(kType) == 2, uint16_t, uint8_t>;

// Calls fn.operator()<dtype>(), so that the loops below know the format at compile time.
template <typename Fn>
auto WithType(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kFp16:
      return fn.template operator()<DType::kFp16>();
    case DType::kFp8E4m3:
      return fn.template operator()<DType::kFp8E4m3>();
    case DType::kFp8E5m2:
      return fn.template operator()<DType::kFp8E5m2>();
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return fn.template operator()<DType::kBf16>();
}

template <DType kType>
Element<kType> Load(const std::byte* values, size_t i) {
  Element<kType> e;
  std::memcpy(&e, values + i * sizeof e, sizeof e);
  return e;
}

}  // namespace

bool AllFinite(DType dtype, const std::byte* values, size_t n) {
  return WithType(dtype, [&]<DType kType>() {
    constexpr FloatFormat kFormat = FloatFormatOf(kType);
    constexpr auto kMagnitude = static_cast<Element<kType>>(kFormat.sign - 1);
    bool bad = false;
    for (size_t i = 0; i < n; ++i) bad |= (Load<kType>(values, i) & kMagnitude) > kFormat.max_finite;
    return !bad;
  });
}

void FloatsOfValues(DType dtype, const std::byte* values, size_t n, float* out) {
  WithType(dtype, [&]<DType kType>() {
    for (size_t i = 0; i < n; ++i) out[i] = FloatOfBits(kType, Load<kType>(values, i));
  });
}

void ValuesOfFloats(DType dtype, const float* in, size_t n, std::byte* values) {
  WithType(dtype, [&]<DType kType>() {
    for (size_t i = 0; i < n; ++i) {
      const auto e = static_cast<Element<kType>>(BitsOfFloat(kType, in[i]));
      std::memcpy(values + i * sizeof e, &e, sizeof e);
    }
  });
}

void RoundFloats(DType dtype, const float* in, size_t n, float* out) {
  WithType(dtype, [&]<DType kType>() {
    for (size_t i = 0; i < n; ++i) out[i] = FloatOfBits(kType, BitsOfFloat(kType, in[i]));
  });
}

absl::Status CheckFloatEnvironment() {
  volatile float denormal = std::bit_cast<float>(uint32_t{0x00400000});  // volatile: at run time
  const float doubled = denormal * 2;                                    // the smallest normal number
  const float halved = doubled * 0.5f;
  if (std::fegetround() != FE_TONEAREST || std::bit_cast<uint32_t>(halved) != 0x00400000) {
    return absl::FailedPreconditionError(
        "this thread's floating-point environment must round to nearest and keep denormals");
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
