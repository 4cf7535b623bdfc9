#include "codec/simd/exponent_codes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/exponent_codes.cc"
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

template <DType kType>
class ExponentCoder {
 public:
  static constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kRaw);

  explicit ExponentCoder(ExponentCode code)
      : width_(code.width),
        fields_(code.width + kFields.side_bits),
        base_(hn::Set(ByteTag(), code.base)),
        escape_(hn::Set(ByteTag(), static_cast<uint8_t>(code.escape()))) {}

  const FieldVectors& fields() const { return fields_; }

  // One vector of values; returns the place after its escapes.
  HWY_INLINE uint8_t* Encode(const uint8_t* values, uint8_t* plane, uint8_t* fields, uint8_t* list) const {
    const ByteTag d;
    const auto v = RawSignVectors<kType>::Load(values);
    if constexpr (kFields.plane) hn::StoreU(v.plane, d, plane);
    const auto codes = hn::Min(hn::Sub(v.exponent, base_), escape_);  // what is below the base wraps around
    const uint64_t escapes = BitsOfMask(hn::Eq(codes, escape_));
    auto packed = codes;
    if constexpr (kFields.side_bits > 0) {
      packed = hn::Or(codes, ShiftLeftBytes(v.side, static_cast<int>(width_), hn::Set(d, uint8_t{0xff})));
    }
    fields_.Pack(packed, fields);
    return escapes == 0 ? list : CompressBytes(v.exponent, escapes, list);
  }

  // One vector of values. *list moves past its escapes, unless there are fewer left; *found counts them.
  HWY_INLINE void Decode(const uint8_t* plane, const uint8_t* fields, const uint8_t** list,
                         const uint8_t* list_end, uint32_t* found, uint8_t* values) const {
    const ByteTag d;
    RawSignVectors<kType> v;
    const auto packed = fields_.Unpack(fields);
    const auto codes = hn::And(packed, escape_);
    if constexpr (kFields.side_bits > 0) {
      v.side = ShiftRightBytes(packed, static_cast<int>(width_),
                               hn::Set(d, static_cast<uint8_t>((1u << kFields.side_bits) - 1)));
    }
    if constexpr (kFields.plane) v.plane = hn::LoadU(d, plane);
    v.exponent = hn::Add(codes, base_);
    const uint64_t escapes = BitsOfMask(hn::Eq(codes, escape_));
    if (escapes != 0) {
      const auto count = static_cast<uint32_t>(std::popcount(escapes));
      *found += count;
      if (count <= static_cast<size_t>(list_end - *list)) {
        v.exponent = ExpandBytes(v.exponent, escapes, *list);
        *list += count;
      }
    }
    v.Store(values);
  }

 private:
  const uint32_t width_;
  const FieldVectors fields_;
  const Bytes base_, escape_;
};

template <DType kType>
uint32_t Encode(const uint8_t* values, uint32_t n, ExponentCode code, uint8_t* plane, uint8_t* fields,
                uint8_t* list) {
  constexpr size_t kLanes = ByteLanes();
  constexpr size_t kBytes = ElementBytes(kType);
  const ExponentCoder<kType> coder(code);
  const size_t step = coder.fields().vector_bytes();
  const uint32_t width = code.width + coder.kFields.side_bits;
  const uint8_t* const fields_end = fields + (uint64_t{n} * width + 7) / 8;
  uint8_t* const list_begin = list;
  uint32_t i = 0;
  for (; i + kLanes <= n && coder.fields().write_bytes() <= static_cast<size_t>(fields_end - fields);
       i += kLanes, fields += step) {
    list = coder.Encode(values + i * kBytes, plane + i, fields, list);
  }
  // What is left goes through buffers that take whole vectors. Beyond the end stand values of the base, whose
  // code is 0, so that they are no escapes and the padding is zero.
  for (; i < n; i += kLanes, fields += step) {
    const size_t count = std::min<size_t>(kLanes, n - i);
    HWY_ALIGN uint8_t v[2 * kLanes], p[kLanes], f[kLanes + 16] = {};
    for (size_t k = count; k < kLanes; ++k) {
      StoreElement<kType>(BitsOfParts<kType>({.exponent = code.base, .sign = 0, .mantissa = 0}),
                          reinterpret_cast<std::byte*>(v), k);
    }
    std::memcpy(v, values + i * kBytes, count * kBytes);
    list = coder.Encode(v, p, f, list);
    if constexpr (ExponentCoder<kType>::kFields.plane) std::memcpy(plane + i, p, count);
    std::memcpy(fields, f, (count * width + 7) / 8);
  }
  return static_cast<uint32_t>(list - list_begin);
}

template <DType kType>
bool Decode(const uint8_t* plane, const uint8_t* fields, uint32_t n, ExponentCode code, const uint8_t* list,
            uint32_t num_escapes, uint8_t* values) {
  constexpr size_t kLanes = ByteLanes();
  constexpr size_t kBytes = ElementBytes(kType);
  const ExponentCoder<kType> coder(code);
  const size_t step = coder.fields().vector_bytes();
  const uint32_t width = code.width + coder.kFields.side_bits;
  const uint8_t* const fields_end = fields + (uint64_t{n} * width + 7) / 8;
  const uint8_t* const list_end = list + num_escapes;
  uint32_t found = 0, i = 0;
  for (; i + kLanes <= n && coder.fields().read_bytes() <= static_cast<size_t>(fields_end - fields);
       i += kLanes, fields += step) {
    coder.Decode(plane + i, fields, &list, list_end, &found, values + i * kBytes);
  }
  for (; i < n; i += kLanes, fields += step) {
    const size_t count = std::min<size_t>(kLanes, n - i);
    HWY_ALIGN uint8_t v[2 * kLanes], p[kLanes] = {}, f[kLanes + 16] = {};
    if constexpr (ExponentCoder<kType>::kFields.plane) std::memcpy(p, plane + i, count);
    std::memcpy(f, fields, (count * width + 7) / 8);
    coder.Decode(p, f, &list, list_end, &found, v);
    std::memcpy(values + i * kBytes, v, count * kBytes);
  }
  return found == num_escapes;
}

uint32_t EncodeSimd(DType dtype, const uint8_t* values, uint32_t n, ExponentCode code, uint8_t* plane,
                    uint8_t* fields, uint8_t* list) {
  switch (dtype) {
    case DType::kFp16:
      return Encode<DType::kFp16>(values, n, code, plane, fields, list);
    case DType::kFp8E4m3:
      return Encode<DType::kFp8E4m3>(values, n, code, plane, fields, list);
    case DType::kFp8E5m2:
      return Encode<DType::kFp8E5m2>(values, n, code, plane, fields, list);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Encode<DType::kBf16>(values, n, code, plane, fields, list);
}

bool DecodeSimd(DType dtype, const uint8_t* plane, const uint8_t* fields, uint32_t n, ExponentCode code,
                const uint8_t* list, uint32_t num_escapes, uint8_t* values) {
  switch (dtype) {
    case DType::kFp16:
      return Decode<DType::kFp16>(plane, fields, n, code, list, num_escapes, values);
    case DType::kFp8E4m3:
      return Decode<DType::kFp8E4m3>(plane, fields, n, code, list, num_escapes, values);
    case DType::kFp8E5m2:
      return Decode<DType::kFp8E5m2>(plane, fields, n, code, list, num_escapes, values);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Decode<DType::kBf16>(plane, fields, n, code, list, num_escapes, values);
}

#else   // HWY_TARGET == HWY_SCALAR: the reference stands in for it
uint32_t EncodeSimd(DType, const uint8_t*, uint32_t, ExponentCode, uint8_t*, uint8_t*, uint8_t*) { return 0; }
bool DecodeSimd(DType, const uint8_t*, const uint8_t*, uint32_t, ExponentCode, const uint8_t*, uint32_t,
                uint8_t*) {
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

template <DType kType>
uint32_t Encode(const std::byte* values, uint32_t n, ExponentCode code, std::byte* plane, std::byte* fields,
                std::byte* list) {
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kRaw);
  const uint32_t width = code.width + kFields.side_bits;
  BitWriter bits({fields, (size_t{n} * width + 7) / 8});
  uint32_t escapes = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const FloatParts parts = PartsOf<kType>(LoadElement<kType>(values, i));
    if constexpr (kFields.plane) plane[i] = static_cast<std::byte>(RawSignPlane<kType>(parts));
    const uint32_t c = std::min((parts.exponent - code.base) & 0xff, code.escape());
    if (c == code.escape()) list[escapes++] = static_cast<std::byte>(parts.exponent);
    bits.Put(c | RawSignSide<kType>(parts) << code.width, width);
  }
  bits.Finish();
  return escapes;
}

template <DType kType>
bool Decode(const std::byte* plane, const std::byte* fields, uint32_t n, ExponentCode code,
            const std::byte* list, uint32_t num_escapes, std::byte* values) {
  constexpr FloatFields kFields = FloatFieldsOf(kType, SignPlace::kRaw);
  const uint32_t width = code.width + kFields.side_bits;
  const ByteSpan bits(fields, (size_t{n} * width + 7) / 8);
  uint32_t found = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const auto field = static_cast<uint32_t>(LoadBits(bits, uint64_t{i} * width)) & ((1u << width) - 1);
    uint32_t exponent = (field & code.escape()) + code.base;
    if ((field & code.escape()) == code.escape()) {
      if (found < num_escapes) exponent = static_cast<uint32_t>(list[found]);
      ++found;
    }
    const uint32_t byte = kFields.plane ? static_cast<uint32_t>(plane[i]) : 0;
    StoreElement<kType>(BitsOfRawSign<kType>(exponent, byte, field >> code.width), values, i);
  }
  return found == num_escapes;
}

uint32_t EncodeExponentCodes(DType dtype, const std::byte* values, uint32_t n, ExponentCode code,
                             std::byte* plane, std::byte* fields, std::byte* list) {
  switch (dtype) {
    case DType::kFp16:
      return Encode<DType::kFp16>(values, n, code, plane, fields, list);
    case DType::kFp8E4m3:
      return Encode<DType::kFp8E4m3>(values, n, code, plane, fields, list);
    case DType::kFp8E5m2:
      return Encode<DType::kFp8E5m2>(values, n, code, plane, fields, list);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Encode<DType::kBf16>(values, n, code, plane, fields, list);
}

bool DecodeExponentCodes(DType dtype, const std::byte* plane, const std::byte* fields, uint32_t n,
                         ExponentCode code, const std::byte* list, uint32_t num_escapes, std::byte* values) {
  switch (dtype) {
    case DType::kFp16:
      return Decode<DType::kFp16>(plane, fields, n, code, list, num_escapes, values);
    case DType::kFp8E4m3:
      return Decode<DType::kFp8E4m3>(plane, fields, n, code, list, num_escapes, values);
    case DType::kFp8E5m2:
      return Decode<DType::kFp8E5m2>(plane, fields, n, code, list, num_escapes, values);
    case DType::kBf16:
    case DType::kOpaque:
      break;
  }
  return Decode<DType::kBf16>(plane, fields, n, code, list, num_escapes, values);
}

}  // namespace
}  // namespace scalar

HWY_EXPORT(EncodeSimd);
HWY_EXPORT(DecodeSimd);

uint32_t EncodeExponentCodes(DType dtype, const std::byte* values, uint32_t n, ExponentCode code,
                             std::byte* plane, std::byte* fields, std::byte* escape_list) {
  if (ScalarOnly()) return scalar::EncodeExponentCodes(dtype, values, n, code, plane, fields, escape_list);
  return HWY_DYNAMIC_DISPATCH(EncodeSimd)(
      dtype, reinterpret_cast<const uint8_t*>(values), n, code, reinterpret_cast<uint8_t*>(plane),
      reinterpret_cast<uint8_t*>(fields), reinterpret_cast<uint8_t*>(escape_list));
}

bool DecodeExponentCodes(DType dtype, const std::byte* plane, const std::byte* fields, uint32_t n,
                         ExponentCode code, const std::byte* escape_list, uint32_t num_escapes,
                         std::byte* values) {
  if (ScalarOnly()) {
    return scalar::DecodeExponentCodes(dtype, plane, fields, n, code, escape_list, num_escapes, values);
  }
  return HWY_DYNAMIC_DISPATCH(DecodeSimd)(
      dtype, reinterpret_cast<const uint8_t*>(plane), reinterpret_cast<const uint8_t*>(fields), n, code,
      reinterpret_cast<const uint8_t*>(escape_list), num_escapes, reinterpret_cast<uint8_t*>(values));
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
