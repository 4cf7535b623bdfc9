#include "codec/simd/kvcomp_dequantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/kvcomp_dequantize.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/element_lookup-inl.h"
#include "codec/simd/float_convert-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace {  // other kernels have functions of these names

template <DType kType, class DF>
HWY_INLINE hn::Vec<hn::Rebind<ElementOf<kType>, DF>> ValuesOfCodes(DF df, const uint8_t* codes,
                                                                   hn::Vec<DF> zero, hn::Vec<DF> step,
                                                                   hn::Vec<DF> base) {
  const hn::Rebind<uint8_t, DF> d8;
  const hn::Rebind<int32_t, DF> di;
  const auto code = hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, codes)));
  return ElementsOfFloat<kType>(df, hn::Add(hn::Mul(hn::Add(code, zero), step), base));
}

// n codes, of which whole vectors are read, to exactly n elements.
template <DType kType, UnitsOfRow kUnits>
HWY_INLINE void ValuesOfRow(const uint8_t* codes, size_t n, const UnitTable& units, size_t u,
                            std::byte* out) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<ElementOf<kType>, decltype(df)> de;
  auto* const to = reinterpret_cast<ElementOf<kType>*>(out);
  auto zero = hn::Set(df, units.zero[u]), step = hn::Set(df, units.step[u]),
       base = hn::Set(df, units.base[u]);
  for (size_t c = 0; c < n; c += hn::Lanes(df)) {
    if constexpr (kUnits == UnitsOfRow::kPerChannel) {
      zero = hn::LoadU(df, units.zero + u + c);
      step = hn::LoadU(df, units.step + u + c);
      base = hn::LoadU(df, units.base + u + c);
    }
    const auto values = ValuesOfCodes<kType>(df, codes + c, zero, step, base);
    if (HWY_LIKELY(c + hn::Lanes(df) <= n)) {
      hn::StoreU(values, de, to + c);
    } else {
      StoreFirst(values, de, to + c, n - c);
    }
  }
}

constexpr uint32_t kMaxTableSymbols = 128;

// The values of codes 0 to kMaxTableSymbols - 1, as many as there are symbols and whole vectors of them.
template <DType kType>
struct ValueTable {
  HWY_ALIGN uint8_t codes[kMaxTableSymbols];
  HWY_ALIGN ElementOf<kType> values[kMaxTableSymbols];

  HWY_INLINE explicit ValueTable(uint32_t symbols) {
    for (uint32_t s = 0; s < kMaxTableSymbols; ++s) codes[s] = static_cast<uint8_t>(s);
    for (auto& value : values) value = 0;
  }
  HWY_INLINE void Fill(uint32_t symbols, const UnitTable& units, size_t u) {
    const uint32_t whole = (symbols + 15) / 16 * 16;
    ValuesOfRow<kType, UnitsOfRow::kOne>(codes, whole, units, u, reinterpret_cast<std::byte*>(values));
  }
};

template <DType kType>
void DequantizeType(const CodeTile& tile, UnitsOfRow units_of_row, uint32_t unit_step, const UnitTable& units,
                    std::byte* out) {
  const size_t row_bytes = size_t{tile.channels} * sizeof(ElementOf<kType>);
  if (units_of_row == UnitsOfRow::kPerChannel) {
    for (uint32_t t = 0; t < tile.tokens; ++t, out += row_bytes) {
      ValuesOfRow<kType, UnitsOfRow::kPerChannel>(tile.rows[t], tile.channels, units, 0, out);
    }
    return;
  }
  // A table pays where it has fewer values than the rows that it serves.
  const uint32_t table_rows = unit_step == 0 ? tile.tokens : 1;
  const bool lookup = CanLookUpElements<ElementOf<kType>>(tile.symbols) &&
                      2 * tile.symbols <= uint64_t{table_rows} * tile.channels;
  ValueTable<kType> table(tile.symbols);
  for (uint32_t t = 0; t < tile.tokens; ++t, out += row_bytes) {
    if (!lookup) {
      ValuesOfRow<kType, UnitsOfRow::kOne>(tile.rows[t], tile.channels, units, t * unit_step, out);
      continue;
    }
    if (t % table_rows == 0) table.Fill(tile.symbols, units, t * unit_step);
    LookUpElements(table.values, tile.symbols, tile.rows[t], tile.channels,
                   reinterpret_cast<ElementOf<kType>*>(out));
  }
}

void DequantizeSimd(DType dtype, const CodeTile& tile, UnitsOfRow units_of_row, uint32_t unit_step,
                    const UnitTable& units, std::byte* out) {
  switch (dtype) {
    case DType::kFp16:
      return DequantizeType<DType::kFp16>(tile, units_of_row, unit_step, units, out);
    case DType::kFp8E4m3:
      return DequantizeType<DType::kFp8E4m3>(tile, units_of_row, unit_step, units, out);
    case DType::kFp8E5m2:
      return DequantizeType<DType::kFp8E5m2>(tile, units_of_row, unit_step, units, out);
    case DType::kBf16:
    case DType::kOpaque:
      return DequantizeType<DType::kBf16>(tile, units_of_row, unit_step, units, out);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace {
HWY_EXPORT(DequantizeSimd);
}  // namespace

void DequantizeTile(DType dtype, const CodeTile& tile, UnitsOfRow units_of_row, uint32_t unit_step,
                    const UnitTable& units, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeSimd)(dtype, tile, units_of_row, unit_step, units, out);
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
