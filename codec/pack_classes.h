// The classes of codec packkv's packs: a pack names one of at most 16 (base, width) pairs of its tile group
// instead of carrying a minimum and a width of its own (FORMAT.md, "Codec packkv").
//
// Called by packkv_encoder.cc; PackClasses itself also by readers. Pure functions, any thread.
//
//   PackHistogram histogram(symbols);
//   histogram.Add(entries, n, tokens);                    // Entry(low, high) of every pack of the group
//   PackClassChoice choice = ChoosePackClasses(histogram); // choice.class_of_entry of each pack
//
// PackKV (PackKV's artefact, bit-pack format) stores both per pack: 7 bits of 16 values of K. A pack's
// extremes take few values, so an index of 2 or 3 bits says nearly as much.
#ifndef KVCOMPD_CODEC_PACK_CLASSES_H_
#define KVCOMPD_CODEC_PACK_CLASSES_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace kvcompd::codec {

inline constexpr uint32_t kMaxPackClasses = 16;
inline constexpr uint32_t kMaxPackWidth = 8;

// Codes base to base + 2^width - 1, which are at most 255.
struct PackClass {
  uint8_t base = 0;
  uint8_t width = 0;

  friend bool operator==(const PackClass&, const PackClass&) = default;
};

struct PackClasses {
  uint32_t count = 0;  // 1 to kMaxPackClasses
  std::array<PackClass, kMaxPackClasses> of{};

  // Bits of a class's number: 0 to 4.
  uint32_t index_bits() const { return static_cast<uint32_t>(std::bit_width(count - 1)); }

  friend bool operator==(const PackClasses&, const PackClasses&) = default;
};

// How often packs have their extremes where. The codes are put into at most 32 cells of equal size, so that a
// choice takes bounded time whatever the alphabet is.
class PackHistogram {
 public:
  static constexpr uint32_t kCells = 32;

  explicit PackHistogram(uint32_t symbols);

  // Number of the entry for a pack whose smallest code is `low` and largest `high`.
  uint32_t Entry(uint32_t low, uint32_t high) const {
    return (low >> cell_bits_) * kCells + (high >> cell_bits_);
  }
  // entries: of n packs; tokens: of each.
  void Add(const uint16_t* entries, size_t n, uint32_t tokens) {
    packs_ += n;
    for (size_t i = 0; i < n; ++i) tokens_[i % kTables][entries[i]] += tokens;
  }
  uint64_t packs() const { return packs_; }
  uint32_t cell_bits() const { return cell_bits_; }  // a cell has 2^cell_bits codes
  // Sum of the tokens of the packs of each entry, [low cell, high cell].
  std::array<uint32_t, kCells * kCells> Tokens() const;

 private:
  uint32_t cell_bits_;
  uint64_t packs_ = 0;
  // Several, because packs in a row are often alike, and each addition would wait for the one before.
  static constexpr size_t kTables = 4;
  std::array<std::array<uint32_t, kCells * kCells>, kTables> tokens_{};
};

// The classes of a group, and which of them each entry of the histogram takes.
struct PackClassChoice {
  PackClasses classes;
  std::array<uint8_t, PackHistogram::kCells * PackHistogram::kCells> class_of_entry{};
};

// FORMAT.md, "Choice of classes". The histogram must not be empty.
PackClassChoice ChoosePackClasses(const PackHistogram& histogram);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACK_CLASSES_H_
