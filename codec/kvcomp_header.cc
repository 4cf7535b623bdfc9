#include "codec/kvcomp_header.h"

#include <cstring>
#include <limits>

#include "codec/base/byte_io.h"

namespace kvcompd::codec {
namespace {

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

absl::Status CheckFlags(uint8_t flags) {
  if ((flags & ~kFlagWideZeros) == 0) return absl::OkStatus();
  return absl::UnimplementedError("kvcomp: a flag that is not known here");
}

template <typename T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Hands the parameters of n units to `take`, each checked. bytes: ParamsBytes(n, wide_zeros).
template <typename Take>
absl::Status ForEachUnit(DType dtype, ByteSpan bytes, bool wide_zeros, uint32_t n, Take&& take) {
  const std::byte* const scales = bytes.data();
  const std::byte* const zeros = scales + size_t{n} * 2;
  bool need_wide = false;
  for (uint32_t i = 0; i < n; ++i) {
    UnitParams p;
    p.scale = Load<uint16_t>(scales + size_t{2} * i);
    p.zero = wide_zeros ? Load<int32_t>(zeros + size_t{4} * i) : Load<int16_t>(zeros + size_t{2} * i);
    // Most units: a positive normal number and a zero in range. The others are constant, or wrong.
    const bool ordinary = p.scale >= 0x0080 && p.scale <= 0x7f7f && p.zero >= -kMaxZero && p.zero <= kMaxZero;
    if (!ordinary && !ValidUnitParams(dtype, p)) return Corrupt("kvcomp: scale or zero out of range");
    need_wide |= p.zero != static_cast<int16_t>(p.zero);
    take(i, p);
  }
  if (wide_zeros && !need_wide) return Corrupt("kvcomp: zeros are wide without need");
  return absl::OkStatus();
}

}  // namespace

bool NeedWideZeros(std::span<const UnitParams> params) {
  for (const UnitParams& p : params) {
    if (p.zero != static_cast<int16_t>(p.zero)) return true;
  }
  return false;
}

void WriteParams(std::span<const UnitParams> params, bool wide_zeros, std::byte* out) {
  for (const UnitParams& p : params) {
    std::memcpy(out, &p.scale, 2);
    out += 2;
  }
  for (const UnitParams& p : params) {
    const size_t bytes = wide_zeros ? 4 : 2;
    std::memcpy(out, &p.zero, bytes);  // little-endian: the low bytes come first
    out += bytes;
  }
}

absl::Status ReadParams(DType dtype, ByteSpan bytes, bool wide_zeros, std::span<UnitParams> params) {
  const auto n = static_cast<uint32_t>(params.size());
  if (bytes.size() != ParamsBytes(n, wide_zeros)) return Corrupt("kvcomp: length of the unit parameters");
  // Field by field: the whole, put together in memory, would wait for its parts to get there.
  return ForEachUnit(dtype, bytes, wide_zeros, n, [&](uint32_t i, const UnitParams& p) {
    params[i].scale = p.scale;
    params[i].zero = p.zero;
  });
}

uint32_t HeaderUnits(QuantUnit unit, uint32_t tokens) {
  switch (unit) {
    case QuantUnit::kBlock:
      return 1;
    case QuantUnit::kToken:
      return tokens;
    case QuantUnit::kChannel:
      break;
  }
  return 0;
}

uint32_t WriteKvcompHeader(QuantUnit unit, uint32_t symbols, std::span<const UnitParams> params,
                           MutableByteSpan out) {
  const bool wide = NeedWideZeros(params);
  out[0] = static_cast<std::byte>(unit);
  out[1] = static_cast<std::byte>(wide ? kFlagWideZeros : 0);
  const auto symbols16 = static_cast<uint16_t>(symbols);
  std::memcpy(out.data() + 2, &symbols16, 2);
  WriteParams(params, wide, out.data() + kKvcompHeaderFixedBytes);
  return kKvcompHeaderFixedBytes + ParamsBytes(static_cast<uint32_t>(params.size()), wide);
}

absl::StatusOr<KvcompHeader> ParseKvcompHeader(const GroupShape& shape, ByteSpan bytes) {
  ByteReader r(bytes);
  const uint8_t unit = r.U8(), flags = r.U8();
  KvcompHeader header;
  header.symbols = r.U16();
  if (!r.ok()) return Corrupt("kvcomp: truncated group header");
  header.unit = static_cast<QuantUnit>(unit);
  if (header.unit < QuantUnit::kBlock || header.unit > QuantUnit::kToken) {
    return absl::UnimplementedError("kvcomp: a unit that is not known here");
  }
  if (header.unit == (shape.tensor == Tensor::kV ? QuantUnit::kChannel : QuantUnit::kToken)) {
    return Corrupt("kvcomp: a unit of the other tensor");
  }
  if (auto s = CheckFlags(flags); !s.ok()) return s;
  const uint32_t units = HeaderUnits(header.unit, shape.tokens);
  header.wide_zeros = flags & kFlagWideZeros;
  if (header.symbols < 2 || header.symbols > kMaxSymbols) return Corrupt("kvcomp: alphabet out of range");
  header.params = r.Bytes(ParamsBytes(units, header.wide_zeros));
  if (!r.ok() || r.remaining() != 0) return Corrupt("kvcomp: length of the group header");
  const auto check = [](uint32_t, const UnitParams&) {};
  if (auto s = ForEachUnit(shape.dtype, header.params, header.wide_zeros, units, check); !s.ok()) return s;
  return header;
}

uint32_t TileParamsBytes(std::span<const UnitParams> params) {
  return kTileParamsFixedBytes + ParamsBytes(static_cast<uint32_t>(params.size()), NeedWideZeros(params));
}

void WriteTileParams(std::span<const UnitParams> params, MutableByteSpan out) {
  const bool wide = NeedWideZeros(params);
  out[0] = static_cast<std::byte>(wide ? kFlagWideZeros : 0);
  out[1] = std::byte{0};
  WriteParams(params, wide, out.data() + kTileParamsFixedBytes);
}

absl::Status ReadTileParams(DType dtype, ByteSpan payload, std::span<UnitParams> params, size_t* consumed) {
  ByteReader r(payload);
  const uint8_t flags = r.U8(), reserved = r.U8();
  if (!r.ok()) return Corrupt("kvcomp: truncated channel parameters");
  if (auto s = CheckFlags(flags); !s.ok()) return s;
  if (reserved != 0) return Corrupt("kvcomp: a reserved byte of the channel parameters is not 0");
  const bool wide = flags & kFlagWideZeros;
  const ByteSpan bytes = r.Bytes(ParamsBytes(static_cast<uint32_t>(params.size()), wide));
  if (!r.ok()) return Corrupt("kvcomp: truncated channel parameters");
  *consumed = r.offset();
  return ReadParams(dtype, bytes, wide, params);
}

}  // namespace kvcompd::codec
