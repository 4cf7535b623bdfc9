// The order of a tile group's tokens for packing: tokens whose codes are alike go into one pack (FORMAT.md,
// "Order of the tokens"; after PackKV, "encode-aware repacking").
//
// Called by packkv_encoder.cc. Integer arithmetic only; pure functions over the caller's memory.
//
//   std::vector<const uint8_t*> tiles = ...;      // codes, [64, columns] each, of the tiles that count
//   TokenOrder order = GreedyOrder({tiles, tokens, columns}, pack, scratch);
//
// Deviations from PackKV: K and V are ordered each for itself, the order is stored, and greedy starts a pack
// with the token nearest to the rounded mean in L1, which needs no fractions, instead of by cosine.
#ifndef KVCOMPD_CODEC_PACKKV_ORDER_H_
#define KVCOMPD_CODEC_PACKKV_ORDER_H_

#include <cstdint>
#include <span>

#include "codec/packkv_header.h"

namespace kvcompd::codec {

// Codes of a group's tiles; tile i is [tokens, columns], with zeros in the columns that are no channels.
struct GroupCodes {
  std::span<const uint8_t* const> tiles;
  uint32_t tokens = 0;
  uint32_t columns = 0;   // a multiple of 64
  uint32_t channels = 0;  // of these
};

// Memory of GreedyOrder, for all tiles' columns.
struct GreedyScratch {
  std::span<uint16_t> sums;  // [tiles, columns]
  std::span<uint8_t> low;    // [tiles, columns]
  std::span<uint8_t> high;   // [tiles, columns]
  std::span<uint8_t> mean;   // [columns]
};

// By the median of the token's codes, descending; of equal ones the lower token first.
TokenOrder MedianOrder(const GroupCodes& codes);
TokenOrder GreedyOrder(const GroupCodes& codes, uint32_t pack, const GreedyScratch& scratch);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_ORDER_H_
