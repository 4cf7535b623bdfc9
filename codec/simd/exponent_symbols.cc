#include "codec/simd/exponent_symbols.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/exponent_symbols.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/float_parts-inl.h"
// clang-format on

#include <algorithm>
#include <bit>
#include <cstring>

#include "codec/bit_io.h"
#include "codec/simd/float_fields.h"
#include "codec/simd/targets.h"

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

// Walks through the channels' arrays a vector at a time.
class ChannelCursor {
 public:
  explicit ChannelCursor(const ExponentChannels& of)
      : of_(of), advance_(static_cast<uint32_t>(ByteLanes()) % of.period) {}

  HWY_INLINE Bytes tops() const { return hn::LoadU(ByteTag(), of_.tops + at_); }
  HWY_INLINE Bytes bits() const { return hn::LoadU(ByteTag(), of_.bits + at_); }
  HWY_INLINE void Next() {
    at_ += advance_;
    if (at_ >= of_.period) at_ -= of_.period;
  }

 private:
  const ExponentChannels of_;
  const uint32_t advance_;
  uint32_t at_ = 0;
};

// How far exponents are below the top: 15 for what is farther, or above, which wraps around.
HWY_INLINE Bytes DepthsOf(Bytes exponents, Bytes tops) {
  return hn::Min(hn::Sub(tops, exponents), hn::Set(ByteTag(), uint8_t{kEscapeDepth}));
}

template <DType kType>
void Split(const uint8_t* values, uint32_t n, uint8_t* exponents, uint8_t* signs, uint8_t* plane,
           uint8_t* fields) {
  constexpr size_t kLanes = ByteLanes();
  constexpr size_t kBytes = ElementBytes(kType);
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kCoded);
  const ByteTag d;
  const FieldVectors vectors(kFields.side_bits);
  for (uint32_t i = 0; i < n; i += kLanes) {
    const size_t count = std::min<size_t>(kLanes, n - i);
    const bool whole = count == kLanes;
    HWY_ALIGN uint8_t last[2 * kLanes] = {};
    if (!whole) std::memcpy(last, values + i * kBytes, count * kBytes);
    const auto v = CodedSignVectors<kType>::Load(whole ? values + i * kBytes : last);
    hn::StoreU(v.exponent, d, exponents + i);
    hn::StoreU(v.sign, d, signs + i);
    vectors.Pack(v.side, fields + i / 8 * kFields.side_bits);
    if constexpr (kFields.plane) {
      if (whole) {
        hn::StoreU(v.plane, d, plane + i);
      } else {
        hn::Store(v.plane, d, last);
        std::memcpy(plane + i, last, count);
      }
    }
  }
}

// costs[index] for indices under 64.
class CostTable {
 public:
  explicit CostTable(const uint8_t* costs) {
#if HWY_TARGET <= HWY_AVX3_DL
    table_[0] = hn::LoadU(ByteTag(), costs);
#else
    const hn::CappedTag<uint8_t, 16> block;
    for (size_t i = 0; i < 4; ++i) {
#if HWY_TARGET <= HWY_AVX2
      const auto part = hn::LoadU(block, costs + 16 * i);
      table_[i] = hn::Combine(ByteTag(), part, part);
#else
      table_[i] = hn::LoadU(block, costs + 16 * i);
#endif
    }
#endif
  }

  HWY_INLINE Bytes Find(Bytes index) const {
#if HWY_TARGET <= HWY_AVX3_DL
    return Bytes{_mm512_permutexvar_epi8(index.raw, table_[0].raw)};
#else
    const ByteTag d;
    const auto low = hn::And(index, hn::Set(d, uint8_t{15}));
    const auto odd = hn::TestBit(index, hn::Set(d, uint8_t{16}));
    const auto first =
        hn::IfThenElse(odd, hn::TableLookupBytes(table_[1], low), hn::TableLookupBytes(table_[0], low));
    const auto second =
        hn::IfThenElse(odd, hn::TableLookupBytes(table_[3], low), hn::TableLookupBytes(table_[2], low));
    return hn::IfThenElse(hn::TestBit(index, hn::Set(d, uint8_t{32})), second, first);
#endif
  }

 private:
  Bytes table_[4];
};

void CostsSimd(const uint8_t* exponents, const uint8_t* signs, uint32_t tokens, uint32_t channels,
               const ExponentChannels& of, const uint8_t* costs, uint32_t* sums) {
  constexpr uint32_t kLanes = ByteLanes();
  const ByteTag d;
  const WordTag dw;
  const CostTable table(costs);
  ChannelCursor cursor(of);
  for (uint32_t c = 0; c < channels; c += kLanes, cursor.Next()) {
    const auto tops = cursor.tops(), bits = cursor.bits();
    auto even = hn::Zero(dw), odd = hn::Zero(dw);  // 64 tokens of at most 255
    for (uint32_t t = 0; t < tokens; ++t) {
      const size_t at = size_t{t} * channels + c;
      const auto depths = DepthsOf(hn::LoadU(d, exponents + at), tops);
      const auto index = hn::Xor(hn::Or(hn::Add(depths, depths), hn::LoadU(d, signs + at)), bits);
      const auto cost = hn::BitCast(dw, table.Find(index));
      even = hn::Add(even, hn::And(cost, hn::Set(dw, uint16_t{0xff})));
      odd = hn::Add(odd, hn::ShiftRight<8>(cost));
    }
    HWY_ALIGN uint16_t lanes[2][kLanes / 2];
    hn::Store(even, dw, lanes[0]);
    hn::Store(odd, dw, lanes[1]);
    const uint32_t count = std::min(kLanes, channels - c);
    for (uint32_t k = 0; k < count; ++k) sums[c + k] = lanes[k % 2][k / 2];
  }
}

uint32_t SymbolsSimd(const uint8_t* exponents, const uint8_t* signs, uint32_t n, const ExponentChannels& of,
                     uint8_t* symbols, uint8_t* list) {
  constexpr uint32_t kLanes = ByteLanes();
  const ByteTag d;
  const auto escape = hn::Set(d, uint8_t{kEscapeDepth}), one = hn::Set(d, uint8_t{1});
  ChannelCursor cursor(of);
  const uint8_t* const list_begin = list;
  for (uint32_t i = 0; i < n; i += kLanes, cursor.Next()) {
    const auto v = hn::LoadU(d, exponents + i);
    const auto depths = DepthsOf(v, cursor.tops());
    const auto flips = hn::And(cursor.bits(), one);
    hn::StoreU(hn::Xor(hn::Or(hn::Add(depths, depths), hn::LoadU(d, signs + i)), flips), d, symbols + i);
    uint64_t escapes = BitsOfMask(hn::Eq(depths, escape));
    if (n - i < kLanes) escapes &= (uint64_t{1} << (n - i)) - 1;
    if (escapes != 0) list = CompressBytes(v, escapes, list);
  }
  return static_cast<uint32_t>(list - list_begin);
}

template <DType kType>
bool Decode(const uint8_t* symbols, uint32_t n, const ExponentChannels& of, const uint8_t* plane,
            const uint8_t* fields, const uint8_t* list, uint32_t num_escapes, uint8_t* values) {
  constexpr size_t kLanes = ByteLanes();
  constexpr size_t kBytes = ElementBytes(kType);
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kCoded);
  const ByteTag d;
  const FieldVectors vectors(kFields.side_bits);
  const auto escape = hn::Set(d, uint8_t{2 * kEscapeDepth}), one = hn::Set(d, uint8_t{1});
  const uint8_t* const list_end = list + num_escapes;
  ChannelCursor cursor(of);
  auto largest = hn::Zero(d);
  uint32_t found = 0;
  for (uint32_t i = 0; i < n; i += kLanes, cursor.Next()) {
    const size_t count = std::min<size_t>(kLanes, n - i);
    const bool whole = count == kLanes;
    HWY_ALIGN uint8_t last[2 * kLanes] = {};
    CodedSignVectors<kType> v;
    v.side = vectors.Unpack(fields + i / 8 * kFields.side_bits);
    if constexpr (kFields.plane) {
      if (!whole) std::memcpy(last, plane + i, count);
      v.plane = hn::LoadU(d, whole ? plane + i : last);
    }
    auto s = hn::LoadU(d, symbols + i);
    uint64_t present = ~uint64_t{0};
    if (!whole) {
      present = (uint64_t{1} << count) - 1;
      std::memset(last + kLanes, 0, kLanes);
      std::memset(last + kLanes, 0xff, count);
      s = hn::And(s, hn::Load(d, last + kLanes));  // what is beyond the end is no escape
    }
    v.sign = hn::And(hn::Xor(s, cursor.bits()), one);
    v.exponent = hn::Sub(cursor.tops(), ShiftRightBytes(s, 1, hn::Set(d, uint8_t{kEscapeDepth})));
    const uint64_t escapes = BitsOfMask(hn::Eq(hn::AndNot(one, s), escape)) & present;
    if (escapes != 0) {
      const auto number = static_cast<uint32_t>(std::popcount(escapes));
      found += number;
      if (number <= static_cast<size_t>(list_end - list)) {
        v.exponent = ExpandBytes(v.exponent, escapes, list);
        list += number;
      }
    }
    if (whole) {
      largest = hn::Max(largest, v.exponent);
      v.Store(values + i * kBytes);
    } else {
      largest = hn::Max(largest, hn::And(v.exponent, hn::Load(d, last + kLanes)));
      v.Store(last);
      std::memcpy(values + i * kBytes, last, count * kBytes);
    }
  }
  const auto limit = hn::Set(d, static_cast<uint8_t>(kFields.max_exponent()));
  return found == num_escapes && BitsOfMask(hn::Ne(hn::Max(largest, limit), limit)) == 0;
}

void SplitSimd(DType dtype, const uint8_t* values, uint32_t n, uint8_t* exponents, uint8_t* signs,
               uint8_t* plane, uint8_t* fields) {
  switch (dtype) {
    case DType::kFp16:
      return Split<DType::kFp16>(values, n, exponents, signs, plane, fields);
    case DType::kFp8E4m3:
      return Split<DType::kFp8E4m3>(values, n, exponents, signs, plane, fields);
    case DType::kFp8E5m2:
      return Split<DType::kFp8E5m2>(values, n, exponents, signs, plane, fields);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  Split<DType::kBf16>(values, n, exponents, signs, plane, fields);
}

bool DecodeSymbolsSimd(DType dtype, const uint8_t* symbols, uint32_t n, const ExponentChannels& of,
                       const uint8_t* plane, const uint8_t* fields, const uint8_t* list, uint32_t num_escapes,
                       uint8_t* values) {
  switch (dtype) {
    case DType::kFp16:
      return Decode<DType::kFp16>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kFp8E4m3:
      return Decode<DType::kFp8E4m3>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kFp8E5m2:
      return Decode<DType::kFp8E5m2>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Decode<DType::kBf16>(symbols, n, of, plane, fields, list, num_escapes, values);
}

#else   // HWY_TARGET == HWY_SCALAR: the reference stands in for it, see below
void SplitSimd(DType, const uint8_t*, uint32_t, uint8_t*, uint8_t*, uint8_t*, uint8_t*) {}
void CostsSimd(const uint8_t*, const uint8_t*, uint32_t, uint32_t, const ExponentChannels&, const uint8_t*,
               uint32_t*) {}
uint32_t SymbolsSimd(const uint8_t*, const uint8_t*, uint32_t, const ExponentChannels&, uint8_t*, uint8_t*) {
  return 0;
}
bool DecodeSymbolsSimd(DType, const uint8_t*, uint32_t, const ExponentChannels&, const uint8_t*,
                       const uint8_t*, const uint8_t*, uint32_t, uint8_t*) {
  return false;
}
#endif  // HWY_TARGET != HWY_SCALAR

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace scalar {
namespace {

uint32_t DepthOf(uint8_t exponent, uint8_t top) {
  return std::min<uint32_t>(static_cast<uint8_t>(top - exponent), kEscapeDepth);
}

template <DType kType>
void Split(const std::byte* values, uint32_t n, uint8_t* exponents, uint8_t* signs, std::byte* plane,
           std::byte* fields) {
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kCoded);
  constexpr uint32_t kSideMask = (1u << kFields.side_bits) - 1;
  BitWriter bits({fields, (size_t{n} * kFields.side_bits + 7) / 8});
  for (uint32_t i = 0; i < n; ++i) {
    const FloatParts parts = PartsOf<kType>(LoadElement<kType>(values, i));
    exponents[i] = static_cast<uint8_t>(parts.exponent);
    signs[i] = static_cast<uint8_t>(parts.sign);
    if constexpr (kFields.plane) plane[i] = static_cast<std::byte>(parts.mantissa & 0xff);
    bits.Put((kFields.plane ? parts.mantissa >> 8 : parts.mantissa) & kSideMask, kFields.side_bits);
  }
  bits.Finish();
}

template <DType kType>
bool Decode(const uint8_t* symbols, uint32_t n, const ExponentChannels& of, const std::byte* plane,
            const std::byte* fields, const std::byte* list, uint32_t num_escapes, std::byte* values) {
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kCoded);
  const ByteSpan bits(fields, (size_t{n} * kFields.side_bits + 7) / 8);
  uint32_t found = 0, largest = 0;
  for (uint32_t i = 0, c = 0; i < n; ++i) {
    const uint32_t depth = symbols[i] >> 1;
    uint32_t exponent = static_cast<uint8_t>(of.tops[c] - depth);
    if (depth == kEscapeDepth) {
      if (found < num_escapes) exponent = static_cast<uint32_t>(list[found]);
      ++found;
    }
    largest = std::max(largest, exponent);
    const uint32_t side = static_cast<uint32_t>(LoadBits(bits, uint64_t{i} * kFields.side_bits)) &
                          ((1u << kFields.side_bits) - 1);
    const uint32_t mantissa = kFields.plane ? side << 8 | static_cast<uint32_t>(plane[i]) : side;
    const uint32_t sign = (symbols[i] ^ of.bits[c]) & 1;
    StoreElement<kType>(
        BitsOfParts<kType>(
            {.exponent = exponent & kFields.max_exponent(), .sign = sign, .mantissa = mantissa}),
        values, i);
    c = c + 1 == of.period ? 0 : c + 1;
  }
  return found == num_escapes && largest <= kFields.max_exponent();
}

void SplitExponents(DType dtype, const std::byte* values, uint32_t n, uint8_t* exponents, uint8_t* signs,
                    std::byte* plane, std::byte* fields) {
  switch (dtype) {
    case DType::kFp16:
      return Split<DType::kFp16>(values, n, exponents, signs, plane, fields);
    case DType::kFp8E4m3:
      return Split<DType::kFp8E4m3>(values, n, exponents, signs, plane, fields);
    case DType::kFp8E5m2:
      return Split<DType::kFp8E5m2>(values, n, exponents, signs, plane, fields);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  Split<DType::kBf16>(values, n, exponents, signs, plane, fields);
}

void CostsOfSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t tokens, uint32_t channels,
                    const ExponentChannels& of, const uint8_t* costs, uint32_t* sums) {
  for (uint32_t c = 0; c < channels; ++c) {
    const uint8_t top = of.tops[c % of.period], bits = of.bits[c % of.period];
    uint32_t sum = 0;
    for (uint32_t t = 0; t < tokens; ++t) {
      const size_t i = size_t{t} * channels + c;
      sum += costs[(2 * DepthOf(exponents[i], top) + signs[i]) ^ bits];
    }
    sums[c] = sum;
  }
}

uint32_t ExponentSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t n,
                         const ExponentChannels& of, uint8_t* symbols, std::byte* list) {
  uint32_t escapes = 0;
  for (uint32_t i = 0, c = 0; i < n; ++i) {
    const uint32_t depth = DepthOf(exponents[i], of.tops[c]);
    symbols[i] = static_cast<uint8_t>((2 * depth + signs[i]) ^ (of.bits[c] & 1));
    if (depth == kEscapeDepth) list[escapes++] = static_cast<std::byte>(exponents[i]);
    c = c + 1 == of.period ? 0 : c + 1;
  }
  return escapes;
}

bool DecodeExponentSymbols(DType dtype, const uint8_t* symbols, uint32_t n, const ExponentChannels& of,
                           const std::byte* plane, const std::byte* fields, const std::byte* list,
                           uint32_t num_escapes, std::byte* values) {
  switch (dtype) {
    case DType::kFp16:
      return Decode<DType::kFp16>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kFp8E4m3:
      return Decode<DType::kFp8E4m3>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kFp8E5m2:
      return Decode<DType::kFp8E5m2>(symbols, n, of, plane, fields, list, num_escapes, values);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Decode<DType::kBf16>(symbols, n, of, plane, fields, list, num_escapes, values);
}

const uint8_t* Chars(const std::byte* bytes) { return reinterpret_cast<const uint8_t*>(bytes); }
uint8_t* Chars(std::byte* bytes) { return reinterpret_cast<uint8_t*>(bytes); }

}  // namespace
}  // namespace scalar

HWY_EXPORT(SplitSimd);
HWY_EXPORT(CostsSimd);
HWY_EXPORT(SymbolsSimd);
HWY_EXPORT(DecodeSymbolsSimd);

void SplitExponents(DType dtype, const std::byte* values, uint32_t n, uint8_t* exponents, uint8_t* signs,
                    std::byte* plane, std::byte* fields) {
  if (ScalarOnly()) return scalar::SplitExponents(dtype, values, n, exponents, signs, plane, fields);
  HWY_DYNAMIC_DISPATCH(SplitSimd)
  (dtype, scalar::Chars(values), n, exponents, signs, scalar::Chars(plane), scalar::Chars(fields));
}

void CostsOfSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t tokens, uint32_t channels,
                    const ExponentChannels& of, const uint8_t* costs, uint32_t* sums) {
  if (ScalarOnly()) return scalar::CostsOfSymbols(exponents, signs, tokens, channels, of, costs, sums);
  HWY_DYNAMIC_DISPATCH(CostsSimd)(exponents, signs, tokens, channels, of, costs, sums);
}

uint32_t ExponentSymbols(const uint8_t* exponents, const uint8_t* signs, uint32_t n,
                         const ExponentChannels& of, uint8_t* symbols, std::byte* escape_list) {
  if (ScalarOnly()) return scalar::ExponentSymbols(exponents, signs, n, of, symbols, escape_list);
  return HWY_DYNAMIC_DISPATCH(SymbolsSimd)(exponents, signs, n, of, symbols, scalar::Chars(escape_list));
}

bool DecodeExponentSymbols(DType dtype, const uint8_t* symbols, uint32_t n, const ExponentChannels& of,
                           const std::byte* plane, const std::byte* fields, const std::byte* escape_list,
                           uint32_t num_escapes, std::byte* values) {
  if (ScalarOnly()) {
    return scalar::DecodeExponentSymbols(dtype, symbols, n, of, plane, fields, escape_list, num_escapes,
                                         values);
  }
  return HWY_DYNAMIC_DISPATCH(DecodeSymbolsSimd)(dtype, symbols, n, of, scalar::Chars(plane),
                                                 scalar::Chars(fields), scalar::Chars(escape_list),
                                                 num_escapes, scalar::Chars(values));
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
