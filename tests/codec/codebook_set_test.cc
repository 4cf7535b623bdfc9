#include <string>
#include <vector>

#include "codec/codebook.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

Profile ProfileOf(std::string_view text) { return Profile::Parse(text).value(); }

const char* const kHuffman = "kvcomp:rel_k=0.1,rel_v=0.2";
const char* const kRans = "kvcomp:rel_k=0.1,rel_v=0.2,coder=rans";

std::shared_ptr<const CodebookSet> TrainedSet(const char* profile = kHuffman) {
  CodebookTrainer trainer(Sha256("model"), ProfileOf(profile));
  for (uint32_t layer : {7u, 0u, 3u}) {
    std::vector<uint32_t> counts(256, 0);
    for (uint32_t s = 0; s < 11; ++s) counts[s] = (layer + 1) * (s + 1);
    trainer.Add(layer, Tensor::kK, counts);
    trainer.Add(layer, Tensor::kV, counts);
  }
  return trainer.Build();
}

absl::StatusCode ParseCode(const std::string& bytes) { return CodebookSet::Parse(bytes).status().code(); }

class EveryCoder : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Coders, EveryCoder, ::testing::Values(kHuffman, kRans),
                         [](const auto& info) { return info.param == kRans ? "rans" : "huffman"; });

TEST_P(EveryCoder, ParseGivesBackWhatWasBuilt) {
  const auto set = TrainedSet(GetParam());
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->id(), Sha256(set->canonical_bytes()));
  const auto parsed = CodebookSet::Parse(set->canonical_bytes());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ((*parsed)->id(), set->id());
  EXPECT_EQ((*parsed)->fingerprint(), Sha256("model"));
  EXPECT_EQ((*parsed)->profile_text(), GetParam());
  for (uint32_t layer : {0u, 3u, 7u, 99u, 70000u}) {
    for (const Tensor t : {Tensor::kK, Tensor::kV}) {
      const Codebook *a = set->Find(layer, t), *b = (*parsed)->Find(layer, t);
      ASSERT_NE(a, nullptr);
      ASSERT_NE(b, nullptr);
      EXPECT_TRUE(
          std::equal(a->lengths().begin(), a->lengths().end(), b->lengths().begin(), b->lengths().end()));
      EXPECT_TRUE(std::equal(a->frequencies().begin(), a->frequencies().end(), b->frequencies().begin(),
                             b->frequencies().end()));
      EXPECT_EQ(a->num_symbols(), BookSymbols(ProfileOf(GetParam()), t));
      EXPECT_EQ(b->num_symbols(), a->num_symbols());
      EXPECT_EQ(b->coder(), ProfileOf(GetParam()).coder);
    }
  }
  // Layers without samples share a book of all layers.
  EXPECT_EQ(set->Find(99, Tensor::kK), set->Find(CodebookSet::kAnyLayer, Tensor::kK));
  EXPECT_NE(set->Find(7, Tensor::kK), set->Find(99, Tensor::kK));
}

TEST(CodebookSet, HeaderBytesStandWhereFormatSays) {
  const std::string bytes = TrainedSet()->canonical_bytes();
  EXPECT_EQ(bytes.substr(0, 8), std::string("KVCS\x01\0\0\0", 8));
  EXPECT_EQ(bytes.substr(8, 32), Sha256("model").view());
  const size_t text_bytes = static_cast<uint8_t>(bytes[40]);
  const size_t count_at = 42 + text_bytes;
  EXPECT_EQ(static_cast<uint8_t>(bytes[count_at]), 8);  // 3 layers and any, K and V
  EXPECT_EQ(bytes.substr(count_at + 2, 4), std::string("\0\0\x01\0", 4));
  // rel 0.1: 13 symbols in 7 bytes; rel 0.2: 8 symbols in 4.
  EXPECT_EQ(bytes.size(), count_at + 2 + 4 * (6 + 7 + 6 + 4));
}

TEST(CodebookSet, FrequenciesStandWhereFormatSays) {
  const std::string bytes = TrainedSet(kRans)->canonical_bytes();
  const size_t count_at = 42 + static_cast<uint8_t>(bytes[40]);
  // 25 symbols in 38 bytes, 15 in 23.
  EXPECT_EQ(bytes.size(), count_at + 2 + 4 * (6 + 38 + 6 + 23));
  uint32_t sum = 0;
  const auto at = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(bytes[count_at + 8 + i]));
  };
  for (size_t s = 0; s < 25; ++s) {
    const size_t bit = 12 * s;
    sum += bit % 8 == 0 ? at(bit / 8) | (at(bit / 8 + 1) & 15) << 8 : at(bit / 8) >> 4 | at(bit / 8 + 1) << 4;
  }
  EXPECT_EQ(sum, 4096u);
}

TEST_P(EveryCoder, RefusesEveryTruncationAndEveryTail) {
  const std::string bytes = TrainedSet(GetParam())->canonical_bytes();
  for (size_t n = 0; n < bytes.size(); ++n)
    ASSERT_EQ(ParseCode(bytes.substr(0, n)), absl::StatusCode::kDataLoss) << n;
  EXPECT_EQ(ParseCode(bytes + '\0'), absl::StatusCode::kDataLoss);
}

TEST_P(EveryCoder, WhatParsesIsCanonical) {
  const std::string bytes = TrainedSet(GetParam())->canonical_bytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      const auto set = CodebookSet::Parse(flipped);
      if (!set.ok()) continue;  // most flips
      EXPECT_EQ((*set)->canonical_bytes(), flipped);
      EXPECT_NE((*set)->id(), TrainedSet(GetParam())->id());
      // Only the fingerprint, and a layer's number that keeps the order, may change freely.
      const bool in_fingerprint = at >= 8 && at < 40;
      EXPECT_TRUE(in_fingerprint || at > 42) << at;
    }
  }
}

// The canonical bytes of a set with these books of 13 (K) and 8 (V) symbols.
std::string SetOf(const std::vector<std::pair<uint16_t, Tensor>>& books,
                  const std::string& text = "kvcomp:rel_k=0.1,rel_v=0.2") {
  std::string bytes("KVCS\x01\0\0\0", 8);
  bytes.resize(40, '\x11');
  const auto u16 = [&](size_t value) {
    bytes += static_cast<char>(value & 0xff);
    bytes += static_cast<char>(value >> 8);
  };
  u16(text.size());
  bytes += text;
  u16(books.size());
  for (const auto& [layer, tensor] : books) {
    u16(layer);
    u16(static_cast<size_t>(tensor));
    u16(tensor == Tensor::kK ? 13 : 8);
    // 3 codes of 3 bits and 10 of 4, or 8 of 3.
    bytes += tensor == Tensor::kK ? std::string("\x33\x43\x44\x44\x44\x44\x04", 7) : std::string(4, '\x33');
  }
  return bytes;
}

TEST(CodebookSet, HasBooksOfAllLayersForKAndV) {
  const uint16_t any = CodebookSet::kAnyLayer;
  ASSERT_EQ(ParseCode(SetOf({{any, Tensor::kK}, {any, Tensor::kV}})), absl::StatusCode::kOk);
  EXPECT_EQ(ParseCode(SetOf({{3, Tensor::kK}, {3, Tensor::kV}, {any, Tensor::kK}, {any, Tensor::kV}})),
            absl::StatusCode::kOk);
  EXPECT_EQ(ParseCode(SetOf({})), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseCode(SetOf({{3, Tensor::kK}, {3, Tensor::kV}})), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseCode(SetOf({{any, Tensor::kK}})), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseCode(SetOf({{any, Tensor::kV}})), absl::StatusCode::kDataLoss);
  const auto set = CodebookSet::Parse(SetOf({{any, Tensor::kK}, {any, Tensor::kV}})).value();
  for (const uint32_t layer : {0u, 65534u, 65535u, 100000u}) {
    EXPECT_NE(set->Find(layer, Tensor::kK), nullptr);
    EXPECT_NE(set->Find(layer, Tensor::kV), nullptr);
  }
}

TEST(CodebookSet, NumberOfBooksHasALimit) {
  const auto books_of = [](size_t per_tensor) {
    std::vector<std::pair<uint16_t, Tensor>> books;
    for (size_t i = 0; i + 1 < per_tensor; ++i) {
      books.emplace_back(static_cast<uint16_t>(i), Tensor::kK);
      books.emplace_back(static_cast<uint16_t>(i), Tensor::kV);
    }
    books.emplace_back(CodebookSet::kAnyLayer, Tensor::kK);
    books.emplace_back(CodebookSet::kAnyLayer, Tensor::kV);
    return books;
  };
  EXPECT_EQ(CodebookSet::kMaxBooks, 32770u);
  EXPECT_EQ(ParseCode(SetOf(books_of(CodebookSet::kMaxBooksPerTensor))), absl::StatusCode::kOk);
  EXPECT_EQ(ParseCode(SetOf(books_of(CodebookSet::kMaxBooksPerTensor + 1))), absl::StatusCode::kDataLoss);

  // A trainer that has seen more layers gives books to the lowest, and what it builds parses.
  CodebookTrainer trainer(Sha256("m"), ProfileOf("kvcomp:rel_k=0.5,rel_v=0.5"));
  for (uint32_t layer = 0; layer < 16 * kMaxLayers + 5; ++layer) {
    trainer.Add(layer, Tensor::kK, std::vector<uint32_t>{1, 2, 3, layer % 9, 1});
  }
  const auto set = trainer.Build();
  EXPECT_EQ(ParseCode(set->canonical_bytes()), absl::StatusCode::kOk);
  const Codebook* const any = set->Find(CodebookSet::kAnyLayer, Tensor::kK);
  EXPECT_NE(set->Find(16 * kMaxLayers - 1, Tensor::kK), any);
  EXPECT_EQ(set->Find(16 * kMaxLayers, Tensor::kK), any);
}

TEST(CodebookSet, ANewerProfileIsUnimplementedAndAWrongOneIsNot) {
  const uint16_t any = CodebookSet::kAnyLayer;
  const auto code = [&](const std::string& text) {
    return ParseCode(SetOf({{any, Tensor::kK}, {any, Tensor::kV}}, text));
  };
  EXPECT_EQ(code("kvcomp:rel_k=0.1,rel_v=0.2,zero_bits=8"), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(code("kvcomp:rel_k=0.1,rel_v=0.2,k_unit=head"), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(code("tcq:bits=3"), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(code("kvcomp:rel_k=0.1,rel_v=0.2,k_unit=block"), absl::StatusCode::kDataLoss);  // not canonical
  EXPECT_EQ(code("kvcomp:rel_k=0.1,rel_v=0.20"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code("kvcomp:rel_k=0.1"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code("raw"), absl::StatusCode::kDataLoss);  // has no books
}

TEST(FindBook, NeverStandsInWithABuiltInBook) {
  const auto set = TrainedSet();
  EXPECT_EQ(*FindBook(Digest(), nullptr, 3, Tensor::kK), nullptr);
  EXPECT_EQ(*FindBook(Digest(), set.get(), 3, Tensor::kK), nullptr);
  EXPECT_EQ(*FindBook(set->id(), set.get(), 3, Tensor::kK), set->Find(3, Tensor::kK));
  EXPECT_EQ(FindBook(set->id(), nullptr, 3, Tensor::kK).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindBook(Sha256("other"), set.get(), 3, Tensor::kK).status().code(), absl::StatusCode::kDataLoss);
  const auto none = CodebookSet::BuiltIn(ProfileOf("raw"));
  EXPECT_EQ(FindBook(none->id(), none.get(), 3, Tensor::kK).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CodebookSet, RefusesByField) {
  const std::string good = TrainedSet()->canonical_bytes();
  const size_t books = 42 + static_cast<uint8_t>(good[40]) + 2;
  const auto with = [&](size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    return ParseCode(bytes);
  };
  EXPECT_EQ(with(0, 'X'), absl::StatusCode::kDataLoss);
  EXPECT_EQ(with(4, 2), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(with(4, 0), absl::StatusCode::kDataLoss);
  EXPECT_EQ(with(6, 1), absl::StatusCode::kDataLoss);               // reserved
  EXPECT_EQ(with(40, 127), absl::StatusCode::kDataLoss);            // length of the profile
  EXPECT_EQ(with(42, 'q'), absl::StatusCode::kUnimplemented);       // another codec
  EXPECT_EQ(with(42, 'K'), absl::StatusCode::kDataLoss);            // no codec's name
  EXPECT_EQ(with(49, 'q'), absl::StatusCode::kUnimplemented);       // another option
  EXPECT_EQ(with(books, 50), absl::StatusCode::kDataLoss);          // layers out of order
  EXPECT_EQ(with(books + 2, 3), absl::StatusCode::kUnimplemented);  // tensor
  EXPECT_EQ(with(books + 3, 1), absl::StatusCode::kDataLoss);       // reserved
  EXPECT_EQ(with(books + 4, 12), absl::StatusCode::kDataLoss);      // alphabet of another profile
  EXPECT_EQ(with(books + 6, 0x11), absl::StatusCode::kDataLoss);    // Kraft
  // The upper half of the last byte of 13 lengths is padding.
  EXPECT_EQ(with(books + 12, static_cast<char>(good[books + 12] | 0x10)), absl::StatusCode::kDataLoss);
  // The profile's text must be the canonical one: same length, other order.
  std::string reordered = good;
  const std::string text = "kvcomp:rel_v=0.2,rel_k=0.1";
  reordered.replace(42, text.size(), text);
  EXPECT_EQ(ParseCode(reordered), absl::StatusCode::kDataLoss);
}

TEST(CodebookSet, BuiltInIsAConstantOfTheProfile) {
  const Profile profile = ProfileOf("kvcomp");
  const auto set = CodebookSet::BuiltIn(profile);
  EXPECT_EQ(set->id(), CodebookSet::BuiltIn(profile)->id());
  EXPECT_TRUE(set->fingerprint().IsZero());
  EXPECT_NE(set->id(), CodebookSet::BuiltIn(ProfileOf("kvcomp:rel_k=0.06"))->id());
  ASSERT_NE(set->Find(5, Tensor::kK), nullptr);
  EXPECT_EQ(set->Find(5, Tensor::kK)->num_symbols(), AlphabetSize(0.05, false));
  EXPECT_EQ(set->Find(5, Tensor::kV)->num_symbols(), AlphabetSize(0.1, false));
  EXPECT_TRUE(CodebookSet::Parse(set->canonical_bytes()).ok());
  const auto rans = CodebookSet::BuiltIn(ProfileOf("kvcomp:coder=rans"));
  EXPECT_EQ(rans->Find(5, Tensor::kK)->num_symbols(), 2 * AlphabetSize(0.05, false) - 1);
  EXPECT_TRUE(CodebookSet::Parse(rans->canonical_bytes()).ok());
  // Part of the format: a change of the formula or of the ties would change what blocks decode to.
  EXPECT_EQ(set->id().Hex(), "45d629e32c59f2a0c3b5ff1c9294d81d7db2b4fe10e3ea056b7e0c10e0c6f20c");
}

TEST(CodebookSet, ProfilesWithoutBooksHaveNone) {
  const auto set = CodebookSet::BuiltIn(ProfileOf("raw"));
  EXPECT_EQ(set->Find(0, Tensor::kK), nullptr);
  EXPECT_TRUE(CodebookSet::Parse(set->canonical_bytes()).ok());
  CodebookTrainer trainer(Sha256("m"), ProfileOf("raw"));
  trainer.Add(0, Tensor::kK, std::vector<uint32_t>(256, 1));
  EXPECT_EQ(trainer.Build(), nullptr);
}

TEST(CodebookTrainer, TrainedBooksCostLessThanTheBuiltInOnTheirSamples) {
  const Profile profile = ProfileOf("kvcomp:rel_k=0.05,rel_v=0.1");
  CodebookTrainer trainer(Sha256("m"), profile);
  EXPECT_EQ(trainer.Build(), nullptr);
  std::vector<uint32_t> counts(256, 0);
  for (uint32_t s = 0; s < 23; ++s) counts[s] = s < 3 ? 10000 : 10;  // nothing like the built-in bell
  trainer.Add(2, Tensor::kK, counts);
  EXPECT_EQ(trainer.samples(), 30200u);
  const auto set = trainer.Build();
  ASSERT_NE(set, nullptr);
  EXPECT_LT(trainer.CostBits(*set), trainer.CostBits(*CodebookSet::BuiltIn(profile)) / 2);
  EXPECT_EQ(trainer.CostBits(*CodebookSet::BuiltIn(ProfileOf("raw"))), 30200u * kMaxCodeBits);
  // V had no samples: the built-in book serves.
  ASSERT_NE(set->Find(2, Tensor::kV), nullptr);
  EXPECT_EQ(set->Find(2, Tensor::kV)->num_symbols(), AlphabetSize(0.1, false));
  EXPECT_EQ(trainer.Build()->id(), set->id());
}

}  // namespace
}  // namespace kvcompd::codec
