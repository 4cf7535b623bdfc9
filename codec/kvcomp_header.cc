#include "codec/kvcomp_header.h"

#include <cstring>
#include <limits>

#include "codec/base/byte_io.h"

namespace kvcompd::codec {
namespace {

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

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
  ByteReader r(bytes);
  for (UnitParams& p : params) p.scale = r.U16();
  for (UnitParams& p : params) {
    p.zero = wide_zeros ? static_cast<int32_t>(r.U32()) : static_cast<int16_t>(r.U16());
    if (!ValidUnitParams(dtype, p)) return Corrupt("kvcomp: scale or zero out of range");
  }
  if (!r.ok() || r.remaining() != 0) return Corrupt("kvcomp: length of the unit parameters");
  return absl::OkStatus();
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
  const bool unit_ok = shape.tensor == Tensor::kV
                           ? header.unit == QuantUnit::kToken
                           : header.unit == QuantUnit::kBlock || header.unit == QuantUnit::kChannel;
  if (!unit_ok) return Corrupt("kvcomp: unknown unit");
  const uint32_t units = HeaderUnits(header.unit, shape.tokens);
  header.wide_zeros = flags & kFlagWideZeros;
  if ((flags & ~kFlagWideZeros) != 0 || (header.wide_zeros && units == 0)) {
    return Corrupt("kvcomp: unknown flags in the group header");
  }
  if (header.symbols < 2 || header.symbols > kMaxSymbols) return Corrupt("kvcomp: alphabet out of range");
  header.params = r.Bytes(ParamsBytes(units, header.wide_zeros));
  if (!r.ok() || r.remaining() != 0) return Corrupt("kvcomp: length of the group header");
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
  if (!r.ok() || (flags & ~kFlagWideZeros) != 0 || reserved != 0) {
    return Corrupt("kvcomp: unknown flags in the channel parameters");
  }
  const bool wide = flags & kFlagWideZeros;
  const ByteSpan bytes = r.Bytes(ParamsBytes(static_cast<uint32_t>(params.size()), wide));
  if (!r.ok()) return Corrupt("kvcomp: truncated channel parameters");
  *consumed = r.offset();
  return ReadParams(dtype, bytes, wide, params);
}

}  // namespace kvcompd::codec
