// Codebooks: canonical, length-limited Huffman books or rANS frequencies, with a total alphabet, and the
// immutable sets of them that blocks name by SHA-256 (FORMAT.md, "Codebook set").
//
// Total alphabet: every symbol that the profile can produce has a code, whether it was ever seen or not
// (KVComp's published books give unseen symbols length 0 and silently corrupt; research note "traps").
//
// Immutable once built, so const use from any thread.
//
//   CodebookTrainer trainer(fingerprint, profile);
//   trainer.Add(layer, Tensor::kK, histogram);
//   std::shared_ptr<const CodebookSet> set = trainer.Build();
#ifndef KVCOMPD_CODEC_CODEBOOK_H_
#define KVCOMPD_CODEC_CODEBOOK_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/rans.h"
#include "codec/symbol_run_table.h"

namespace kvcompd::codec {

inline constexpr uint32_t kMaxSymbols = 256;
inline constexpr uint32_t kMaxCodeBits = 12;   // of books this encoder builds and every decoder takes
inline constexpr uint32_t kBookProbBits = 12;  // frequencies of a book for rANS sum to 1 << this

// Number of codes that the quantiser can produce at a relative step (FORMAT.md, "Alphabet"); at most 256.
uint32_t AlphabetSize(double rel, bool strict);
inline uint32_t AlphabetSize(const Profile& profile, Tensor tensor) {
  return AlphabetSize(profile.rel(tensor), profile.strict);
}
// The code of a constant unit's values: about the middle of the codes that a unit's values use (the last
// codes are for rounding only), and so among the cheapest to write.
constexpr uint32_t MiddleCode(uint32_t symbols) { return symbols < 3 ? 0 : (symbols - 3) / 2; }

// What shares one scale and zero point. The numbers are frozen in the file format.
enum class QuantUnit : uint8_t {
  kBlock = 1,    // all heads, tokens and channels of a tile group
  kChannel = 2,  // K: one channel of one head over the tile's tokens
  kToken = 3,    // V: one token over all heads and channels of a tile group
};
QuantUnit UnitOf(const Profile& profile, Tensor tensor);

// The symbols of a book for `codes` codes of the quantiser. Huffman codes are of the codes themselves. rANS
// has a symbol for each multiple of the step from -(codes - 1) to codes - 1 where the unit is shared by all
// channels and 256 symbols suffice, so that a value has one symbol wherever its unit begins; else the codes.
uint32_t BookSymbols(Coder coder, QuantUnit unit, uint32_t codes);
uint32_t BookSymbols(const Profile& profile, Tensor tensor);
// What is added to a unit's codes to make symbols for rANS. zero: the unit's; of a constant unit -MiddleCode.
uint32_t RansShift(QuantUnit unit, uint32_t codes, int32_t zero);

// What is made when first asked for, by whichever thread that is; where several make it, all are equal and
// the first one stays.
template <typename T>
class Lazy {
 public:
  ~Lazy() { delete made_.load(); }
  template <typename Make>
  const T& Get(Make&& make) {
    const T* made = made_.load(std::memory_order_acquire);
    if (made != nullptr) return *made;
    auto mine = std::make_unique<const T>(make());
    if (!made_.compare_exchange_strong(made, mine.get(), std::memory_order_acq_rel)) return *made;
    return *mine.release();
  }

 private:
  std::atomic<const T*> made_ = nullptr;
};

// One canonical Huffman book, or the frequencies of one for rANS.
class Codebook {
 public:
  // lengths[s] = code length of symbol s, 1 to kMaxCodeBits, for 2 to 256 symbols; the Kraft sum must be
  // exactly 1. DATA_LOSS otherwise.
  static absl::StatusOr<Codebook> FromLengths(std::span<const uint8_t> lengths);
  // The optimal length-limited book (package-merge) for counts of 2 to 256 symbols, each count c weighed as
  // 64c+1: a symbol never seen costs little and still has a code. For rANS frequencies in proportion, each 1
  // or more. Deterministic.
  static Codebook FromCounts(std::span<const uint64_t> counts, Coder coder = Coder::kHuffman);
  // frequencies of 2 to 256 symbols, each 1 or more, summing to 1 << kBookProbBits. DATA_LOSS otherwise.
  static absl::StatusOr<Codebook> FromFrequencies(std::span<const uint16_t> frequencies);

  Coder coder() const { return coder_; }
  uint32_t num_symbols() const { return num_symbols_; }

  // Of rANS; empty of Huffman, which has no rans_tables().
  std::span<const uint16_t> frequencies() const { return frequencies_; }  // [num_symbols]
  const RansTables& rans_tables() const;

  // Of Huffman; empty of rANS. lengths() and codes() have num_symbols() elements; behind them, to
  // kMaxSymbols, are readable zeros, for lookups of whole vectors.
  std::span<const uint8_t> lengths() const {
    return std::span(lengths_).first(coder_ == Coder::kHuffman ? num_symbols_ : 0);
  }
  uint32_t max_bits() const { return max_bits_; }
  // Codes as they stand in the stream: bit-reversed, so that the first bit is the least significant.
  std::span<const uint16_t> codes() const {
    return std::span(codes_).first(coder_ == Coder::kHuffman ? num_symbols_ : 0);
  }
  // [1 << max_bits] entries, indexed by the next max_bits bits: symbol << 8 | length.
  std::span<const uint16_t> decode_table() const { return decode_table_; }
  // The same for several symbols at a time; made when first asked for, by whichever thread that is.
  const SymbolRunTable& symbol_runs() const {
    return lazy_->runs.Get([this] { return SymbolRunTable(decode_table_); });
  }
  // Of this object and what it owns, symbol_runs() or rans_tables() included, whether made or not.
  uint64_t memory_bytes() const;
  // Bits that these counts would take, rounded; counts beyond the alphabet are not looked at.
  uint64_t CostBits(std::span<const uint64_t> counts) const;

 private:
  // Most books of a set are never coded with, and these tables are larger than the rest of a book.
  struct LazyTables {
    Lazy<SymbolRunTable> runs;
    Lazy<RansTables> rans;
  };

  Coder coder_ = Coder::kHuffman;
  uint32_t num_symbols_ = 0;
  uint32_t max_bits_ = 0;
  std::vector<uint8_t> lengths_;  // kMaxSymbols of them, or none
  std::vector<uint16_t> codes_;
  std::vector<uint16_t> decode_table_;
  std::vector<uint16_t> frequencies_;
  std::shared_ptr<LazyTables> lazy_ = std::make_shared<LazyTables>();  // copies of a book share it
};

// The book that serves until samples suffice, from a fixed integer formula (FORMAT.md, "Codebook set"), of
// BookSymbols(coder, unit, codes) symbols. codes: 2 to 256. Lives for ever; thread-safe.
const Codebook& BuiltInBook(QuantUnit unit, uint32_t codes, Coder coder = Coder::kHuffman);

// Books of one namespace and profile, one a layer and K/V. Layer kAnyLayer stands for all layers without a
// book of their own.
class CodebookSet {
 public:
  static constexpr uint16_t kAnyLayer = 0xffff;
  static constexpr size_t kMaxBytes = 16 * 1024 * 1024;
  // One a layer of a model's 16 groups, and one of all layers.
  static constexpr size_t kMaxBooksPerTensor = 16 * kMaxLayers + 1;
  static constexpr size_t kMaxBooks = 2 * kMaxBooksPerTensor;

  // Parses canonical bytes. DATA_LOSS: malformed, not canonical or over a limit; UNIMPLEMENTED: a newer
  // version, tensor, or profile.
  static absl::StatusOr<std::shared_ptr<const CodebookSet>> Parse(std::string_view canonical_bytes);
  // The set that serves until samples suffice: books from a fixed integer formula, for any fingerprint
  // (its fingerprint field is zero). Its id is a constant of the format version and profile.
  static std::shared_ptr<const CodebookSet> BuiltIn(const Profile& profile);

  const Digest& id() const { return id_; }  // SHA-256 of canonical_bytes()
  const std::string& canonical_bytes() const { return canonical_bytes_; }
  const Fingerprint& fingerprint() const { return fingerprint_; }
  const std::string& profile_text() const { return profile_text_; }
  size_t books() const { return books_.size(); }
  uint64_t memory_bytes() const;  // with the decode tables, which are much longer than the canonical bytes
  // Null only where the profile's codec has no books: other sets have a book of all layers for K and V.
  const Codebook* Find(uint32_t layer, Tensor tensor) const;

 private:
  friend class CodebookTrainer;
  CodebookSet() = default;
  Digest id_;
  std::string canonical_bytes_;
  Fingerprint fingerprint_;
  std::string profile_text_;
  std::map<std::pair<uint16_t, uint8_t>, Codebook> books_;
};

// The book of a layer's K or V of a block that names set `id`: null, for the built-in one, where the id is
// zero; else `set` holds it. NOT_FOUND: there is no set; DATA_LOSS: it is another one or has no books. So a
// block that names a set is never decoded with a built-in book.
absl::StatusOr<const Codebook*> FindBook(const Digest& id, const CodebookSet* set, uint32_t layer,
                                         Tensor tensor);

// Collects histograms and builds sets. Not thread-safe: the caller locks.
class CodebookTrainer {
 public:
  CodebookTrainer(const Fingerprint& fingerprint, const Profile& profile);
  // counts: [256], of a book's symbols; layer: the global layer number. Counts beyond them are dropped.
  void Add(uint32_t layer, Tensor tensor, std::span<const uint32_t> counts);
  uint64_t samples() const { return samples_; }  // codes added
  // Bits that all samples so far would take with a set, for the refresh rule; kMaxCodeBits a code where the
  // set has no book.
  uint64_t CostBits(const CodebookSet& set) const;
  // A book for each (layer, tensor) that was added, and kAnyLayer books of all layers' counts together (the
  // built-in one for a tensor without samples). Of more layers than a set may have books, the lowest get one
  // of their own. Null where the profile has no books or nothing was added.
  std::shared_ptr<const CodebookSet> Build() const;

 private:
  Fingerprint fingerprint_;
  Profile profile_;
  uint64_t samples_ = 0;
  std::map<std::pair<uint16_t, uint8_t>, std::vector<uint64_t>> counts_;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_CODEBOOK_H_
