#include "codec/simd/huffman_streams.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/huffman_streams.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/code_lengths-inl.h"
// clang-format on

#include <algorithm>
#include <cstring>

#include "codec/symbol_run_table.h"
#include "codec/tile_payload.h"

#ifndef KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_
#define KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_
namespace kvcompd::codec {

constexpr uint32_t kRuns = 4;
constexpr size_t kSlackBytes = 64;  // behind the bits and behind each run's codes

// Codes on end, somewhere in a bit string. Reading may leave `out` past `end`, by what one round gives.
struct BitRun {
  uint64_t bit;  // place of the next code
  uint8_t* out;
  uint8_t* end;
};

}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_HUFFMAN_STREAMS_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {

constexpr uint32_t kLooksPerRound = 5;  // of 11 bits each: an unaligned word has 57
static_assert(kLooksPerRound * SymbolRunTable::kIndexBits <= 57);
static_assert(kLooksPerRound * SymbolRunTable::kMaxRun + 8 <= kSlackBytes);

// One look: symbols to *out, of which only those of the run stay. Returns the run's bits and count.
HWY_INLINE uint64_t Look(const uint64_t* entries, uint64_t* window, uint8_t** out) {
  const uint64_t entry = entries[*window & (SymbolRunTable::kEntries - 1)];
  std::memcpy(*out, &entry, sizeof entry);
  const uint64_t run = entry >> SymbolRunTable::kRunShift;
  *window >>= run & 63;
  *out += run >> SymbolRunTable::kCountShift;
  return run;
}

// kLooksPerRound looks, or fewer and a code of 12 bits. bits: `bytes` of them, then 8 zeros; what is read
// beyond is zeros, too.
HWY_INLINE void ReadRound(const uint64_t* entries, const std::byte* bits, uint64_t bytes, BitRun* run) {
  uint64_t window;
  std::memcpy(&window, bits + std::min(run->bit / 8, bytes), sizeof window);
  window >>= run->bit % 8;
  uint8_t* out = run->out;
  uint64_t sum = 0, last = 0;
  for (uint32_t k = 0; k < kLooksPerRound; ++k) sum += last = Look(entries, &window, &out);
  // The low 6 bits of the sum are that of the bits, at most 55.
  run->bit += sum & 63;
  if (HWY_UNLIKELY(last == 0)) {  // the looks stand still before a code of 12 bits
    const uint64_t entry = entries[window & (SymbolRunTable::kEntries - 1)];
    const uint32_t last_bit = (window >> SymbolRunTable::kIndexBits) & 1;
    *out++ = static_cast<uint8_t>(entry >> (8 * last_bit));
    run->bit += SymbolRunTable::kIndexBits + 1;
  }
  run->out = out;
}

void ReadRuns(const SymbolRunTable& table, const std::byte* bits, uint64_t bytes, BitRun* runs) {
  const uint64_t* const entries = table.entries();
  BitRun a = runs[0], b = runs[1], c = runs[2], d = runs[3];
  while (a.out < a.end && b.out < b.end && c.out < c.end && d.out < d.end) {
    ReadRound(entries, bits, bytes, &a);
    ReadRound(entries, bits, bytes, &b);
    ReadRound(entries, bits, bytes, &c);
    ReadRound(entries, bits, bytes, &d);
  }
  for (BitRun* run : {&a, &b, &c, &d}) {
    while (run->out < run->end) ReadRound(entries, bits, bytes, run);
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
