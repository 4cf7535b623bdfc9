// The vectors of float_convert-inl.h against codec/float_format.h, for every instruction set of the machine.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/codec/simd/float_convert_test.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/float_convert-inl.h"
// clang-format on

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "codec/base/types.h"
#include "codec/float_format.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

template <DType kType>
void WidenOf(const std::byte* values, size_t n, float* out) {
  const hn::ScalableTag<float> df;
  for (size_t i = 0; i < n; i += hn::Lanes(df)) {
    hn::StoreU(LoadAsFloat<kType>(df, values + i * ElementBytes(kType)), df, out + i);
  }
}

template <DType kType>
void RoundOf(const float* in, size_t n, std::byte* values) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<uint32_t, decltype(df)> du;
  for (size_t i = 0; i < n; i += hn::Lanes(df)) {
    const auto v = hn::LoadU(df, in + i);
    StoreFromFloat<kType>(df, v, values + i * ElementBytes(kType));
    HWY_ALIGN uint32_t bits[hn::MaxLanes(df)];
    hn::Store(RoundToBits<kType>(df, v), du, bits);
    for (size_t k = 0; k < hn::Lanes(df); ++k) {
      ASSERT_EQ(bits[k], BitsOfFloat(kType, in[i + k])) << std::hexfloat << in[i + k];
    }
  }
}

template <DType kType>
void KeysOf(const std::byte* values, size_t n, float* floats, bool* finite, bool* inverse) {
  const hn::ScalableTag<ElementOf<kType>> de;
  const hn::RebindToSigned<decltype(de)> di;
  *inverse = true;
  for (size_t i = 0; i < n; i += hn::Lanes(de)) {
    const auto bits = hn::LoadU(de, reinterpret_cast<const ElementOf<kType>*>(values) + i);
    const auto keys = OrderKeys<kType>(de, bits);
    *inverse &= hn::AllTrue(de, hn::Eq(BitsOfKeys<kType>(de, keys), bits));
    HWY_ALIGN KeyOf<kType> lanes[hn::MaxLanes(de)];
    hn::Store(keys, di, lanes);
    for (size_t k = 0; k < hn::Lanes(de); ++k) {
      finite[i + k] = KeyRange<kType>{lanes[k], lanes[k]}.finite();
      floats[i + k] = finite[i + k] ? FloatOfKey<kType>(lanes[k]) : 0;
    }
  }
}

template <DType kType>
void RowOf(const std::byte* values, size_t n, float* min, float* max, bool* finite) {
  const KeyRange<kType> range = RangeOfRow<kType>(values, n);
  *finite = range.finite();
  if (!*finite) return;
  *min = FloatOfKey<kType>(range.min);
  *max = FloatOfKey<kType>(range.max);
}

template <DType kType>
void ColumnsOf(const std::byte* values, size_t rows, size_t columns, float* mins, float* maxs, bool* finite) {
  std::vector<KeyOf<kType>> low(columns), high(columns);
  *finite =
      RangesOfColumns<kType>(values, rows, columns * ElementBytes(kType), columns, low.data(), high.data());
  if (!*finite) return;
  for (size_t c = 0; c < columns; ++c) {
    mins[c] = FloatOfKey<kType>(low[c]);
    maxs[c] = FloatOfKey<kType>(high[c]);
  }
}

// By dtype, as tables of functions cannot be templates.
#define KVCOMPD_BY_TYPE(Name, Of, Params, Args) \
  void Name Params {                            \
    switch (dtype) {                            \
      case DType::kBf16:                        \
        return Of<DType::kBf16> Args;           \
      case DType::kFp16:                        \
        return Of<DType::kFp16> Args;           \
      case DType::kFp8E4m3:                     \
        return Of<DType::kFp8E4m3> Args;        \
      case DType::kFp8E5m2:                     \
        return Of<DType::kFp8E5m2> Args;        \
      case DType::kOpaque:                      \
        break;                                  \
    }                                           \
    FAIL() << "no float";                       \
  }
KVCOMPD_BY_TYPE(Widen, WidenOf, (DType dtype, const std::byte* values, size_t n, float* out),
                (values, n, out))
KVCOMPD_BY_TYPE(Round, RoundOf, (DType dtype, const float* in, size_t n, std::byte* values), (in, n, values))
KVCOMPD_BY_TYPE(Keys, KeysOf,
                (DType dtype, const std::byte* values, size_t n, float* floats, bool* finite, bool* inverse),
                (values, n, floats, finite, inverse))
KVCOMPD_BY_TYPE(Row, RowOf,
                (DType dtype, const std::byte* values, size_t n, float* min, float* max, bool* finite),
                (values, n, min, max, finite))
KVCOMPD_BY_TYPE(Columns, ColumnsOf,
                (DType dtype, const std::byte* values, size_t rows, size_t columns, float* mins, float* maxs,
                 bool* finite),
                (values, rows, columns, mins, maxs, finite))
#undef KVCOMPD_BY_TYPE

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
HWY_EXPORT(Widen);
HWY_EXPORT(Round);
HWY_EXPORT(Keys);
HWY_EXPORT(Row);
HWY_EXPORT(Columns);
namespace {

class FloatConvertTest : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  uint32_t element_bytes() const { return ElementBytes(dtype()); }
  uint32_t patterns() const { return 1u << (8 * element_bytes()); }
  uint32_t ElementAt(const std::string& values, size_t i) const {
    const auto low = static_cast<uint8_t>(values[i * element_bytes()]);
    return element_bytes() == 1 ? low
                                : low | static_cast<uint32_t>(static_cast<uint8_t>(values[i * 2 + 1])) << 8;
  }

  std::string AllPatterns() const {
    std::string bytes;
    for (uint32_t b = 0; b < patterns(); ++b) {
      bytes.push_back(static_cast<char>(b));
      if (element_bytes() == 2) bytes.push_back(static_cast<char>(b >> 8));
    }
    return bytes;
  }
  // Random patterns, with non-finite ones where wanted.
  std::string Values(size_t n, bool finite, kvcompd::testing::Random* random) const {
    std::string bytes;
    while (bytes.size() < n * element_bytes()) {
      const auto bits = static_cast<uint32_t>(random->Below(patterns()));
      if (finite && !IsFinite(dtype(), bits)) continue;
      bytes.push_back(static_cast<char>(bits));
      if (element_bytes() == 2) bytes.push_back(static_cast<char>(bits >> 8));
    }
    return bytes;
  }

  // Runs fn on every Highway target, by its name.
  template <typename Fn>
  static void OnEveryTarget(const Fn& fn) {
    for (const SimdTarget target : SupportedSimdTargets()) {
      if (target == SimdTarget::kScalar) continue;
      SCOPED_TRACE(std::string(SimdTargetName(target)));
      UseSimdTarget(target);
      fn();
    }
    UseSimdTarget(SupportedSimdTargets().back());
  }
};

TEST_P(FloatConvertTest, WidensEveryFinitePattern) {
  std::string shifted(1, 'x');  // any address
  shifted += AllPatterns();
  std::vector<float> floats(patterns());
  OnEveryTarget([&] {
    HWY_DYNAMIC_DISPATCH(Widen)(dtype(), AsBytes(shifted).data() + 1, floats.size(), floats.data());
    for (uint32_t b = 0; b < patterns(); ++b) {
      if (!IsFinite(dtype(), b)) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(floats[b]), std::bit_cast<uint32_t>(FloatOfBits(dtype(), b))) << b;
    }
  });
}

TEST_P(FloatConvertTest, RoundsAsTheReference) {
  const FloatFormat f = FloatFormatOf(dtype());
  std::vector<float> in;
  for (uint32_t low = 0; low <= f.max_finite; ++low) {
    const float a = FloatOfBits(dtype(), low);
    const float b =
        low == f.max_finite ? a + (a - FloatOfBits(dtype(), low - 1)) : FloatOfBits(dtype(), low + 1);
    const float middle = a + (b - a) / 2;
    for (const float x : {a, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, INFINITY),
                          std::nextafter(a, INFINITY)}) {
      in.push_back(x);
      in.push_back(-x);
    }
  }
  for (uint32_t exp = 0; exp <= 0xff; ++exp) {  // every binade, up to Inf
    for (const uint32_t fraction : {0u, 1u, 0x400000u, 0x7fffffu, 0x123456u}) {
      if (exp == 0xff && fraction != 0) continue;
      in.push_back(std::bit_cast<float>(exp << 23 | fraction));
      in.push_back(-in.back());
    }
  }
  kvcompd::testing::Random random(11);
  while (in.size() % 64 != 0 || in.size() < 200000) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(random.Next()));
    if (!std::isnan(x)) in.push_back(x);
  }
  std::string values(1 + in.size() * element_bytes(), '\0');
  OnEveryTarget([&] {
    HWY_DYNAMIC_DISPATCH(Round)
    (dtype(), in.data(), in.size(), reinterpret_cast<std::byte*>(values.data()) + 1);
    const std::string unshifted = values.substr(1);
    for (size_t i = 0; i < in.size(); ++i) {
      ASSERT_EQ(ElementAt(unshifted, i), BitsOfFloat(dtype(), in[i])) << std::hexfloat << in[i];
    }
  });
}

TEST_P(FloatConvertTest, KeysHaveTheOrderOfTheValues) {
  const std::string all = AllPatterns();
  std::vector<float> floats(patterns());
  const auto finite = std::make_unique<bool[]>(patterns());
  OnEveryTarget([&] {
    bool inverse = false;
    HWY_DYNAMIC_DISPATCH(Keys)
    (dtype(), AsBytes(all).data(), patterns(), floats.data(), finite.get(), &inverse);
    EXPECT_TRUE(inverse);
    for (uint32_t b = 0; b < patterns(); ++b) {
      ASSERT_EQ(finite[b], IsFinite(dtype(), b)) << b;
      if (!finite[b]) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(floats[b]), std::bit_cast<uint32_t>(FloatOfBits(dtype(), b))) << b;
    }
  });
}

TEST_P(FloatConvertTest, ExtremesOfRows) {
  kvcompd::testing::Random random(3);
  OnEveryTarget([&] {
    for (size_t n = 1; n <= 200; ++n) {
      const bool want_finite = n % 4 != 0;
      const std::string values = Values(n, want_finite, &random);
      float want_min = INFINITY, want_max = -INFINITY;
      bool all_finite = true;
      for (size_t i = 0; i < n; ++i) {
        const uint32_t bits = ElementAt(values, i);
        all_finite &= IsFinite(dtype(), bits);
        want_min = std::fmin(want_min, FloatOfBits(dtype(), bits));
        want_max = std::fmax(want_max, FloatOfBits(dtype(), bits));
      }
      float min = NAN, max = NAN;
      bool finite = !all_finite;
      HWY_DYNAMIC_DISPATCH(Row)(dtype(), AsBytes(values).data(), n, &min, &max, &finite);
      ASSERT_EQ(finite, all_finite) << n;
      if (!finite) continue;
      ASSERT_EQ(min, want_min) << n;
      ASSERT_EQ(max, want_max) << n;
    }
  });
}

TEST_P(FloatConvertTest, ExtremesOfColumns) {
  kvcompd::testing::Random random(4);
  OnEveryTarget([&] {
    for (const size_t columns : {8u, 9u, 31u, 32u, 33u, 64u, 80u, 100u, 128u, 576u}) {
      for (const size_t rows : {1u, 2u, 5u, 64u}) {
        const std::string values = Values(rows * columns, true, &random);
        std::vector<float> mins(columns), maxs(columns);
        bool finite = false;
        HWY_DYNAMIC_DISPATCH(Columns)
        (dtype(), AsBytes(values).data(), rows, columns, mins.data(), maxs.data(), &finite);
        ASSERT_TRUE(finite);
        for (size_t c = 0; c < columns; ++c) {
          float min = INFINITY, max = -INFINITY;
          for (size_t row = 0; row < rows; ++row) {
            const float x = FloatOfBits(dtype(), ElementAt(values, row * columns + c));
            min = std::fmin(min, x);
            max = std::fmax(max, x);
          }
          ASSERT_EQ(mins[c], min) << rows << "x" << columns << " " << c;
          ASSERT_EQ(maxs[c], max) << rows << "x" << columns << " " << c;
        }
        // One value that is not finite, wherever it is.
        std::string bad = values;
        const size_t at = random.Below(static_cast<uint32_t>(rows * columns));
        const uint32_t bits = FloatFormatOf(dtype()).quiet_nan | (at % 2 ? FloatFormatOf(dtype()).sign : 0);
        bad[at * element_bytes()] = static_cast<char>(bits);
        if (element_bytes() == 2) bad[at * 2 + 1] = static_cast<char>(bits >> 8);
        HWY_DYNAMIC_DISPATCH(Columns)
        (dtype(), AsBytes(bad).data(), rows, columns, mins.data(), maxs.data(), &finite);
        ASSERT_FALSE(finite) << rows << "x" << columns << " " << at;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(AllTypes, FloatConvertTest,
                         ::testing::Values(DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace kvcompd::codec
#endif  // HWY_ONCE
