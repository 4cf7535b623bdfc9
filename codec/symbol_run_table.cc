#include "codec/symbol_run_table.h"

namespace kvcompd::codec {

SymbolRunTable::SymbolRunTable(std::span<const uint16_t> decode_table) {
  const uint32_t mask = static_cast<uint32_t>(decode_table.size()) - 1;
  for (uint32_t index = 0; index < kEntries; ++index) {
    uint64_t symbols = 0;
    uint32_t bits = 0, count = 0;
    while (count < kMaxRun) {
      // The bits beyond the index are unknown, here 0: a code counts only where all of it is in the index.
      const uint32_t next = decode_table[(index >> bits) & mask];
      const uint32_t length = next & 0xff;
      if (bits + length > kIndexBits) break;
      symbols |= uint64_t{next >> 8} << (8 * count);
      bits += length;
      ++count;
    }
    if (count == 0) {
      symbols = decode_table[index] >> 8 | uint64_t{decode_table[index + kEntries]} >> 8 << 8;
    }
    entries_[index] = bits | symbols << kSymbolsShift | uint64_t{count} << kCountShift;
  }
}

}  // namespace kvcompd::codec
