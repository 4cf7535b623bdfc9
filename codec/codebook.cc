#include "codec/codebook.h"

#include <algorithm>
#include <array>
#include <memory>

#include "absl/status/status.h"
#include "codec/base/mutex.h"
#include "codec/package_merge.h"

namespace kvcompd::codec {
namespace {

constexpr uint64_t kMaxCount = uint64_t{1} << 44;  // of one symbol, so that 256 weights times 12 fit 64 bits

uint16_t ReverseBits(uint32_t code, uint32_t bits) {
  uint32_t out = 0;
  for (uint32_t i = 0; i < bits; ++i) out |= ((code >> i) & 1) << (bits - 1 - i);
  return static_cast<uint16_t>(out);
}

// Width of a built-in book relative to the span of its codes, in 16ths. A block's extremes are outliers far
// from its bulk, a token's less so, and a channel's few values fill their range.
int64_t WidthIn16ths(QuantUnit unit) {
  switch (unit) {
    case QuantUnit::kBlock:
      return 5;
    case QuantUnit::kToken:
      return 8;
    case QuantUnit::kChannel:
      break;
  }
  return 12;
}

// The built-in books' counts: a Student t distribution of three degrees of freedom in integers, around the
// middle of the symbols, which is the multiple 0 of the step where symbols count multiples. Distances are in
// half codes, so that the middle may lie between two codes.
std::vector<uint64_t> BuiltInCounts(QuantUnit unit, uint32_t codes, Coder coder) {
  const int64_t span = std::max<int64_t>(1, int64_t{codes} - 3);  // the last codes are for rounding only
  const int64_t width = std::max<int64_t>(1, span * WidthIn16ths(unit) / 16);
  const uint32_t symbols = BookSymbols(coder, unit, codes);
  const int64_t middle = symbols == codes ? span : 2 * int64_t{codes - 1};
  std::vector<uint64_t> counts(symbols);
  for (uint32_t s = 0; s < symbols; ++s) {
    const int64_t distance = 2 * int64_t{s} - middle;
    const uint64_t q = static_cast<uint64_t>(width * width + distance * distance);
    counts[s] = (uint64_t{1} << 40) / (q * q);
  }
  return counts;
}

}  // namespace

uint32_t AlphabetSize(double rel, bool strict) {
  const double steps = 1.0 / rel;
  const double levels = (strict ? (4.0 / 3.0) * steps : steps) * (1.0 + 1.0 / 128);
  if (!(levels < kMaxSymbols)) return kMaxSymbols;
  return std::min<uint32_t>(static_cast<uint32_t>(levels) + 3, kMaxSymbols);
}

QuantUnit UnitOf(const Profile& profile, Tensor tensor) {
  if (tensor == Tensor::kV) return profile.v_unit == VUnit::kBlock ? QuantUnit::kBlock : QuantUnit::kToken;
  return profile.k_unit == KUnit::kChannel ? QuantUnit::kChannel : QuantUnit::kBlock;
}

uint32_t BookSymbols(Coder coder, QuantUnit unit, uint32_t codes) {
  const bool multiples = coder == Coder::kRans && unit != QuantUnit::kChannel && 2 * codes - 1 <= kMaxSymbols;
  return multiples ? 2 * codes - 1 : codes;
}

uint32_t BookSymbols(const Profile& profile, Tensor tensor) {
  return BookSymbols(profile.coder, UnitOf(profile, tensor), AlphabetSize(profile, tensor));
}

uint32_t RansShift(QuantUnit unit, uint32_t codes, int32_t zero) {
  if (BookSymbols(Coder::kRans, unit, codes) == codes) return 0;
  const auto last = static_cast<int32_t>(codes - 1);
  return static_cast<uint32_t>(last + std::clamp(zero, -last, 0));
}

absl::StatusOr<Codebook> Codebook::FromLengths(std::span<const uint8_t> lengths) {
  if (lengths.size() < 2 || lengths.size() > kMaxSymbols) {
    return absl::DataLossError("codebook: not 2 to 256 symbols");
  }
  std::array<uint32_t, kMaxCodeBits + 1> of_length{};
  uint32_t kraft = 0, max_bits = 0;
  for (const uint8_t l : lengths) {
    if (l < 1 || l > kMaxCodeBits) return absl::DataLossError("codebook: code length out of range");
    ++of_length[l];
    kraft += 1u << (kMaxCodeBits - l);
    max_bits = std::max<uint32_t>(max_bits, l);
  }
  if (kraft != 1u << kMaxCodeBits) return absl::DataLossError("codebook: the lengths make no complete code");

  Codebook book;
  book.num_symbols_ = static_cast<uint32_t>(lengths.size());
  book.lengths_.resize(kMaxSymbols);
  book.codes_.resize(kMaxSymbols);
  std::copy(lengths.begin(), lengths.end(), book.lengths_.begin());
  book.max_bits_ = max_bits;
  std::array<uint32_t, kMaxCodeBits + 1> next{};  // the canonical code that comes next, by length
  for (uint32_t l = 1, code = 0; l <= kMaxCodeBits; ++l) {
    code = (code + of_length[l - 1]) << 1;
    next[l] = code;
  }
  book.decode_table_.resize(size_t{1} << max_bits);
  for (uint32_t s = 0; s < lengths.size(); ++s) {
    const uint32_t l = lengths[s];
    const uint16_t code = ReverseBits(next[l]++, l);
    book.codes_[s] = code;
    const auto entry = static_cast<uint16_t>(s << 8 | l);
    for (size_t i = code; i < book.decode_table_.size(); i += size_t{1} << l) book.decode_table_[i] = entry;
  }
  return book;
}

absl::StatusOr<Codebook> Codebook::FromFrequencies(std::span<const uint16_t> frequencies) {
  if (frequencies.size() < 2 || frequencies.size() > kMaxSymbols) {
    return absl::DataLossError("codebook: not 2 to 256 symbols");
  }
  uint64_t sum = 0;
  for (const uint16_t f : frequencies) {
    if (f == 0) return absl::DataLossError("codebook: a frequency of 0");
    sum += f;
  }
  if (sum != 1u << kBookProbBits) return absl::DataLossError("codebook: the sum of the frequencies");
  Codebook book;
  book.coder_ = Coder::kRans;
  book.num_symbols_ = static_cast<uint32_t>(frequencies.size());
  book.frequencies_.assign(frequencies.begin(), frequencies.end());
  return book;
}

Codebook Codebook::FromCounts(std::span<const uint64_t> counts, Coder coder) {
  if (coder == Coder::kRans) return *FromFrequencies(RansFrequencies(counts, kBookProbBits));
  std::vector<uint64_t> weights;
  weights.reserve(counts.size());
  for (const uint64_t c : counts) weights.push_back(64 * std::min(c, kMaxCount) + 1);
  // Package-merge makes a complete code for any 2 to 256 weights, so this cannot fail.
  return *FromLengths(PackageMerge(weights, kMaxCodeBits));
}

const RansTables& Codebook::rans_tables() const {
  return lazy_->rans.Get(
      [this] { return *RansTables::FromFrequencies(kBookProbBits, num_symbols_, frequencies_); });
}

uint64_t Codebook::memory_bytes() const {
  const uint64_t tables =
      coder_ == Coder::kHuffman
          ? sizeof(SymbolRunTable)
          : sizeof(RansTables) + (sizeof(uint32_t) << kBookProbBits) + num_symbols_ * sizeof(RansEncoding);
  return sizeof *this + lengths_.size() * sizeof(uint8_t) +
         (codes_.size() + decode_table_.size() + frequencies_.size()) * sizeof(uint16_t) +
         sizeof(LazyTables) + tables;
}

uint64_t Codebook::CostBits(std::span<const uint64_t> counts) const {
  uint64_t bits = 0, bits_256 = 0;
  for (size_t s = 0; s < std::min<size_t>(counts.size(), num_symbols_); ++s) {
    if (coder_ == Coder::kHuffman) {
      bits += counts[s] * lengths_[s];
    } else {
      const uint64_t cost_256 = RansCost256(frequencies_[s], kBookProbBits);
      bits += (counts[s] >> 8) * cost_256;  // in two parts, for counts near 2^64 / kMaxCodeBits
      bits_256 += (counts[s] & 255) * cost_256;
    }
  }
  return bits + (bits_256 + 128) / 256;
}

const Codebook& BuiltInBook(QuantUnit unit, uint32_t codes, Coder coder) {
  struct Books {
    Mutex mutex;  // of making one; every tile asks, so that reading takes none
    std::array<std::array<std::array<std::atomic<const Codebook*>, kMaxSymbols + 1>, 3>, 2> books{};
  };
  static Books* const all = new Books;  // never destroyed: other threads may outlive main
  std::atomic<const Codebook*>& book =
      all->books[static_cast<size_t>(coder) - 1][static_cast<size_t>(unit) - 1][codes];
  if (const Codebook* const made = book.load(std::memory_order_acquire)) return *made;
  MutexLock lock(&all->mutex);
  if (book.load(std::memory_order_relaxed) == nullptr) {
    book.store(new Codebook(Codebook::FromCounts(BuiltInCounts(unit, codes, coder), coder)),
               std::memory_order_release);
  }
  return *book.load(std::memory_order_relaxed);
}

}  // namespace kvcompd::codec
