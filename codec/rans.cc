#include "codec/rans.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "codec/bit_io.h"

namespace kvcompd::codec {
namespace {

absl::Status Corrupt(const char* what) { return absl::DataLossError(what); }

RansEncoding EncodingOf(uint32_t frequency, uint32_t first_slot) {
  const auto k = static_cast<uint32_t>(std::bit_width(frequency - 1));
  const uint64_t reciprocal = ((uint64_t{1} << (28 + k)) + frequency - 1) / frequency;
  return {.reciprocal = static_cast<uint32_t>(reciprocal), .packed = k << 24 | first_slot << 12 | frequency};
}

using Offsets = std::array<uint32_t, kMaxRansPeriod + kMaxRansLanes>;

// Where each position's table begins, for tables of `stride` entries.
void FillOffsets(std::span<const uint8_t> contexts, uint32_t stride, Offsets* offsets) {
  const size_t period = contexts.size();
  for (size_t i = 0; i < period; ++i) (*offsets)[i] = contexts[i] * stride;
  for (size_t i = period; i < period + kMaxRansLanes; ++i) (*offsets)[i] = (*offsets)[i - period];
}

constexpr uint32_t kCarriedMask = (1u << kRansStateBits) - 1;

// Bits of a state above the lowest 12 and below its leading one.
uint32_t StateWidth(uint32_t state) {
  return static_cast<uint32_t>(std::bit_width(state >> kRansStateBits)) - 1;
}

}  // namespace

absl::StatusOr<RansTables> RansTables::FromFrequencies(uint32_t prob_bits, uint32_t symbols,
                                                       std::span<const uint16_t> frequencies) {
  if (prob_bits < kMinRansProbBits || prob_bits > kMaxRansProbBits) return Corrupt("rans: precision");
  if (symbols < 2 || symbols > kMaxRansSymbols || frequencies.empty() || frequencies.size() % symbols != 0 ||
      frequencies.size() / symbols > kMaxRansContexts) {
    return Corrupt("rans: symbols or contexts");
  }
  RansTables tables;
  tables.prob_bits_ = prob_bits;
  tables.symbols_ = symbols;
  tables.encodings_.reserve(frequencies.size());
  tables.decodings_.reserve((frequencies.size() / symbols) << prob_bits);
  for (size_t first = 0; first < frequencies.size(); first += symbols) {
    uint32_t slot = 0;
    for (uint32_t s = 0; s < symbols; ++s) {
      const uint32_t frequency = frequencies[first + s];
      if (frequency == 0 || slot + frequency > 1u << prob_bits) return Corrupt("rans: frequencies");
      tables.encodings_.push_back(EncodingOf(frequency, slot));
      for (uint32_t i = 0; i < frequency; ++i) tables.decodings_.push_back(s << 24 | i << 12 | frequency);
      slot += frequency;
    }
    if (slot != 1u << prob_bits) return Corrupt("rans: frequencies");
  }
  return tables;
}

std::vector<uint16_t> RansFrequencies(std::span<const uint64_t> counts, uint32_t prob_bits) {
  // Counts of at most 48 bits, so that products with 1 << prob_bits fit 64.
  uint64_t total = 0;
  int shift = 0;
  for (const uint64_t c : counts) shift = std::max(shift, static_cast<int>(std::bit_width(c)) - 48);
  for (const uint64_t c : counts) total += c >> shift;
  const uint64_t slots = uint64_t{1} << prob_bits;
  const uint64_t spare = slots - counts.size();  // after one for each
  std::vector<uint16_t> frequencies(counts.size(), 1);
  std::vector<std::pair<uint64_t, uint32_t>> remainders;  // those of the largest remainder get what is left
  uint64_t left = spare;
  for (uint32_t s = 0; s < counts.size(); ++s) {
    const uint64_t product = total == 0 ? 0 : (counts[s] >> shift) * spare;
    const uint64_t share = total == 0 ? 0 : product / total;
    frequencies[s] = static_cast<uint16_t>(1 + share);
    left -= share;
    remainders.emplace_back(total == 0 ? 0 : product % total, s);
  }
  std::stable_sort(remainders.begin(), remainders.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; left > 0; i = i + 1 == remainders.size() ? 0 : i + 1, --left) {
    ++frequencies[remainders[i].second];
  }
  return frequencies;
}

uint32_t RansCost256(uint32_t frequency, uint32_t prob_bits) {
  // log2 of a number in [1, 2) bit by bit: squaring doubles it.
  const auto whole = static_cast<uint32_t>(std::bit_width(frequency)) - 1;
  uint64_t x = uint64_t{frequency} << (31 - whole);
  uint32_t log2 = whole;
  for (int bit = 0; bit < 8; ++bit) {
    x = x * x >> 31;
    log2 = log2 << 1 | static_cast<uint32_t>(x >> 32);
    x >>= x >> 32;
  }
  return (prob_bits << 8) - log2;
}

uint32_t EncodeRans(const RansTables& tables, std::span<const uint8_t> contexts, uint32_t lanes,
                    std::span<const uint8_t> symbols, ByteSpan carried, MutableByteSpan workspace,
                    MutableByteSpan out) {
  const auto n = static_cast<uint32_t>(symbols.size());
  Offsets offsets;
  FillOffsets(contexts, tables.symbols(), &offsets);
  std::array<uint32_t, kMaxRansLanes> states;
  for (uint32_t l = 0; l < lanes; ++l) {
    const auto payload = static_cast<uint32_t>(LoadBits(carried, uint64_t{l} * kRansStateBits));
    states[l] = 1u << kRansStateBits | (payload & kCarriedMask);
  }
  std::byte* const words_end = workspace.data() + RansWorkspaceBytes(n);
  const uint32_t words = EncodeRansLanes(lanes,
                                         {.entries = tables.encodings().data(),
                                          .prob_bits = tables.prob_bits(),
                                          .offsets = offsets.data(),
                                          .period = static_cast<uint32_t>(contexts.size())},
                                         symbols.data(), n, states.data(), words_end);

  uint64_t state_bits = 0;
  for (uint32_t l = 0; l < lanes; ++l) state_bits += kRansStateBits + StateWidth(states[l]);
  const uint64_t state_bytes = (lanes / 2 + (state_bits + 7) / 8 + 1) / 2 * 2;
  const uint64_t bytes = state_bytes + uint64_t{words} * 2;
  if (bytes > out.size()) return 0;
  out[state_bytes - 1] = std::byte{0};  // maybe padding
  BitWriter bits(out.first(state_bytes));
  for (uint32_t l = 0; l < lanes; ++l) bits.Put(StateWidth(states[l]), 4);
  for (uint32_t l = 0; l < lanes; ++l) {
    const uint32_t width = kRansStateBits + StateWidth(states[l]);
    bits.Put(states[l] - (1u << width), width);
  }
  bits.Finish();
  std::memcpy(out.data() + state_bytes, words_end - size_t{words} * 2, size_t{words} * 2);
  return static_cast<uint32_t>(bytes);
}

absl::Status DecodeRans(const RansTables& tables, std::span<const uint8_t> contexts, uint32_t lanes,
                        ByteSpan stream, std::span<uint8_t> symbols, MutableByteSpan carried) {
  const auto n = static_cast<uint32_t>(symbols.size());
  if (stream.size() % 2 != 0 || stream.size() < lanes / 2) return Corrupt("rans: length");
  std::array<uint32_t, kMaxRansLanes> states;
  uint64_t bit = uint64_t{lanes} * 4;
  for (uint32_t l = 0; l < lanes; ++l) {
    const uint32_t width = kRansStateBits + (static_cast<uint32_t>(LoadBits(stream, uint64_t{l} * 4)) & 15);
    states[l] = 1u << width | (static_cast<uint32_t>(LoadBits(stream, bit)) & ((1u << width) - 1));
    bit += width;
  }
  const uint64_t state_bytes = ((bit + 7) / 8 + 1) / 2 * 2;
  if (stream.size() < state_bytes) return Corrupt("rans: length");
  if (LoadBits(stream.first(state_bytes), bit) != 0) return Corrupt("rans: padding");

  Offsets offsets;
  FillOffsets(contexts, 1u << tables.prob_bits(), &offsets);
  const auto words = static_cast<uint32_t>((stream.size() - state_bytes) / 2);
  const uint32_t used = DecodeRansLanes(lanes,
                                        {.entries = tables.decodings().data(),
                                         .prob_bits = tables.prob_bits(),
                                         .offsets = offsets.data(),
                                         .period = static_cast<uint32_t>(contexts.size())},
                                        stream.data() + state_bytes, words, states.data(), symbols.data(), n);
  if (used != words) return Corrupt("rans: number of words");
  BitWriter out(carried.first(RansCarriedBytes(lanes)));
  for (uint32_t l = 0; l < lanes; ++l) {
    if (states[l] >> kRansStateBits != 1) return Corrupt("rans: a state does not end where it should");
    out.Put(states[l] & kCarriedMask, kRansStateBits);
  }
  out.Finish();
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
