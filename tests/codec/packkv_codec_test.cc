// Codec packkv beside what the suites check: order and classes against implementations that follow FORMAT.md
// word by word, and group headers that no encoder writes.
#include "codec/packkv_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/pack_classes.h"
#include "codec/packkv_header.h"
#include "codec/packkv_order.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::EncodedGroup;
using kvcompd::testing::EncodeGroup;
using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;

// Codes of several tiles, [tile][64, columns], and the views that the kernels take.
struct Codes {
  Codes(uint32_t num_tiles, uint32_t num_tokens, uint32_t num_channels, uint32_t symbols, uint64_t seed)
      : tokens(num_tokens), channels(num_channels), columns((num_channels + 63) / 64 * 64) {
    Random random(seed);
    for (uint32_t i = 0; i < num_tiles; ++i) {
      std::vector<uint8_t> tile(size_t{64} * columns);
      for (uint32_t t = 0; t < tokens; ++t) {
        // A few kinds of tokens, so that an order is worth something.
        const uint32_t kind = random.Below(3);
        for (uint32_t c = 0; c < channels; ++c) {
          tile[t * columns + c] =
              static_cast<uint8_t>((kind * symbols / 3 + random.Below(symbols / 3 + 1)) % symbols);
        }
      }
      tiles.push_back(std::move(tile));
    }
    for (const auto& tile : tiles) views.push_back(tile.data());
  }
  uint8_t at(size_t tile, uint32_t token, uint32_t channel) const {
    return tiles[tile][token * columns + channel];
  }
  GroupCodes group() const { return {views, tokens, columns, channels}; }

  uint32_t tokens, channels, columns;
  std::vector<std::vector<uint8_t>> tiles;
  std::vector<const uint8_t*> views;
};

std::vector<uint8_t> PlainMedianOrder(const Codes& codes) {
  std::vector<uint32_t> medians(codes.tokens);
  for (uint32_t t = 0; t < codes.tokens; ++t) {
    std::vector<uint8_t> all;
    for (size_t i = 0; i < codes.tiles.size(); ++i) {
      for (uint32_t c = 0; c < codes.channels; ++c) all.push_back(codes.at(i, t, c));
    }
    std::sort(all.begin(), all.end());
    medians[t] = all[(all.size() - 1) / 2];
  }
  std::vector<uint8_t> order(codes.tokens);
  std::iota(order.begin(), order.end(), uint8_t{0});
  std::stable_sort(order.begin(), order.end(), [&](uint8_t a, uint8_t b) { return medians[a] > medians[b]; });
  return order;
}

std::vector<uint8_t> PlainGreedyOrder(const Codes& codes, uint32_t pack) {
  std::vector<uint8_t> remaining(codes.tokens), order;
  std::iota(remaining.begin(), remaining.end(), uint8_t{0});
  const auto columns = [&](auto visit) {
    for (size_t i = 0; i < codes.tiles.size(); ++i) {
      for (uint32_t c = 0; c < codes.channels; ++c) visit(i, c);
    }
  };
  std::vector<uint8_t> row;
  while (!remaining.empty()) {
    if (order.size() % pack == 0) row.clear();
    uint64_t least = ~uint64_t{0};
    size_t chosen = 0;
    for (size_t k = 0; k < remaining.size(); ++k) {
      uint64_t cost = 0;
      columns([&](size_t i, uint32_t c) {
        if (row.empty()) {
          uint32_t sum = 0;
          const auto n = static_cast<uint32_t>(remaining.size());
          for (const uint8_t t : remaining) sum += codes.at(i, t, c);
          const auto mean = static_cast<int>((2 * sum + n) / (2 * n));
          cost += static_cast<uint64_t>(std::abs(codes.at(i, remaining[k], c) - mean));
          return;
        }
        uint32_t low = codes.at(i, remaining[k], c), high = low;
        for (const uint8_t t : row) {
          low = std::min<uint32_t>(low, codes.at(i, t, c));
          high = std::max<uint32_t>(high, codes.at(i, t, c));
        }
        cost += std::bit_width(high - low);
      });
      if (cost >= least) continue;
      least = cost;
      chosen = k;
    }
    row.push_back(remaining[chosen]);
    order.push_back(remaining[chosen]);
    remaining.erase(remaining.begin() + static_cast<std::ptrdiff_t>(chosen));
  }
  return order;
}

TEST(PackkvOrderTest, IsWhatTheFormatSaysOnEveryInstructionSet) {
  for (const uint32_t tokens : {1u, 5u, 33u, 64u}) {
    for (const uint32_t channels : {8u, 70u}) {
      for (const uint32_t symbols : {7u, 204u}) {
        const Codes codes(2, tokens, channels, symbols, tokens + channels + symbols);
        std::vector<uint16_t> sums(codes.tiles.size() * codes.columns);
        std::vector<uint8_t> low(sums.size()), high(sums.size()), mean(codes.columns);
        const std::vector<uint8_t> median = PlainMedianOrder(codes);
        for (const uint32_t pack : {4u, 16u}) {
          const std::vector<uint8_t> greedy = PlainGreedyOrder(codes, pack);
          for (const SimdTarget target : SupportedSimdTargets()) {
            UseSimdTarget(target);
            SCOPED_TRACE(absl::StrCat("tokens ", tokens, " channels ", channels, " pack ", pack));
            const TokenOrder got = GreedyOrder(codes.group(), pack, {sums, low, high, mean});
            EXPECT_EQ(std::vector<uint8_t>(got.begin(), got.begin() + tokens), greedy);
            const TokenOrder by_median = MedianOrder(codes.group());
            EXPECT_EQ(std::vector<uint8_t>(by_median.begin(), by_median.begin() + tokens), median);
          }
        }
      }
    }
  }
  UseSimdTarget(SupportedSimdTargets().back());
}

// FORMAT.md, "Choice of classes", word by word.
PackClasses PlainClasses(uint32_t symbols,
                         const std::vector<std::array<uint32_t, 3>>& packs) {  // low, high, tokens
  const uint32_t c = symbols <= 32 ? 0 : std::bit_width((symbols - 1) / 32);
  struct Class {
    uint32_t first, width;
  };
  const auto covers = [](const Class& k, uint32_t low, uint32_t high) {
    return k.first <= low && high < k.first + (1u << k.width);
  };
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> t;
  uint32_t first = ~0u, last = 0;
  for (const auto& [low, high, tokens] : packs) {
    t[{low >> c, high >> c}] += tokens;
    first = std::min(first, low >> c);
    last = std::max(last, high >> c);
  }
  std::vector<Class> classes = {{first, static_cast<uint32_t>(std::bit_width(last - first))}};
  const auto narrowest = [&](uint32_t low, uint32_t high, size_t n) {
    uint32_t width = classes[0].width;
    for (size_t i = 0; i < n; ++i) {
      if (covers(classes[i], low, high)) width = std::min(width, classes[i].width);
    }
    return width;
  };
  while (classes.size() < 16) {
    uint64_t best = 0;
    Class added{0, 0};
    for (uint32_t w = 0; w < classes[0].width; ++w) {
      for (uint32_t f = first; f <= last; ++f) {
        uint64_t gain = 0;
        for (const auto& [extremes, tokens] : t) {
          const uint32_t now = narrowest(extremes.first, extremes.second, classes.size());
          if (covers({f, w}, extremes.first, extremes.second) && now > w) gain += tokens * (now - w);
        }
        if (gain <= best) continue;
        best = gain;
        added = {f, w};
      }
    }
    if (best == 0) break;
    classes.push_back(added);
  }
  uint64_t best = ~uint64_t{0};
  size_t count = 1;
  for (uint32_t k = 0; k <= std::bit_width(classes.size() - 1); ++k) {
    const size_t n = std::min<size_t>(classes.size(), size_t{1} << k);
    uint64_t cost = packs.size() * k + 16 * n;
    for (const auto& [extremes, tokens] : t) cost += tokens * narrowest(extremes.first, extremes.second, n);
    if (cost >= best) continue;
    best = cost;
    count = n;
  }
  PackClasses out{.count = static_cast<uint32_t>(count)};
  for (size_t i = 0; i < count; ++i) {
    const uint32_t width = classes[i].width + c;
    out.of[i] = {static_cast<uint8_t>(std::min(classes[i].first << c, 256 - (1u << width))),
                 static_cast<uint8_t>(width)};
  }
  return out;
}

TEST(PackClassesTest, AreWhatTheFormatSays) {
  Random random(5);
  for (int round = 0; round < 60; ++round) {
    const uint32_t symbols = std::array{5u, 13u, 32u, 33u, 103u, 204u, 256u}[random.Below(7)];
    PackHistogram histogram(symbols);
    std::vector<std::array<uint32_t, 3>> packs(1 + random.Below(400));
    for (auto& [low, high, tokens] : packs) {
      low = random.Below(symbols);
      high = std::min(symbols - 1, low + random.Below(1 + random.Below(symbols)));
      tokens = random.Below(4) == 0 ? 1 + random.Below(15) : 16;
      const auto entry = static_cast<uint16_t>(histogram.Entry(low, high));
      histogram.Add(&entry, 1, tokens);
    }
    const PackClassChoice choice = ChoosePackClasses(histogram);
    EXPECT_TRUE(choice.classes == PlainClasses(symbols, packs))
        << "symbols " << symbols << " round " << round;
    for (const auto& [low, high, tokens] : packs) {
      const PackClass& chosen = choice.classes.of[choice.class_of_entry[histogram.Entry(low, high)]];
      EXPECT_LE(chosen.base, low);
      EXPECT_LT(high, chosen.base + (1u << chosen.width));
    }
  }
}

uint64_t StoredBytes(const EncodedGroup& group) {
  const auto stored = [](uint64_t bytes) { return (bytes + 15) / 16 * 16; };
  uint64_t bytes = stored(group.header.size());
  for (const std::string& payload : group.payloads) bytes += stored(payload.size());
  return bytes;
}

TEST(PackkvCodecTest, AnOrderIsWrittenOnlyWhereItPays) {
  const PackkvCodec codec;
  int moved = 0, kept = 0;
  for (const uint32_t channels : {16u, 64u, 128u}) {
    for (const char* repack : {"median", "greedy"}) {
      const GroupShape shape{DType::kBf16, Tensor::kV, 2, 64, channels};
      const std::string values = SyntheticKv(shape.dtype, shape.tensor, 2, 64, channels, 4);
      const auto none = EncodeGroup(codec, shape, values, {.profile = *Profile::Parse("packkv:pack=8")});
      const auto other = EncodeGroup(
          codec, shape, values, {.profile = *Profile::Parse(absl::StrCat("packkv:pack=8,repack=", repack))});
      ASSERT_TRUE(none.ok() && other.ok());
      EXPECT_LE(StoredBytes(*other), StoredBytes(*none));
      const bool reordered = other->header[0] & kPackkvReordered;
      EXPECT_EQ(reordered, StoredBytes(*other) < StoredBytes(*none));
      EXPECT_TRUE(reordered || *other == *none);
      (reordered ? moved : kept)++;
    }
  }
  EXPECT_GT(moved, 0);
  EXPECT_GT(kept, 0);
}

class PackkvAutoTest : public ::testing::Test {
 protected:
  absl::StatusOr<EncodedGroup> Encode(const char* profile,
                                      std::optional<PackkvSetting> packing = std::nullopt) const {
    return EncodeGroup(codec_, shape_, values_, {.profile = *Profile::Parse(profile), .packing = packing});
  }
  static constexpr PackkvSetting kGreedy8{Repack::kGreedy, 8};

  const PackkvCodec codec_{};
  const GroupShape shape_{DType::kBf16, Tensor::kV, 2, 64, 128};
  const std::string values_ = SyntheticKv(shape_.dtype, shape_.tensor, 2, 64, 128, 4);
};

TEST_F(PackkvAutoTest, WithoutAChoiceItIsTheDefaults) {
  EXPECT_EQ(*Encode("packkv:repack=auto,pack=auto"), *Encode("packkv:repack=none,pack=16"));
  EXPECT_EQ(*Encode("packkv:repack=auto,pack=8"), *Encode("packkv:repack=none,pack=8"));
  EXPECT_EQ(*Encode("packkv:repack=greedy,pack=auto"), *Encode("packkv:repack=greedy,pack=16"));
}

TEST_F(PackkvAutoTest, WithAChoiceItIsThatSetting) {
  const EncodedGroup greedy8 = *Encode("packkv:repack=greedy,pack=8");
  ASSERT_FALSE(greedy8 == *Encode("packkv:repack=none,pack=16"));
  EXPECT_EQ(*Encode("packkv:repack=auto,pack=auto", kGreedy8), greedy8);
  EXPECT_EQ(*Encode("packkv:repack=auto,pack=4", kGreedy8), *Encode("packkv:repack=greedy,pack=4"));
  EXPECT_EQ(*Encode("packkv:repack=median,pack=auto", kGreedy8), *Encode("packkv:repack=median,pack=8"));
}

TEST_F(PackkvAutoTest, AChoiceDoesNothingWhereTheProfileSaysAll) {
  EXPECT_EQ(*Encode("packkv:repack=none,pack=16", kGreedy8), *Encode("packkv:repack=none,pack=16"));
}

TEST_F(PackkvAutoTest, RefusesAChoiceThatIsNone) {
  for (const PackkvSetting& bad :
       {PackkvSetting{Repack::kAuto, 8}, PackkvSetting{Repack::kNone, 0}, PackkvSetting{Repack::kNone, 7}}) {
    EXPECT_EQ(Encode("packkv:repack=auto,pack=auto", bad).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

class PackkvHeaderTest : public ::testing::Test {
 protected:
  PackkvHeaderTest() {
    const std::string values = SyntheticKv(shape_.dtype, shape_.tensor, 2, 64, 128, 4);
    header_ = EncodeGroup(codec_, shape_, values, {.profile = *Profile::Parse("packkv:repack=greedy,pack=8")})
                  ->header;
  }
  absl::StatusCode Check(const std::string& header) const {
    return codec_.CheckGroupHeader(shape_, AsBytes(header)).code();
  }
  std::string With(size_t at, int byte) const {
    std::string header = header_;
    header[at] = static_cast<char>(byte);
    return header;
  }

  const PackkvCodec codec_;
  const GroupShape shape_{DType::kBf16, Tensor::kV, 2, 64, 128};
  std::string header_;
};

TEST_F(PackkvHeaderTest, RefusesWhatNoEncoderWrites) {
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss, kUnimplemented = absl::StatusCode::kUnimplemented;
  ASSERT_EQ(Check(header_), absl::StatusCode::kOk);
  ASSERT_TRUE(header_[0] & kPackkvReordered);
  EXPECT_EQ(Check(With(0, header_[0] | 4)), kUnimplemented);
  EXPECT_EQ(Check(With(0, header_[0] & ~kPackkvReordered)), kDataLoss);  // length
  EXPECT_EQ(Check(With(0, header_[0] | kPackkvWideZeros)), kDataLoss);
  EXPECT_EQ(Check(With(1, 64)), kUnimplemented);
  EXPECT_EQ(Check(With(2, 1)), kDataLoss);  // symbols
  EXPECT_EQ(Check(With(3, 2)), kDataLoss);
  EXPECT_EQ(Check(With(4, 0)), kDataLoss);  // classes
  EXPECT_EQ(Check(With(4, 17)), kDataLoss);
  EXPECT_EQ(Check(With(5, 1)), kDataLoss);    // reserved
  EXPECT_EQ(Check(With(6, 255)), kDataLoss);  // a base
  EXPECT_EQ(Check(With(7, 9)), kDataLoss);    // a width
  const size_t order = header_.size() - 48;
  for (size_t i = order; i < header_.size(); ++i) {
    EXPECT_EQ(Check(With(i, header_[i] ^ 1)), kDataLoss) << i;  // then one token twice
  }
  std::string identity = header_;
  for (uint32_t i = 0; i < 64; ++i) {
    for (uint32_t bit = 0; bit < 6; ++bit) {
      const uint32_t at = 6 * i + bit;
      char& byte = identity[order + at / 8];
      byte = static_cast<char>((byte & ~(1 << at % 8)) | ((i >> bit & 1) << at % 8));
    }
  }
  EXPECT_EQ(Check(identity), kDataLoss);
}

}  // namespace
}  // namespace kvcompd::codec
