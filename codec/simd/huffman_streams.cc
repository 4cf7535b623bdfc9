#include "codec/simd/huffman_streams.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/huffman_streams.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/code_lengths-inl.h"
// clang-format on

#include <algorithm>
#include <bit>
#include <cstring>

#include "codec/symbol_run_table.h"
#include "codec/tile_payload.h"

#ifndef KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_
#define KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_
namespace kvcompd::codec {
namespace {

constexpr uint32_t kRuns = 4;
constexpr size_t kSlackBytes = 64;  // behind the bits and behind each run's codes

// Codes on end, somewhere in a bit string. Reading may leave `out` past `end`, by what one round gives.
struct BitRun {
  uint64_t bit;  // place of the next code
  uint8_t* out;
  uint8_t* end;
};

}  // namespace
}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace {  // other kernels have functions of these names

constexpr uint32_t kLooksPerRound = 5;  // of 11 bits each: an unaligned word has 57
static_assert(kLooksPerRound * SymbolRunTable::kIndexBits + 1 <= 57);  // the last may be a code of 12 bits
// Set in a word of bits, it says how far the word has been shifted.
constexpr uint64_t kTopBit = uint64_t{1} << 63;
static_assert(kLooksPerRound * SymbolRunTable::kMaxRun + 8 <= kSlackBytes);

// Reads on in kCount runs at once: kLooksPerRound looks each, or fewer and a code of 12 bits. A look waits
// for the one before it in its run, so the runs take turns. bits: `bytes` of them, then 8 zeros; what is read
// beyond is zeros, too.
template <uint32_t kCount>
HWY_INLINE void ReadRound(const uint64_t* entries, const std::byte* bits, uint64_t bytes, BitRun* runs) {
  uint64_t window[kCount], entry[kCount];
  uint8_t* out[kCount];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < kCount; ++r) {
    std::memcpy(&window[r], bits + std::min(runs[r].bit / 8, bytes), sizeof window[r]);
    window[r] = window[r] >> (runs[r].bit % 8) | kTopBit;
    out[r] = runs[r].out;
  }
#pragma GCC unroll 8
  for (uint32_t k = 0; k < kLooksPerRound; ++k) {
#pragma GCC unroll 8
    for (uint32_t r = 0; r < kCount; ++r) {
      entry[r] = entries[window[r] & (SymbolRunTable::kEntries - 1)];
      window[r] >>= entry[r] & 63;
      const uint64_t symbols = entry[r] >> SymbolRunTable::kSymbolsShift;
      std::memcpy(out[r], &symbols,
                  sizeof symbols);  // what is no symbol of the run is overwritten by the next
      out[r] += SymbolRunTable::Count(entry[r]);
    }
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < kCount; ++r) {
    runs[r].bit += static_cast<uint32_t>(std::countl_zero(window[r]));
    if (HWY_UNLIKELY(SymbolRunTable::Count(entry[r]) ==
                     0)) {  // the looks stand still before a code of 12 bits
      const uint32_t last_bit = (window[r] >> SymbolRunTable::kIndexBits) & 1;
      *out[r]++ = static_cast<uint8_t>(entry[r] >> (SymbolRunTable::kSymbolsShift + 8 * last_bit));
      runs[r].bit += SymbolRunTable::kIndexBits + 1;
    }
    runs[r].out = out[r];
  }
}

void ReadRuns(const SymbolRunTable& table, const std::byte* bits, uint64_t bytes, BitRun* runs) {
  const uint64_t* const entries = table.entries();
  static_assert(kRuns == 4);
  while (runs[0].out < runs[0].end && runs[1].out < runs[1].end && runs[2].out < runs[2].end &&
         runs[3].out < runs[3].end) {
    ReadRound<kRuns>(entries, bits, bytes, runs);
  }
  for (uint32_t r = 0; r < kRuns; ++r) {
    while (runs[r].out < runs[r].end) ReadRound<1>(entries, bits, bytes, &runs[r]);
  }
}

bool StreamsEndWhereTheyShould(const Codebook& book, const StreamLayout& layout, uint32_t channels,
                               const uint32_t* stream_bits, const uint8_t* const* rows) {
  const CodeLengths lengths(book.lengths().data(), book.num_symbols());
  bool right = true;
  for (uint32_t i = 0; i < layout.streams; ++i) {
    const size_t n = size_t{layout.tokens_of(i)} * channels;
    right &= lengths.Sum(rows[i * layout.tokens_per_stream], n) == stream_bits[i];
  }
  return right;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace {

HWY_EXPORT(ReadRuns);
HWY_EXPORT(StreamsEndWhereTheyShould);

}  // namespace

uint64_t HuffmanScratchBytes(uint64_t tile_bytes, uint64_t n) {
  return tile_bytes + n + (kRuns + 1) * kSlackBytes;
}

absl::Status ReadHuffmanStreams(ByteSpan payload, uint32_t tokens, uint32_t channels, const Codebook& book,
                                MutableByteSpan scratch, TokenRows* rows) {
  const StreamLayout layout(tokens);
  HuffmanDirectory directory;
  if (auto s = ReadHuffmanDirectory(payload, layout, &directory); !s.ok()) return s;

  // A copy with zeros behind it, so that words can be loaded up to its end.
  std::byte* const bits = scratch.data();
  const size_t bytes = directory.streams.size();
  if (bytes != 0) std::memcpy(bits, directory.streams.data(), bytes);
  std::memset(bits + bytes, 0, kSlackBytes);
  auto* codes = reinterpret_cast<uint8_t*>(bits + bytes + kSlackBytes);

  BitRun runs[kRuns];
  uint64_t bit = 0;
  for (uint32_t r = 0, stream = 0; r < kRuns; ++r) {
    runs[r] = {.bit = bit, .out = codes, .end = codes};
    for (; stream < layout.streams * (r + 1) / kRuns; ++stream) {
      for (uint32_t t = 0; t < layout.tokens_of(stream); ++t) {
        (*rows)[stream * layout.tokens_per_stream + t] = runs[r].end;
        runs[r].end += channels;
      }
      bit += directory.stream_bits[stream];
    }
    codes = runs[r].end + kSlackBytes;
  }
  HWY_DYNAMIC_DISPATCH(ReadRuns)(book.symbol_runs(), bits, bytes, runs);
  if (!HWY_DYNAMIC_DISPATCH(StreamsEndWhereTheyShould)(book, layout, channels, directory.stream_bits.data(),
                                                       rows->data())) {
    return absl::DataLossError("huffman tile: a stream does not end where it should");
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
