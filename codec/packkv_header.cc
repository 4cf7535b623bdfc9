#include "codec/packkv_header.h"

#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/bit_io.h"
#include "codec/codebook.h"
#include "codec/kvcomp_header.h"

namespace kvcompd::codec {
namespace {

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

constexpr bool IsPack(uint32_t pack) { return pack == 4 || pack == 8 || pack == 16 || pack == 32; }

uint32_t OrderBytes(uint32_t tokens) { return (kOrderBits * tokens + 7) / 8; }

absl::Status CheckClass(const PackClass& c, uint32_t symbols) {
  if (c.width > kMaxPackWidth) return Corrupt("packkv: a class is wider than 8 bits");
  if (c.base >= symbols || c.base + (1u << c.width) > kMaxSymbols) {
    return Corrupt("packkv: a class outside the alphabet");
  }
  return absl::OkStatus();
}

absl::Status ReadOrder(ByteSpan bytes, uint32_t tokens, TokenOrder* order) {
  uint64_t seen = 0;
  bool moved = false;
  for (uint32_t i = 0; i < tokens; ++i) {
    const auto token = static_cast<uint8_t>(LoadBits(bytes, kOrderBits * i) & 63);
    (*order)[i] = token;
    seen |= uint64_t{1} << token;
    moved |= token != i;
  }
  if (seen != ~uint64_t{0} >> (64 - tokens)) return Corrupt("packkv: the order of the tokens is none");
  if (!moved) return Corrupt("packkv: an order without need");
  if (kOrderBits * tokens % 8 != 0 && !PaddingIsZero(bytes, kOrderBits * tokens)) {
    return Corrupt("packkv: padding of the order is not 0");
  }
  return absl::OkStatus();
}

}  // namespace

TokenOrder IdentityOrder() {
  static constexpr TokenOrder kIdentity = [] {
    TokenOrder order{};
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint8_t>(i);
    return order;
  }();
  return kIdentity;
}

bool PackkvHeader::Reordered(uint32_t tokens) const {
  for (uint32_t i = 0; i < tokens; ++i) {
    if (order[i] != i) return true;
  }
  return false;
}

uint32_t PackkvHeaderBytes(const PackkvHeader& header, std::span<const UnitParams> params) {
  const auto tokens = static_cast<uint32_t>(params.size());
  return kPackkvHeaderFixedBytes + 2 * header.classes.count + ParamsBytes(tokens, NeedWideZeros(params)) +
         (header.Reordered(tokens) ? OrderBytes(tokens) : 0);
}

uint32_t WritePackkvHeader(const PackkvHeader& header, std::span<const UnitParams> params,
                           MutableByteSpan out) {
  const auto tokens = static_cast<uint32_t>(params.size());
  const bool wide = NeedWideZeros(params), reordered = header.Reordered(tokens);
  const int flags = (wide ? kPackkvWideZeros : 0) | (reordered ? kPackkvReordered : 0);
  out[0] = static_cast<std::byte>(flags);
  out[1] = static_cast<std::byte>(header.pack);
  const auto symbols = static_cast<uint16_t>(header.symbols);
  std::memcpy(out.data() + 2, &symbols, 2);
  out[4] = static_cast<std::byte>(header.classes.count);
  out[5] = std::byte{0};
  uint32_t at = kPackkvHeaderFixedBytes;
  for (uint32_t k = 0; k < header.classes.count; ++k) {
    out[at++] = static_cast<std::byte>(header.classes.of[k].base);
    out[at++] = static_cast<std::byte>(header.classes.of[k].width);
  }
  WriteParams(params, wide, out.data() + at);
  at += ParamsBytes(tokens, wide);
  if (!reordered) return at;
  BitWriter writer(out.subspan(at, OrderBytes(tokens)));
  for (uint32_t i = 0; i < tokens; ++i) writer.Put(header.order[i], kOrderBits);
  writer.Finish();
  return at + OrderBytes(tokens);
}

absl::StatusOr<PackkvHeader> ParsePackkvHeader(const GroupShape& shape, ByteSpan bytes,
                                               std::span<UnitParams> params) {
  ByteReader r(bytes);
  PackkvHeader header;
  const uint8_t flags = r.U8();
  header.pack = r.U8();
  header.symbols = r.U16();
  header.classes.count = r.U8();
  const uint8_t reserved = r.U8();
  if (!r.ok()) return Corrupt("packkv: truncated group header");
  if ((flags & ~(kPackkvWideZeros | kPackkvReordered)) != 0) {
    return absl::UnimplementedError("packkv: a flag that is not known here");
  }
  if (!IsPack(header.pack)) return absl::UnimplementedError("packkv: a pack that is not known here");
  if (reserved != 0) return Corrupt("packkv: a reserved byte of the group header is not 0");
  if (header.symbols < 2 || header.symbols > kMaxSymbols) return Corrupt("packkv: alphabet out of range");
  if (header.classes.count < 1 || header.classes.count > kMaxPackClasses) {
    return Corrupt("packkv: number of classes");
  }
  for (uint32_t k = 0; k < header.classes.count; ++k) {
    PackClass& c = header.classes.of[k];
    c.base = r.U8();
    c.width = r.U8();
    if (auto s = CheckClass(c, header.symbols); !s.ok()) return s;
  }
  const bool wide = flags & kPackkvWideZeros;
  const ByteSpan units = r.Bytes(ParamsBytes(shape.tokens, wide));
  const ByteSpan order = r.Bytes(flags & kPackkvReordered ? OrderBytes(shape.tokens) : 0);
  if (!r.ok() || r.remaining() != 0) return Corrupt("packkv: length of the group header");
  if (auto s = ReadParams(shape.dtype, units, wide, params); !s.ok()) return s;
  if (flags & kPackkvReordered) {
    if (auto s = ReadOrder(order, shape.tokens, &header.order); !s.ok()) return s;
  }
  return header;
}

}  // namespace kvcompd::codec
