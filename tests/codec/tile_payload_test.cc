#include "codec/tile_payload.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "codec/bit_io.h"
#include "gtest/gtest.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;

MutableByteSpan Bytes(std::string* s) { return {reinterpret_cast<std::byte*>(s->data()), s->size()}; }

// Codes around the middle, as a quantiser makes them.
std::vector<uint8_t> BellCodes(size_t n, uint32_t symbols, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> codes(n);
  for (uint8_t& c : codes) {
    const double v = symbols / 2.0 + random.Bell() * symbols / 8.0;
    c = static_cast<uint8_t>(std::min(std::max(v, 0.0), symbols - 1.0));
  }
  return codes;
}

absl::Status ReadExact(std::string_view payload, uint32_t tokens, uint32_t channels, const Codebook& book,
                       std::vector<uint8_t>* codes) {
  auto copy = std::make_unique<std::byte[]>(payload.size());  // exactly sized, for the sanitizer
  std::memcpy(copy.get(), payload.data(), payload.size());
  codes->assign(size_t{tokens} * channels, 0xcc);
  return ReadHuffman({copy.get(), payload.size()}, tokens, channels, book, codes->data());
}

TEST(BitIo, PutsTheFirstBitLowest) {
  std::string out(2, '\xff');
  BitWriter w(Bytes(&out));
  w.Put(1, 1);
  w.Put(0b101, 3);
  w.Put(0x3f, 6);
  w.Finish();
  EXPECT_EQ(out, std::string("\xfb\x03"));
  EXPECT_EQ(LoadBits(AsBytes(out), 1) & 7, 0b101u);
  EXPECT_EQ(LoadBits(AsBytes(out), 15), 0u);
  EXPECT_EQ(LoadBits(AsBytes(out), 16), 0u);
  EXPECT_EQ(LoadBits(AsBytes(out), 1000), 0u);
}

TEST(StreamLayout, CutsTokensIntoAtMost32Streams) {
  for (uint32_t tokens = 1; tokens <= kTileTokens; ++tokens) {
    const StreamLayout layout(tokens);
    ASSERT_LE(layout.streams, kMaxStreams);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < layout.streams; ++i) {
      ASSERT_GE(layout.tokens_of(i), 1u);
      ASSERT_LE(layout.tokens_of(i), layout.tokens_per_stream);
      sum += layout.tokens_of(i);
    }
    ASSERT_EQ(sum, tokens);
  }
  EXPECT_EQ(StreamLayout(64).streams, 32u);
  EXPECT_EQ(StreamLayout(33).streams, 17u);
  EXPECT_EQ(StreamLayout(16).streams, 16u);
}

TEST(Huffman, RoundTripsEveryShapeInExactlyThePlannedBytes) {
  for (const uint32_t symbols : {5u, 23u, 204u, 256u}) {
    const Codebook& book = BuiltInBook(QuantUnit::kBlock, symbols);
    for (const uint32_t channels : {8u, 20u, 64u, 128u, 576u}) {
      for (const uint32_t tokens : {1u, 7u, 31u, 32u, 33u, 63u, 64u}) {
        const auto codes = BellCodes(size_t{tokens} * channels, symbols, tokens * channels);
        const HuffmanPlan plan = PlanHuffman(codes.data(), tokens, channels, book);
        std::string out(plan.bytes + 8, '\xee');
        WriteHuffman(codes.data(), tokens, channels, book, plan, Bytes(&out).first(plan.bytes));
        ASSERT_EQ(out.substr(plan.bytes), std::string(8, '\xee'));
        out.resize(plan.bytes);
        std::vector<uint8_t> back;
        const absl::Status s = ReadExact(out, tokens, channels, book, &back);
        ASSERT_TRUE(s.ok()) << s << " symbols " << symbols << " " << tokens << "x" << channels;
        ASSERT_EQ(back, codes);
      }
    }
  }
}

TEST(Huffman, StreamsOfTheLongestCodesFitTheDirectory) {
  // Every code of 12 bits in some streams, of the fewest bits in the others: the widest directory there is.
  std::vector<uint64_t> counts(204, 0);
  counts[0] = 1u << 30;
  const Codebook book = Codebook::FromCounts(counts);
  uint8_t longest = 0;
  for (uint32_t s = 0; s < 204; ++s) {
    if (book.lengths()[s] > book.lengths()[longest]) longest = static_cast<uint8_t>(s);
  }
  std::vector<uint8_t> codes(64 * 576, 0);
  for (size_t i = 0; i < 32 * 576; ++i) codes[i] = longest;
  const HuffmanPlan plan = PlanHuffman(codes.data(), 64, 576, book);
  std::string out(plan.bytes, '\0');
  WriteHuffman(codes.data(), 64, 576, book, plan, Bytes(&out));
  std::vector<uint8_t> back;
  ASSERT_TRUE(ReadExact(out, 64, 576, book, &back).ok());
  EXPECT_EQ(back, codes);
}

TEST(Huffman, KnownBytes) {
  // Lengths 1, 2, 2: codes 0, 10, 11. Tokens of one channel: a stream each, codes 0 1 2 0.
  const Codebook book = Codebook::FromLengths(std::vector<uint8_t>{1, 2, 2}).value();
  const std::vector<uint8_t> codes = {0, 1, 2, 0};
  const HuffmanPlan plan = PlanHuffman(codes.data(), 4, 1, book);
  std::string out(plan.bytes, '\0');
  WriteHuffman(codes.data(), 4, 1, book, plan, Bytes(&out));
  // base 1, width 1, lengths less base 0 1 1 0; then the bits 0, 1 0, 1 1, 0.
  EXPECT_EQ(HexOf(out), "010001061a");
}

TEST(Huffman, TruncatedOrLongerIsRefused) {
  const Codebook& book = BuiltInBook(QuantUnit::kToken, 13);
  const auto codes = BellCodes(33 * 20, 13, 5);
  const HuffmanPlan plan = PlanHuffman(codes.data(), 33, 20, book);
  std::string out(plan.bytes, '\0');
  WriteHuffman(codes.data(), 33, 20, book, plan, Bytes(&out));
  std::vector<uint8_t> back;
  for (size_t n = 0; n < out.size(); ++n) {
    ASSERT_EQ(ReadExact(out.substr(0, n), 33, 20, book, &back).code(), absl::StatusCode::kDataLoss) << n;
  }
  EXPECT_EQ(ReadExact(out + '\0', 33, 20, book, &back).code(), absl::StatusCode::kDataLoss);
}

TEST(Huffman, EveryFlippedBitIsRefusedOrGivesOtherCodes) {
  const Codebook& book = BuiltInBook(QuantUnit::kToken, 13);
  const auto codes = BellCodes(33 * 20, 13, 6);
  const HuffmanPlan plan = PlanHuffman(codes.data(), 33, 20, book);
  std::string out(plan.bytes, '\0');
  WriteHuffman(codes.data(), 33, 20, book, plan, Bytes(&out));
  int refused = 0;
  for (size_t bit = 0; bit < out.size() * 8; ++bit) {
    std::string flipped = out;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    std::vector<uint8_t> back;
    const absl::Status s = ReadExact(flipped, 33, 20, book, &back);
    if (s.ok()) {
      ASSERT_NE(back, codes) << bit;
      for (const uint8_t c : back) ASSERT_LT(c, 13);
    } else {
      ASSERT_EQ(s.code(), absl::StatusCode::kDataLoss);
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST(Packed, RoundTripsEveryWidth) {
  for (uint32_t width = 0; width <= 8; ++width) {
    std::vector<uint8_t> codes(131);
    Random random(width);
    const uint32_t base = width == 8 ? 0 : 9;
    for (uint8_t& c : codes) c = static_cast<uint8_t>(base + random.Below(1u << width));
    codes[0] = static_cast<uint8_t>(base);
    codes[1] = static_cast<uint8_t>(base + (1u << width) - 1);
    const auto n = static_cast<uint32_t>(codes.size());
    const PackedPlan plan = PlanPacked(codes.data(), n);
    EXPECT_EQ(plan.width, width);
    EXPECT_EQ(plan.bytes, 2 + (131 * width + 7) / 8);
    std::string out(plan.bytes, '\0');
    WritePacked(codes.data(), n, plan, Bytes(&out));
    std::vector<uint8_t> back(n);
    ASSERT_TRUE(ReadPacked(AsBytes(out), n, 256, back.data()).ok());
    EXPECT_EQ(back, codes);
    EXPECT_EQ(ReadPacked(AsBytes(out + '\0'), n, 256, back.data()).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(ReadPacked(AsBytes(out).first(out.size() - 1), n, 256, back.data()).code(),
              absl::StatusCode::kDataLoss);
    // The largest code must be in the alphabet.
    const uint32_t largest = base + (1u << width) - 1;
    EXPECT_EQ(ReadPacked(AsBytes(out), n, largest, back.data()).code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(ReadPacked(AsBytes(out), n, largest + 1, back.data()).ok());
  }
}

TEST(Packed, KnownBytesAndPadding) {
  const std::vector<uint8_t> codes = {4, 5, 6, 7, 4};
  const PackedPlan plan = PlanPacked(codes.data(), 5);
  std::string out(plan.bytes, '\0');
  WritePacked(codes.data(), 5, plan, Bytes(&out));
  EXPECT_EQ(HexOf(out), "0402e400");
  out[3] = '\x04';  // a bit after the last code
  std::vector<uint8_t> back(5);
  EXPECT_EQ(ReadPacked(AsBytes(out), 5, 23, back.data()).code(), absl::StatusCode::kDataLoss);
  out[3] = 0;
  out[1] = 9;
  EXPECT_EQ(ReadPacked(AsBytes(out), 5, 23, back.data()).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace kvcompd::codec
