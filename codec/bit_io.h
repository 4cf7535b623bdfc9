// Bit strings, least significant bit first: bit i stands in byte i/8 at place i%8 (FORMAT.md, "Tile
// payload").
//
// Called by tile_payload.cc. Plain values.
//
//   BitWriter w(out);                      // out: exactly the bytes that will be written
//   w.Put(code, length); ...; w.Finish();  // pads with zero bits to a byte
//   uint64_t next = LoadBits(bytes, bit);  // at least 57 bits from there on; 0 beyond the end
#ifndef KVCOMPD_CODEC_BIT_IO_H_
#define KVCOMPD_CODEC_BIT_IO_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "codec/base/types.h"

namespace kvcompd::codec {

class BitWriter {
 public:
  explicit BitWriter(MutableByteSpan out) : next_(out.data()) {}

  // bits: under 1 << count; count: 0 to 32.
  void Put(uint64_t bits, uint32_t count) {
    pending_ |= bits << pending_count_;
    pending_count_ += count;
    if (pending_count_ >= 32) {
      std::memcpy(next_, &pending_, 4);
      next_ += 4;
      pending_ >>= 32;
      pending_count_ -= 32;
    }
  }
  // Writes the last bytes; returns the place after them.
  std::byte* Finish() {
    const uint32_t bytes = (pending_count_ + 7) / 8;
    std::memcpy(next_, &pending_, bytes);
    next_ += bytes;
    pending_ = 0;
    pending_count_ = 0;
    return next_;
  }

 private:
  std::byte* next_;
  uint64_t pending_ = 0;
  uint32_t pending_count_ = 0;
};

// Bits from place `bit` on: at least 57 of them, or zeros beyond the end. Never reads outside `bytes`.
inline uint64_t LoadBits(ByteSpan bytes, uint64_t bit) {
  const uint64_t at = bit / 8;
  uint64_t window = 0;
  if (at + 8 <= bytes.size()) {
    std::memcpy(&window, bytes.data() + at, 8);
  } else if (at < bytes.size()) {
    std::memcpy(&window, bytes.data() + at, bytes.size() - at);
  }
  return window >> (bit % 8);
}

// True where all bits from place `bit` to the end are zero; they must be fewer than 8.
inline bool PaddingIsZero(ByteSpan bytes, uint64_t bit) { return LoadBits(bytes, bit) == 0; }

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_BIT_IO_H_
