// Codes of a tile of codec kvcomp as interleaved rANS (FORMAT.md, "Codec kvcomp", "rANS"): the first codes
// are carried by the states, the others are symbols of the segment's book.
//
// Called by kvcomp_encoder.cc and kvcomp_codec.cc. Pure functions over the caller's memory.
//
//   RansCodes codes{tokens, channels, num_codes, shifts};
//   SymbolsOfCodes(codes, from, symbols);
//   uint32_t bytes = WriteRansCodes(codes, from, symbols, book.rans_tables(), scratch, out);  // 0: no room
//   absl::Status s = ReadRansCodes(codes, payload, book.rans_tables(), symbols, to);
#ifndef KVCOMPD_CODEC_KVCOMP_RANS_H_
#define KVCOMPD_CODEC_KVCOMP_RANS_H_

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/quantizer.h"
#include "codec/rans.h"

namespace kvcompd::codec {

// Codes of [tokens, channels]; those of token t and shifts[t] make symbols.
struct RansCodes {
  uint32_t tokens = 0;    // 1 to 64
  uint32_t channels = 0;  // 8 to 576
  uint32_t num_codes = 0;
  std::array<uint8_t, kTileTokens> shifts{};

  uint32_t size() const { return tokens * channels; }
  uint32_t lanes() const { return RansLanes(size()); }
  // Codes that the states carry.
  uint32_t carried() const;

  // params: of the unit's group; none where the unit is a channel.
  static RansCodes Of(QuantUnit unit, uint32_t tokens, uint32_t channels, uint32_t num_codes,
                      std::span<const UnitParams> params);
};

// symbols: [tokens, channels].
void SymbolsOfCodes(const RansCodes& shape, const uint8_t* codes, uint8_t* symbols);

// symbols: what SymbolsOfCodes made of the codes. scratch: RansWorkspaceBytes(size()). Returns the payload's
// bytes; 0 where it is longer than `out`.
uint32_t WriteRansCodes(const RansCodes& shape, const uint8_t* codes, const uint8_t* symbols,
                        const RansTables& tables, MutableByteSpan scratch, MutableByteSpan out);

// symbols: scratch, [tokens, channels]. DATA_LOSS: bytes that WriteRansCodes does not write. Every code is
// then under num_codes.
absl::Status ReadRansCodes(const RansCodes& shape, ByteSpan payload, const RansTables& tables,
                           uint8_t* symbols, uint8_t* codes);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_RANS_H_
