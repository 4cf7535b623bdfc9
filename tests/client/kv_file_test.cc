#include "client/kv_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codec/base/types.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr char kStory[] = "tests/data/tiny1m.story1";

float Bf16ToFloat(const std::byte* bits) {
  uint32_t word = 0;
  std::memcpy(reinterpret_cast<std::byte*>(&word) + 2, bits, 2);
  float out = 0;
  std::memcpy(&out, &word, sizeof out);
  return out;
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(KvFileTest, LoadsTheStory) {
  const auto file = LoadKvFile(kStory);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->model, "tiny1m");
  EXPECT_EQ(file->sample, "story1");
  EXPECT_EQ(file->dtype, DType::kBf16);
  EXPECT_EQ(file->layers, 4u);
  EXPECT_EQ(file->tokens, 256u);
  EXPECT_EQ(file->kv_heads, 2u);
  EXPECT_EQ(file->head_dim, 64u);
  EXPECT_EQ(file->token_ids.size(), 256u);
  EXPECT_EQ(file->token_ids[0], 1u);
  EXPECT_EQ(file->token_ids[1], 410u);
  EXPECT_TRUE(file->context_token_ids.empty());
  EXPECT_EQ(file->kv.size(), 524288u);
  EXPECT_EQ(file->query_tokens, 64u);
  EXPECT_EQ(file->query_heads, 2u);
  EXPECT_EQ(file->queries.size(), size_t{4} * 64 * 2 * 64);
  for (float q : file->queries) ASSERT_TRUE(std::isfinite(q));
}

TEST(KvFileTest, DescriptorNamesTheModelAndAllLayers) {
  const auto file = LoadKvFile("tests/data/docs6m.prefix_a");
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelDescriptor descriptor = file->Descriptor(128);
  EXPECT_EQ(descriptor.model_id, "docs6m");
  EXPECT_EQ(descriptor.tokens_per_block, 128u);
  ASSERT_EQ(descriptor.groups.size(), 1u);
  EXPECT_EQ(descriptor.groups[0].layers, (std::vector<uint32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(descriptor.groups[0].kv_heads, 2u);
  EXPECT_EQ(descriptor.groups[0].head_dim_k, 128u);
  EXPECT_EQ(descriptor.groups[0].head_dim_v, 128u);
  EXPECT_EQ(descriptor.groups[0].dtype, DType::kBf16);
}

// V of layer 0 depends on the token id alone: equal tokens have equal rows, up to the rounding of the last
// bit. This holds only where token, head and channel axes and the K/V order are read as they were written.
TEST(KvFileTest, LayerZeroValuesFollowTokenIds) {
  const auto file = LoadKvFile(kStory);
  ASSERT_TRUE(file.ok()) << file.status();
  const ByteSpan v = file->TensorValues(0, Tensor::kV);
  const size_t row_bytes = size_t{file->kv_heads} * file->head_dim * 2;
  ASSERT_EQ(v.size(), row_bytes * file->tokens);
  int pairs = 0;
  for (uint32_t a = 0; a < file->tokens; ++a) {
    for (uint32_t b = a + 1; b < file->tokens; ++b) {
      double distance = 0, norm = 0;
      for (size_t i = 0; i < row_bytes; i += 2) {
        const float x = Bf16ToFloat(&v[a * row_bytes + i]);
        const float y = Bf16ToFloat(&v[b * row_bytes + i]);
        distance += (x - y) * (x - y);
        norm += x * x + y * y;
      }
      const bool equal_ids = file->token_ids[a] == file->token_ids[b];
      EXPECT_EQ(distance < 1e-4 * norm, equal_ids) << "tokens " << a << " and " << b;
      pairs += equal_ids ? 1 : 0;
    }
  }
  EXPECT_GT(pairs, 100);
}

TEST(KvFileTest, CopyTokensGivesHeadMajorRows) {
  const auto file = LoadKvFile(kStory);
  ASSERT_TRUE(file.ok()) << file.status();
  const uint32_t first = 60, count = 7;
  std::vector<std::byte> out(file->TensorBytes(count));
  ASSERT_EQ(out.size(), size_t{7} * 2 * 64 * 2);
  ASSERT_TRUE(file->CopyTokens(2, Tensor::kV, first, count, out).ok());
  for (uint32_t head = 0; head < 2; ++head) {
    for (uint32_t t = 0; t < count; ++t) {
      // [layers, 2, tokens, kv_heads, head_dim]
      const size_t from = ((((size_t{2} * 2 + 1) * 256 + first + t) * 2) + head) * 64 * 2;
      const size_t at = (size_t{head} * count + t) * 64 * 2;
      EXPECT_EQ(std::memcmp(&out[at], &file->kv[from], 128), 0) << head << " " << t;
    }
  }
}

TEST(KvFileTest, CopyTokensChecksItsArguments) {
  const auto file = LoadKvFile(kStory);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::byte> out(file->TensorBytes(64));
  EXPECT_TRUE(file->CopyTokens(3, Tensor::kK, 192, 64, out).ok());
  EXPECT_TRUE(file->CopyTokens(0, Tensor::kK, 256, 0, {}).ok());
  const auto kBad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(file->CopyTokens(4, Tensor::kK, 0, 64, out).code(), kBad);
  EXPECT_EQ(file->CopyTokens(0, Tensor::kK, 193, 64, out).code(), kBad);
  EXPECT_EQ(file->CopyTokens(0, Tensor::kK, 0xffffffffu, 64, out).code(), kBad);
  EXPECT_EQ(file->CopyTokens(0, Tensor::kK, 0, 63, out).code(), kBad);
}

TEST(KvFileTest, PrefixSamplesShareTwoBlocks) {
  const auto a = LoadKvFile("tests/data/docs6m.prefix_a");
  const auto b = LoadKvFile("tests/data/docs6m.prefix_b");
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(a->context_token_ids.size(), 512u);
  EXPECT_EQ(a->context_token_ids, b->context_token_ids);
  ASSERT_EQ(a->token_ids.size(), 256u);
  EXPECT_TRUE(std::equal(a->token_ids.begin(), a->token_ids.begin() + 128, b->token_ids.begin()));
  EXPECT_FALSE(std::equal(a->token_ids.begin() + 128, a->token_ids.end(), b->token_ids.begin() + 128));
  std::vector<std::byte> of_a(a->TensorBytes(128)), of_b(b->TensorBytes(128));
  for (uint32_t layer = 0; layer < a->layers; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      ASSERT_TRUE(a->CopyTokens(layer, tensor, 0, 128, of_a).ok());
      ASSERT_TRUE(b->CopyTokens(layer, tensor, 0, 128, of_b).ok());
      EXPECT_TRUE(of_a == of_b) << layer;
      ASSERT_TRUE(a->CopyTokens(layer, tensor, 128, 128, of_a).ok());
      ASSERT_TRUE(b->CopyTokens(layer, tensor, 128, 128, of_b).ok());
      EXPECT_FALSE(of_a == of_b) << layer;
    }
  }
}

TEST(KvFileTest, SampleIsTheOneOfItsProvenance) {
  const std::string provenance = ReadAll("tests/data/PROVENANCE.md");
  int sums = 0;
  uint64_t bytes = 0;
  std::istringstream lines(provenance);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 70 || line.substr(0, 4) != "    " || line[68] != ' ') continue;
    const std::string name = line.substr(69);
    const std::string content = ReadAll("tests/data/" + name);
    EXPECT_EQ(Sha256(content).Hex(), line.substr(4, 64)) << name;
    bytes += content.size();
    ++sums;
  }
  EXPECT_EQ(sums, 7);
  EXPECT_LE(bytes, uint64_t{4} << 20);
}

// Copies of the story with one file changed.
class KvFileErrorTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* end : {".json", ".kv.bf16.npy", ".q.f32.npy"})
      Write(end, ReadAll(std::string(kStory) + end));
    ASSERT_TRUE(LoadKvFile(stem_).ok());
  }
  void Write(const std::string& end, const std::string& content) {
    std::ofstream(stem_ + end, std::ios::binary) << content;
  }
  absl::StatusCode Load(DType dtype = DType::kBf16) { return LoadKvFile(stem_, dtype).status().code(); }

  const std::string stem_ = absl::StrCat(testing::TempDir(), "/copy");
};

TEST_F(KvFileErrorTest, MissingFiles) {
  EXPECT_EQ(Load(DType::kFp16), absl::StatusCode::kNotFound);
  EXPECT_EQ(Load(DType::kFp8E4m3), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(std::remove((stem_ + ".q.f32.npy").c_str()), 0);
  const auto file = LoadKvFile(stem_);
  ASSERT_TRUE(file.ok()) << file.status();  // queries are optional
  EXPECT_EQ(file->query_tokens, 0u);
  EXPECT_TRUE(file->queries.empty());
  ASSERT_EQ(std::remove((stem_ + ".json").c_str()), 0);
  EXPECT_EQ(Load(), absl::StatusCode::kNotFound);
}

TEST_F(KvFileErrorTest, Fp16MayBeStoredAsBits) {
  Write(".kv.f16.npy", ReadAll(stem_ + ".kv.bf16.npy"));
  const auto file = LoadKvFile(stem_, DType::kFp16);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->dtype, DType::kFp16);
}

TEST_F(KvFileErrorTest, BadJson) {
  const std::string head = R"({"model": "m", "sample": "s", "source": "t", "token_ids": )";
  for (const std::string& json : {
           std::string(),
           std::string("{"),
           std::string("[1]"),
           std::string("7"),
           head + "7}",
           head + "[1, -1]}",
           head + "[4294967296]}",
           head + "[1.5]}",
           head + "[1, 2]}",  // 2 ids for 256 tokens
           std::string(R"({"model": 1, "sample": "s", "source": "t", "token_ids": []})"),
           std::string(R"({"model": "m", "source": "t", "token_ids": []})"),
       }) {
    Write(".json", json);
    EXPECT_EQ(Load(), absl::StatusCode::kInvalidArgument) << json;
  }
}

TEST_F(KvFileErrorTest, ArraysThatDoNotFit) {
  const std::string queries = ReadAll(stem_ + ".q.f32.npy");
  const std::string kv = ReadAll(stem_ + ".kv.bf16.npy");
  Write(".kv.bf16.npy", queries);
  EXPECT_EQ(Load(), absl::StatusCode::kInvalidArgument);
  Write(".kv.bf16.npy", kv.substr(0, kv.size() - 1));
  EXPECT_EQ(Load(), absl::StatusCode::kInvalidArgument);
  Write(".kv.bf16.npy", kv);
  Write(".q.f32.npy", kv);
  EXPECT_EQ(Load(), absl::StatusCode::kInvalidArgument);
  Write(".q.f32.npy", queries);
  EXPECT_EQ(Load(), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace kvcompd::client
