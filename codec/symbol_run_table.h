// Decodes several Huffman symbols with one look: for every value of the next 11 bits, the whole codes in it.
//
// Owned by Codebook, which makes it when first asked; read by codec/simd/huffman_streams.cc. Immutable, so
// const use from any thread. The method is that of FSE's and Huff0's multi-symbol decoders (Collet, "Huff0");
// a run here has up to six symbols, and a code that is longer than the index escapes.
//
//   const SymbolRunTable table(book.decode_table());
//   const uint64_t run = table.entries()[next_bits & (SymbolRunTable::kEntries - 1)];
//   // SymbolRunTable::Count(run) symbols, the first in byte 1 of `run`; SymbolRunTable::Bits(run) bits
#ifndef KVCOMPD_CODEC_SYMBOL_RUN_TABLE_H_
#define KVCOMPD_CODEC_SYMBOL_RUN_TABLE_H_

#include <array>
#include <cstdint>
#include <span>

namespace kvcompd::codec {

class SymbolRunTable {
 public:
  static constexpr uint32_t kIndexBits = 11;  // 16 KiB of entries: half of a core's first-level cache
  static constexpr uint32_t kEntries = 1u << kIndexBits;
  static constexpr uint32_t kMaxRun = 6;

  // decode_table: that of a Codebook, symbol << 8 | length for every value of the next max_bits bits.
  explicit SymbolRunTable(std::span<const uint16_t> decode_table);

  // An entry: in byte 0 the bits of the run, where a shift of 64 bits finds them without another step; then
  // its symbols, and in byte 7 their count. Bits and count are 0 where the next code has 12 bits: then bytes
  // 1 and 2 are its symbol for either value of the twelfth bit.
  const uint64_t* entries() const { return entries_.data(); }

  static constexpr uint32_t kSymbolsShift = 8;
  static constexpr uint32_t kCountShift = 56;
  static constexpr uint32_t Bits(uint64_t entry) { return entry & 0xff; }
  static constexpr uint32_t Count(uint64_t entry) { return static_cast<uint32_t>(entry >> kCountShift); }

 private:
  std::array<uint64_t, kEntries> entries_;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SYMBOL_RUN_TABLE_H_
