// Strips of codec packkv as bits: the codes of up to 8 consecutive tokens over a head's channels, each
// channel's in a field of its own, with as many bits a code as the channel's class has (FORMAT.md, "Codec
// packkv").
//
// Called by packkv_encoder.cc and packkv_codec.cc. Thread-safe: pure functions over the caller's memory.
//
//   StripFormat format(classes, tokens, alignment_bits);
//   UnpackStrip(format, class_of, channels, bits, fields, codes);   // codes: [8, stride]
//   PackStrip(format, class_of, channels, rows, fields, out);
#ifndef KVCOMPD_CODEC_SIMD_STRIP_BITS_H_
#define KVCOMPD_CODEC_SIMD_STRIP_BITS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/pack_classes.h"

namespace kvcompd::codec {

inline constexpr uint32_t kStripTokens = 8;
// Columns of code rows and arrays of class numbers: as many as channels, up to the next multiple of this.
inline constexpr size_t kStripColumns = 64;
constexpr size_t StripStride(size_t channels) {
  return (channels + kStripColumns - 1) / kStripColumns * kStripColumns;
}
// What UnpackStrip and UnpackClasses may read behind the bits that they use.
inline constexpr size_t kStripOverread = 128;

// What the fields of a strip look like, for each class.
struct StripFormat {
  // tokens: 1 to 8, of this strip; alignment_bits: 8, or 4 where strips have up to 4 tokens.
  StripFormat(const PackClasses& classes, uint32_t tokens, uint32_t alignment_bits);

  uint32_t tokens;
  uint32_t alignment_bits;                              // a field's size is a multiple of this
  std::array<uint8_t, kMaxPackClasses> field_bits{};    // tokens * width, up to the alignment
  std::array<uint8_t, kMaxPackClasses> widths{};        //
  std::array<uint64_t, kMaxPackClasses> code_bits{};    // the low `width` bits of each byte of a token
  std::array<uint64_t, kMaxPackClasses> bases{};        // `base` in each byte
  std::array<uint64_t, kMaxPackClasses> bit_offsets{};  // byte t: t * width
};

// Class numbers as bits, index_bits (0 to 4) each. bits: ceil(channels * index_bits / 8) bytes, and
// kStripOverread further ones that may be read. class_of: [StripStride(channels)], 0 behind the channels.
void UnpackClasses(const std::byte* bits, uint32_t index_bits, size_t channels, uint8_t* class_of);
// out: as many bytes as above, all written.
void PackClassNumbers(const uint8_t* class_of, uint32_t index_bits, size_t channels, std::byte* out);

// Sum of the fields' bits.
uint64_t StripBits(const StripFormat& format, const uint8_t* class_of, size_t channels);

// bits: the strip, and kStripOverread further bytes that may be read. class_of: [StripStride(channels)], each
// a number of the format's. codes: [8, stride], token-major, stride = StripStride(channels); rows from
// format.tokens on and columns from `channels` on are left with anything. fields: scratch, [stride].
void UnpackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels, const std::byte* bits,
                 uint64_t* fields, uint8_t* codes);

// Writes the strip of rows[0 .. format.tokens), each [StripStride(channels)] codes, which must be in their
// channel's class. out: ceil(StripBits / 8) bytes are defined, 8 further ones may be written.
void PackStrip(const StripFormat& format, const uint8_t* class_of, size_t channels,
               const uint8_t* const* rows, uint64_t* fields, std::byte* out);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_STRIP_BITS_H_
