// CodebookSet and CodebookTrainer: FORMAT.md, "Codebook set", in C++.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/codebook.h"

namespace kvcompd::codec {
namespace {

constexpr std::string_view kMagic = "KVCS";
constexpr uint16_t kVersion = 1;

using Books = std::map<std::pair<uint16_t, uint8_t>, Codebook>;

// 12 bits each, as a bit string.
void WriteFrequencies(std::span<const uint16_t> frequencies, ByteWriter* w) {
  for (size_t s = 0; s < frequencies.size(); s += 2) {
    const uint32_t second = s + 1 < frequencies.size() ? frequencies[s + 1] : 0;
    const uint32_t pair = frequencies[s] | second << kBookProbBits;
    w->U8(static_cast<uint8_t>(pair));
    w->U8(static_cast<uint8_t>(pair >> 8));
    if (s + 1 < frequencies.size()) w->U8(static_cast<uint8_t>(pair >> 16));
  }
}

std::string Serialize(const Fingerprint& fingerprint, std::string_view profile_text, const Books& books) {
  std::string out;
  ByteWriter w(&out);
  w.Bytes(kMagic);
  w.U16(kVersion);
  w.U16(0);
  w.Bytes(fingerprint.view());
  w.U16(static_cast<uint16_t>(profile_text.size()));
  w.Bytes(profile_text);
  w.U16(static_cast<uint16_t>(books.size()));
  for (const auto& [place, book] : books) {
    w.U16(place.first);
    w.U8(place.second);
    w.U8(0);
    w.U16(static_cast<uint16_t>(book.num_symbols()));
    if (book.coder() == Coder::kRans) {
      WriteFrequencies(book.frequencies(), &w);
      continue;
    }
    const auto lengths = book.lengths();
    for (size_t s = 0; s < lengths.size(); s += 2) {
      w.U8(static_cast<uint8_t>(lengths[s] | (s + 1 < lengths.size() ? lengths[s + 1] << 4 : 0)));
    }
  }
  return out;
}

absl::Status Malformed(const char* what) { return absl::DataLossError(absl::StrCat("codebook set: ", what)); }

absl::StatusOr<Codebook> ParseLengths(ByteReader* r, uint32_t symbols) {
  std::vector<uint8_t> lengths(symbols);
  for (uint32_t s = 0; s < symbols; s += 2) {
    const uint8_t pair = r->U8();
    lengths[s] = pair & 15;
    if (s + 1 < symbols) {
      lengths[s + 1] = pair >> 4;
    } else if (pair >> 4) {
      return Malformed("padding is not zero");
    }
  }
  if (!r->ok()) return Malformed("truncated");
  return Codebook::FromLengths(lengths);
}

absl::StatusOr<Codebook> ParseFrequencies(ByteReader* r, uint32_t symbols) {
  std::vector<uint16_t> frequencies(symbols);
  for (size_t s = 0; s < symbols; s += 2) {
    const bool both = s + 1 < symbols;
    const uint32_t low = r->U8(), middle = r->U8(), high = both ? r->U8() : 0;
    const uint32_t pair = low | middle << 8 | high << 16;
    frequencies[s] = pair & ((1u << kBookProbBits) - 1);
    if (both) {
      frequencies[s + 1] = static_cast<uint16_t>(pair >> kBookProbBits);
    } else if (pair >> kBookProbBits != 0) {
      return Malformed("padding is not zero");
    }
  }
  if (!r->ok()) return Malformed("truncated");
  return Codebook::FromFrequencies(frequencies);
}

absl::Status ParseBooks(ByteReader* r, const Profile& profile, Books* books) {
  const uint16_t count = r->U16();
  if (!r->ok()) return Malformed("truncated");
  // A book is small here and a few KiB once parsed: no more of them than layers that a model may have.
  if (count > CodebookSet::kMaxBooks) return Malformed("more books than a model has layers");
  if (count > 0 && profile.codec != CodecId::kKvcomp) return Malformed("the profile's codec has no books");
  for (uint16_t i = 0; i < count; ++i) {
    const uint16_t layer = r->U16();
    const uint8_t tensor = r->U8(), reserved = r->U8();
    const uint16_t symbols = r->U16();
    if (!r->ok()) return Malformed("truncated");
    if (tensor != static_cast<uint8_t>(Tensor::kK) && tensor != static_cast<uint8_t>(Tensor::kV)) {
      return absl::UnimplementedError(absl::StrCat("codebook set: tensor ", tensor, " is not known here"));
    }
    if (reserved != 0) return Malformed("a reserved byte is not zero");
    if (symbols != BookSymbols(profile, static_cast<Tensor>(tensor))) {
      return Malformed("a book's alphabet is not the profile's");
    }
    const std::pair<uint16_t, uint8_t> place{layer, tensor};
    if (!books->empty() && books->rbegin()->first >= place) return Malformed("books are out of order");
    auto book = profile.coder == Coder::kRans ? ParseFrequencies(r, symbols) : ParseLengths(r, symbols);
    if (!book.ok()) return book.status();
    books->emplace_hint(books->end(), place, *std::move(book));
  }
  if (profile.codec != CodecId::kKvcomp) return absl::OkStatus();
  for (const Tensor t : {Tensor::kK, Tensor::kV}) {
    if (!books->contains({CodebookSet::kAnyLayer, static_cast<uint8_t>(t)})) {
      return Malformed("no book of all layers for K or V");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CodebookSet>> CodebookSet::Parse(std::string_view canonical_bytes) {
  if (canonical_bytes.size() > kMaxBytes) return Malformed("over the size limit");
  ByteReader r(AsBytes(canonical_bytes));
  if (AsChars(r.Bytes(kMagic.size())) != kMagic) return Malformed("no magic");
  const uint16_t version = r.U16();
  if (r.ok() && version > kVersion) return absl::UnimplementedError("codebook set: newer version");
  if (version != kVersion || r.U16() != 0) return Malformed("version or reserved field");
  const auto fingerprint = Fingerprint::FromBytes(AsChars(r.Bytes(32)));
  const uint16_t text_bytes = r.U16();
  if (!r.ok() || !fingerprint.ok() || text_bytes > Profile::kMaxTextBytes) return Malformed("header");
  const std::string_view text = AsChars(r.Bytes(text_bytes));
  if (!r.ok()) return Malformed("truncated");
  const auto profile = Profile::Parse(text);
  if (absl::IsUnimplemented(profile.status())) {
    return absl::UnimplementedError(absl::StrCat("codebook set: ", profile.status().message()));
  }
  if (!profile.ok() || profile->Text() != text) return Malformed("the profile is not canonical");

  std::shared_ptr<CodebookSet> set(new CodebookSet);
  if (auto s = ParseBooks(&r, *profile, &set->books_); !s.ok()) return s;
  if (r.remaining() != 0) return Malformed("bytes after the last book");
  set->fingerprint_ = *fingerprint;
  set->profile_text_ = text;
  set->canonical_bytes_ = canonical_bytes;
  set->id_ = Sha256(canonical_bytes);
  return std::shared_ptr<const CodebookSet>(std::move(set));
}

std::shared_ptr<const CodebookSet> CodebookSet::BuiltIn(const Profile& profile) {
  std::shared_ptr<CodebookSet> set(new CodebookSet);
  if (profile.codec == CodecId::kKvcomp) {
    for (const Tensor t : {Tensor::kK, Tensor::kV}) {
      set->books_.emplace(std::pair(kAnyLayer, static_cast<uint8_t>(t)),
                          BuiltInBook(UnitOf(profile, t), AlphabetSize(profile, t), profile.coder));
    }
  }
  set->profile_text_ = profile.Text();
  set->canonical_bytes_ = Serialize(set->fingerprint_, set->profile_text_, set->books_);
  set->id_ = Sha256(set->canonical_bytes_);
  return set;
}

uint64_t CodebookSet::memory_bytes() const {
  uint64_t bytes = canonical_bytes_.size();
  for (const auto& [place, book] : books_) {
    bytes += sizeof place + book.memory_bytes();
  }
  return bytes;
}

const Codebook* CodebookSet::Find(uint32_t layer, Tensor tensor) const {
  const auto t = static_cast<uint8_t>(tensor);
  auto it = books_.end();
  if (layer < kAnyLayer) it = books_.find({static_cast<uint16_t>(layer), t});
  if (it == books_.end()) it = books_.find({kAnyLayer, t});
  return it == books_.end() ? nullptr : &it->second;
}

absl::StatusOr<const Codebook*> FindBook(const Digest& id, const CodebookSet* set, uint32_t layer,
                                         Tensor tensor) {
  if (id.IsZero()) return nullptr;
  if (set == nullptr) {
    return absl::NotFoundError(absl::StrCat("the block's codebook set ", id.Hex(), " is missing"));
  }
  if (set->id() != id) return absl::DataLossError("the block names another codebook set");
  const Codebook* const book = set->Find(layer, tensor);
  if (book == nullptr) return absl::DataLossError("the block's codebook set has no books");
  return book;
}

CodebookTrainer::CodebookTrainer(const Fingerprint& fingerprint, const Profile& profile)
    : fingerprint_(fingerprint), profile_(profile) {}

void CodebookTrainer::Add(uint32_t layer, Tensor tensor, std::span<const uint32_t> counts) {
  if (profile_.codec != CodecId::kKvcomp) return;
  const auto key = static_cast<uint16_t>(std::min<uint32_t>(layer, CodebookSet::kAnyLayer));
  auto& sums = counts_[{key, static_cast<uint8_t>(tensor)}];
  sums.resize(BookSymbols(profile_, tensor));
  for (size_t s = 0; s < std::min(sums.size(), counts.size()); ++s) {
    sums[s] += counts[s];
    samples_ += counts[s];
  }
}

uint64_t CodebookTrainer::CostBits(const CodebookSet& set) const {
  uint64_t bits = 0;
  for (const auto& [place, sums] : counts_) {
    const Codebook* book = set.Find(place.first, static_cast<Tensor>(place.second));
    if (book != nullptr && book->num_symbols() == sums.size()) {
      bits += book->CostBits(sums);
    } else {
      for (const uint64_t c : sums) bits += c * kMaxCodeBits;
    }
  }
  return bits;
}

static_assert(kBookProbBits == 12);
// A book has at most 6 + 384 bytes, so the number of books keeps the size, too.
static_assert(CodebookSet::kMaxBooks * (6 + kMaxSymbols * kBookProbBits / 8) + Profile::kMaxTextBytes + 64 <
              CodebookSet::kMaxBytes);
static_assert(CodebookSet::kMaxBooks < 1 << 16);

std::shared_ptr<const CodebookSet> CodebookTrainer::Build() const {
  if (samples_ == 0) return nullptr;
  std::shared_ptr<CodebookSet> set(new CodebookSet);
  for (const Tensor t : {Tensor::kK, Tensor::kV}) {
    const auto tensor = static_cast<uint8_t>(t);
    std::vector<uint64_t> total(BookSymbols(profile_, t));
    size_t books = 0;
    bool any = false;
    for (const auto& [place, sums] : counts_) {
      if (place.second != tensor) continue;
      any = true;
      for (size_t s = 0; s < total.size(); ++s) total[s] += sums[s];
      if (place.first == CodebookSet::kAnyLayer || ++books >= CodebookSet::kMaxBooksPerTensor) continue;
      set->books_.emplace(place, Codebook::FromCounts(sums, profile_.coder));
    }
    set->books_.emplace(std::pair(CodebookSet::kAnyLayer, tensor),
                        any ? Codebook::FromCounts(total, profile_.coder)
                            : BuiltInBook(UnitOf(profile_, t), AlphabetSize(profile_, t), profile_.coder));
  }
  set->fingerprint_ = fingerprint_;
  set->profile_text_ = profile_.Text();
  set->canonical_bytes_ = Serialize(set->fingerprint_, set->profile_text_, set->books_);
  set->id_ = Sha256(set->canonical_bytes_);
  return set;
}

}  // namespace kvcompd::codec
