#include "codec/kvcomp_rans.h"

#include <algorithm>
#include <bit>

#include "codec/bit_io.h"

namespace kvcompd::codec {
namespace {

constexpr uint8_t kContext[] = {0};  // one table for all positions

uint32_t CodeBits(uint32_t num_codes) { return static_cast<uint32_t>(std::bit_width(num_codes - 1)); }

// Loops that the compiler makes vectors of.
void AddToRow(const uint8_t* __restrict from, uint32_t n, uint8_t shift, uint8_t* __restrict to) {
  for (uint32_t i = 0; i < n; ++i) to[i] = static_cast<uint8_t>(from[i] + shift);
}
// Returns the largest difference: a symbol under the shift gives a large one.
uint8_t SubtractFromRow(const uint8_t* __restrict from, uint32_t n, uint8_t shift, uint8_t* __restrict to) {
  uint8_t largest = 0;
  for (uint32_t i = 0; i < n; ++i) {
    to[i] = static_cast<uint8_t>(from[i] - shift);
    largest = std::max(largest, to[i]);
  }
  return largest;
}

}  // namespace

RansCodes RansCodes::Of(QuantUnit unit, uint32_t tokens, uint32_t channels, uint32_t num_codes,
                        std::span<const UnitParams> params) {
  RansCodes codes{.tokens = tokens, .channels = channels, .num_codes = num_codes};
  for (uint32_t t = 0; t < tokens; ++t) {
    int32_t zero = 0;
    if (unit != QuantUnit::kChannel) {
      const UnitParams& of = params[unit == QuantUnit::kToken ? t : 0];
      zero = of.scale == 0 ? -static_cast<int32_t>(MiddleCode(num_codes)) : of.zero;
    }
    codes.shifts[t] = static_cast<uint8_t>(RansShift(unit, num_codes, zero));
  }
  return codes;
}

uint32_t RansCodes::carried() const {
  return std::min(size(), lanes() * kRansStateBits / CodeBits(num_codes));
}

void SymbolsOfCodes(const RansCodes& shape, const uint8_t* codes, uint8_t* symbols) {
  for (uint32_t t = 0; t < shape.tokens; ++t) {
    const size_t at = size_t{t} * shape.channels;
    AddToRow(codes + at, shape.channels, shape.shifts[t], symbols + at);
  }
}

uint32_t WriteRansCodes(const RansCodes& shape, const uint8_t* codes, const uint8_t* symbols,
                        const RansTables& tables, MutableByteSpan scratch, MutableByteSpan out) {
  const uint32_t first = shape.carried(), bits = CodeBits(shape.num_codes);
  std::array<std::byte, kMaxRansLanes * kRansStateBits / 8> carried{};
  const auto bytes = MutableByteSpan(carried).first(RansCarriedBytes(shape.lanes()));
  BitWriter writer(bytes);
  for (uint32_t i = 0; i < first; ++i) writer.Put(codes[i], bits);
  writer.Finish();
  return EncodeRans(tables, kContext, shape.lanes(), {symbols + first, shape.size() - first}, bytes, scratch,
                    out);
}

absl::Status ReadRansCodes(const RansCodes& shape, ByteSpan payload, const RansTables& tables,
                           uint8_t* symbols, uint8_t* codes) {
  const uint32_t first = shape.carried(), bits = CodeBits(shape.num_codes);
  std::array<std::byte, kMaxRansLanes * kRansStateBits / 8> carried{};
  const auto bytes = MutableByteSpan(carried).first(RansCarriedBytes(shape.lanes()));
  if (auto s = DecodeRans(tables, kContext, shape.lanes(), payload, {symbols + first, shape.size() - first},
                          bytes);
      !s.ok()) {
    return s;
  }
  uint8_t largest = 0;
  for (uint32_t t = first / shape.channels; t < shape.tokens; ++t) {
    const size_t at = size_t{t} * shape.channels;
    const uint32_t skip = at < first ? first - static_cast<uint32_t>(at) : 0;
    largest = std::max(largest, SubtractFromRow(symbols + at + skip, shape.channels - skip, shape.shifts[t],
                                                codes + at + skip));
  }
  for (uint32_t i = 0; i < first; ++i) {
    codes[i] = static_cast<uint8_t>(LoadBits(bytes, uint64_t{i} * bits) & ((1u << bits) - 1));
    largest = std::max(largest, codes[i]);
  }
  if (largest >= shape.num_codes) return absl::DataLossError("kvcomp: a code out of the alphabet");
  for (uint64_t bit = uint64_t{first} * bits; bit < bytes.size() * 8; bit += 57) {
    if (LoadBits(bytes, bit) == 0) continue;
    return absl::DataLossError("kvcomp: what the states carry behind the codes is not 0");
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
