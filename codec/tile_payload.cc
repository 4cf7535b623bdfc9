#include "codec/tile_payload.h"

#include <algorithm>
#include <bit>

#include "codec/base/byte_io.h"
#include "codec/bit_io.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kHuffmanFixedBytes = 3;  // base u16, width u8
constexpr uint32_t kPackedFixedBytes = 2;   // base u8, width u8
// Of a directory entry: a stream has at most 2 * 576 * 12 bits.
constexpr uint32_t kMaxDirectoryWidth = 14;
static_assert(kTileTokens / kMaxStreams * kMaxHeadDim * kMaxCodeBits < 1u << kMaxDirectoryWidth);

constexpr uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

// Decodes n symbols from place `bit` on; returns the place after them. Four codes of 12 bits fit a window.
uint64_t DecodeSymbols(ByteSpan bits, uint64_t bit, uint32_t n, std::span<const uint16_t> table,
                       uint8_t* out) {
  const uint64_t mask = table.size() - 1;
  const uint16_t* const entries = table.data();
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    uint64_t window = LoadBits(bits, bit);
    for (uint32_t k = 0; k < 4; ++k) {
      const uint32_t entry = entries[window & mask];
      out[i + k] = static_cast<uint8_t>(entry >> 8);
      window >>= entry & 0xff;
      bit += entry & 0xff;
    }
  }
  for (; i < n; ++i) {
    const uint32_t entry = entries[LoadBits(bits, bit) & mask];
    out[i] = static_cast<uint8_t>(entry >> 8);
    bit += entry & 0xff;
  }
  return bit;
}

}  // namespace

absl::Status ReadHuffmanDirectory(ByteSpan payload, const StreamLayout& layout, HuffmanDirectory* out) {
  const uint32_t streams = layout.streams;
  ByteReader r(payload);
  const uint32_t base = r.U16(), width = r.U8();
  if (!r.ok() || width > kMaxDirectoryWidth) return Corrupt("huffman tile: directory");
  const ByteSpan entries = r.Bytes(BytesOfBits(uint64_t{streams} * width));
  if (!r.ok()) return Corrupt("huffman tile: truncated directory");
  uint64_t total = 0;
  for (uint32_t i = 0; i < streams; ++i) {
    const uint64_t entry = LoadBits(entries, uint64_t{i} * width) & ((1u << width) - 1);
    out->stream_bits[i] = base + static_cast<uint32_t>(entry);
    total += out->stream_bits[i];
  }
  if (!PaddingIsZero(entries, uint64_t{streams} * width)) return Corrupt("huffman tile: directory padding");
  out->streams = payload.subspan(r.offset());
  if (out->streams.size() != BytesOfBits(total)) return Corrupt("huffman tile: stream lengths");
  if (!PaddingIsZero(out->streams, total)) return Corrupt("huffman tile: stream padding");
  return absl::OkStatus();
}

void SizeHuffmanPlan(const StreamLayout& layout, HuffmanPlan* plan) {
  uint64_t total = 0;
  uint32_t longest = 0;
  plan->base = UINT32_MAX;
  for (uint32_t i = 0; i < layout.streams; ++i) {
    const uint32_t bits = plan->stream_bits[i];
    plan->base = std::min(plan->base, bits);
    longest = std::max(longest, bits);
    total += bits;
  }
  plan->width = std::bit_width(longest - plan->base);
  plan->bytes = kHuffmanFixedBytes + BytesOfBits(uint64_t{layout.streams} * plan->width) + BytesOfBits(total);
}

HuffmanPlan PlanHuffman(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book) {
  const StreamLayout layout(tokens);
  const uint8_t* const lengths = book.lengths().data();
  HuffmanPlan plan;
  for (uint32_t i = 0; i < layout.streams; ++i) {
    const uint32_t n = layout.tokens_of(i) * channels;
    for (uint32_t k = 0; k < n; ++k) plan.stream_bits[i] += lengths[codes[k]];
    codes += n;
  }
  SizeHuffmanPlan(layout, &plan);
  return plan;
}

MutableByteSpan WriteHuffmanDirectory(const StreamLayout& layout, const HuffmanPlan& plan,
                                      MutableByteSpan out) {
  const auto base = static_cast<uint16_t>(plan.base);
  const auto width = static_cast<uint8_t>(plan.width);
  std::memcpy(out.data(), &base, 2);
  std::memcpy(out.data() + 2, &width, 1);
  BitWriter directory(out.subspan(kHuffmanFixedBytes));
  for (uint32_t i = 0; i < layout.streams; ++i) directory.Put(plan.stream_bits[i] - plan.base, plan.width);
  return out.subspan(static_cast<size_t>(directory.Finish() - out.data()));
}

void WriteHuffman(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book,
                  const HuffmanPlan& plan, MutableByteSpan out) {
  const uint16_t* const code_of = book.codes().data();
  const uint8_t* const length_of = book.lengths().data();
  BitWriter bits(WriteHuffmanDirectory(StreamLayout(tokens), plan, out));
  const uint32_t n = tokens * channels;  // the streams follow each other without padding
  for (uint32_t k = 0; k < n; ++k) bits.Put(code_of[codes[k]], length_of[codes[k]]);
  bits.Finish();
}

absl::Status ReadHuffman(ByteSpan payload, uint32_t tokens, uint32_t channels, const Codebook& book,
                         uint8_t* codes) {
  const StreamLayout layout(tokens);
  HuffmanDirectory directory;
  if (auto s = ReadHuffmanDirectory(payload, layout, &directory); !s.ok()) return s;
  uint64_t begin = 0;
  for (uint32_t i = 0; i < layout.streams; ++i) {
    const uint32_t n = layout.tokens_of(i) * channels;
    const uint64_t end = begin + directory.stream_bits[i];
    // A stream whose codes run past its end only reads what follows it, or zeros; the lengths then disagree.
    if (DecodeSymbols(directory.streams, begin, n, book.decode_table(), codes) != end) {
      return Corrupt("huffman tile: a stream does not end where it should");
    }
    codes += n;
    begin = end;
  }
  return absl::OkStatus();
}

PackedPlan PackedPlanOf(uint32_t least_code, uint32_t largest_code, uint32_t n) {
  PackedPlan plan;
  plan.base = least_code;
  plan.width = std::bit_width(largest_code - least_code);
  plan.bytes = kPackedFixedBytes + BytesOfBits(uint64_t{n} * plan.width);
  return plan;
}

PackedPlan PlanPacked(const uint8_t* codes, uint32_t n) {
  uint8_t low = 0xff, high = 0;
  for (uint32_t i = 0; i < n; ++i) {
    low = std::min(low, codes[i]);
    high = std::max(high, codes[i]);
  }
  return PackedPlanOf(low, high, n);
}

void WritePacked(const uint8_t* codes, uint32_t n, const PackedPlan& plan, MutableByteSpan out) {
  out[0] = static_cast<std::byte>(plan.base);
  out[1] = static_cast<std::byte>(plan.width);
  BitWriter bits(out.subspan(kPackedFixedBytes));
  for (uint32_t i = 0; i < n; ++i) bits.Put(codes[i] - plan.base, plan.width);
  bits.Finish();
}

absl::Status ReadPacked(ByteSpan payload, uint32_t n, uint32_t symbols, uint8_t* codes) {
  ByteReader r(payload);
  const uint32_t base = r.U8(), width = r.U8();
  if (!r.ok() || width > 8) return Corrupt("packed tile: width");
  const ByteSpan bits = payload.subspan(r.offset());
  const uint64_t total = uint64_t{n} * width;
  if (bits.size() != BytesOfBits(total)) return Corrupt("packed tile: length");
  if (!PaddingIsZero(bits, total)) return Corrupt("packed tile: padding");
  const uint64_t mask = (uint64_t{1} << width) - 1;
  uint32_t largest = base;
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t code = base + static_cast<uint32_t>(LoadBits(bits, uint64_t{i} * width) & mask);
    largest = std::max(largest, code);
    codes[i] = static_cast<uint8_t>(code);
  }
  if (largest >= symbols) return Corrupt("packed tile: code out of the alphabet");
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
