// Decodes several Huffman symbols with one look: for every value of the next 11 bits, the whole codes in it.
//
// Owned by Codebook, which makes it when first asked; read by codec/simd/huffman_streams.cc. Immutable, so
// const use from any thread. The method is that of FSE's and Huff0's multi-symbol decoders (Collet, "Huff0");
// a run here has up to six symbols, and a code that is longer than the index escapes.
//
//   const SymbolRunTable table(book.decode_table());
//   const uint64_t run = table.entries()[next_bits & (SymbolRunTable::kEntries - 1)];
//   // SymbolRunTable::Count(run) symbols in the low bytes of `run`, SymbolRunTable::Bits(run) bits
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

  // An entry: symbols in bytes 0 to 5, then bits (6 bits) and count of the run; both 0 where the next code
  // has 12 bits: then bytes 0 and 1 are its symbol for either value of the twelfth bit.
  const uint64_t* entries() const { return entries_.data(); }

  static constexpr uint32_t kRunShift = 8 * kMaxRun;
  static constexpr uint32_t kCountShift = 6;  // above kRunShift
  static constexpr uint32_t Bits(uint64_t entry) { return (entry >> kRunShift) & 63; }
  static constexpr uint32_t Count(uint64_t entry) {
    return static_cast<uint32_t>(entry >> (kRunShift + kCountShift));
  }

 private:
  std::array<uint64_t, kEntries> entries_;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SYMBOL_RUN_TABLE_H_
