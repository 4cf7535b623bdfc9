#include "client/ctl/sample.h"

#include <algorithm>
#include <string>

#include "client/ctl/attention_check.h"
#include "client/ctl/child_process.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr char kStory[] = "tests/data/tiny1m.story1";

KvFile Load(const std::string& path) {
  auto file = LoadSample(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : KvFile{};
}

// Memory that holds the sample as it is.
std::unique_ptr<SampleMemory> ExactMemory(const KvFile& file) {
  auto memory = SampleMemory::Create(file);
  EXPECT_TRUE(memory.ok()) << memory.status();
  const PagedBuffer& buffer = (*memory)->buffer();
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      std::vector<std::byte> values(file.TensorBytes(file.tokens));
      EXPECT_TRUE(file.CopyTokens(layer, tensor, 0, file.tokens, values).ok());
      EXPECT_TRUE(
          buffer.Scatter({.buffer = &buffer, .pages = {0}}, layer, tensor, 0, file.tokens, 0, values).ok());
    }
  }
  return *std::move(memory);
}

// Flips the lowest bit of a value's fraction.
void Disturb(SampleMemory* memory, const KvFile& file, uint32_t layer, Tensor tensor, uint32_t token) {
  const PagedBuffer& buffer = memory->buffer();
  const BlockPlace place{.buffer = &buffer, .pages = {0}, .first_token = token};
  std::vector<std::byte> values(buffer.TensorBytes(tensor, 1));
  ASSERT_TRUE(buffer.Gather(place, layer, tensor, 0, 1, 0, values).ok());
  values[0] ^= std::byte{1};
  ASSERT_TRUE(buffer.Scatter(place, layer, tensor, 0, 1, 0, values).ok());
}

TEST(SampleTest, LoadsByAnyOfItsNames) {
  for (const char* suffix : {"", ".json", ".kv.bf16.npy"}) {
    EXPECT_EQ(Load(std::string(kStory) + suffix).model, "tiny1m") << suffix;
  }
  EXPECT_EQ(LoadSample("tests/data/nothing").status().code(), absl::StatusCode::kNotFound);
  const auto samples = FindKvFiles("tests/data");
  ASSERT_TRUE(samples.ok());
  std::vector<std::string> stems;
  for (const KvFileName& sample : *samples) stems.push_back(sample.stem);
  EXPECT_EQ(stems,
            (std::vector<std::string>{"tests/data/docs6m.prefix_a", "tests/data/docs6m.prefix_b", kStory}));
  EXPECT_FALSE(FindKvFiles("tests/nowhere").ok());
}

TEST(SampleTest, KeysChainOverTheContext) {
  const KvFile a = Load("tests/data/docs6m.prefix_a"), b = Load("tests/data/docs6m.prefix_b");
  const auto blocks_a = SampleBlocks(a, 64, false), blocks_b = SampleBlocks(b, 64, false);
  ASSERT_TRUE(blocks_a.ok() && blocks_b.ok());
  ASSERT_EQ(blocks_a->size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*blocks_a)[i].key == (*blocks_b)[i].key, i < 2) << i;  // one prefix, two questions
    EXPECT_EQ((*blocks_a)[i].first_token, 64 * i);
    EXPECT_FALSE((*blocks_a)[i].parent.empty());
    EXPECT_TRUE(i == 0 || (*blocks_a)[i].parent == (*blocks_a)[i - 1].key);
  }
  const auto story = SampleBlocks(Load(kStory), 64, false);
  EXPECT_TRUE((*story)[0].parent.empty());
  // 512 tokens before it are no whole blocks of 192, and no tail is there unless asked for.
  EXPECT_EQ(SampleBlocks(a, 192, false).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SampleBlocks(Load(kStory), 192, false)->size(), 1u);
  const auto tail = SampleBlocks(Load(kStory), 192, true);
  ASSERT_EQ(tail->size(), 2u);
  EXPECT_EQ((*tail)[1].tokens, 64u);
}

TEST(SampleTest, ChecksEveryValueOfTheBlocks) {
  const KvFile file = Load(kStory);
  const auto blocks = SampleBlocks(file, 64, false);
  const auto memory = ExactMemory(file);
  auto report = CheckBlocks(file, *memory, *blocks, Profile{});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->values, file.kv.size() / 2);
  EXPECT_EQ(report->violations, 0u);
  Disturb(memory.get(), file, 2, Tensor::kV, 100);
  report = CheckBlocks(file, *memory, *blocks, Profile{});
  EXPECT_EQ(report->violations, 1u);
  EXPECT_NE(report->first_violation.find("block 1, layer 2, V, head 0, token 36"), std::string::npos)
      << report->first_violation;
  report = CheckBlocks(file, *memory, *blocks, *Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1"));
  EXPECT_EQ(report->violations, 0u);
  EXPECT_EQ(report->changed, 1u);
}

TEST(SampleTest, WritesWhatItReads) {
  const KvFile file = Load(kStory);
  const auto memory = ExactMemory(file);
  const auto folder = TemporaryFolder::Create();
  ASSERT_TRUE(folder.ok());
  const std::string stem = (*folder)->path() + "/copy";
  ASSERT_TRUE(WriteSampleNpy(stem + ".kv.bf16.npy", file, *memory, file.tokens).ok());
  std::string json = R"({"model": "m", "sample": "s", "source": "x", "token_ids": [0)";
  for (uint32_t i = 1; i < file.tokens; ++i) json += ", 1";
  ASSERT_TRUE(WriteFileBytes(stem + ".json", AsBytes(json + "]}")).ok());
  const KvFile back = Load(stem);
  EXPECT_EQ(back.layers, file.layers);
  EXPECT_EQ(back.kv_heads, file.kv_heads);
  EXPECT_TRUE(back.kv == file.kv);
  EXPECT_FALSE(WriteFileBytes("/no/such/folder/x", AsBytes("x")).ok());
}

TEST(AttentionCheckTest, SeesChangesOfKAndV) {
  const KvFile file = Load(kStory);
  auto memory = ExactMemory(file);
  auto report = CompareAttention(file, *memory, file.tokens);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->outputs, uint64_t{file.layers} * file.query_tokens * file.query_heads);
  EXPECT_EQ(report->relative_l2, 0);
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    Disturb(memory.get(), file, 1, tensor, 200);
    report = CompareAttention(file, *memory, file.tokens);
    EXPECT_GT(report->relative_l2, 0);
    EXPECT_LT(report->relative_l2, 1e-2);
    EXPECT_EQ(report->worst_layer, 1u);
    memory = ExactMemory(file);
  }
}

// Nothing left of V gives an error of exactly 1.
TEST(AttentionCheckTest, IsRelative) {
  const KvFile file = Load(kStory);
  const auto memory = SampleMemory::Create(file);
  const auto report = CompareAttention(file, **memory, file.tokens);
  ASSERT_TRUE(report.ok());
  EXPECT_DOUBLE_EQ(report->relative_l2, 1.0);
}

TEST(AttentionCheckTest, LeavesOutQueriesWithoutKeys) {
  const KvFile file = Load(kStory);
  auto memory = ExactMemory(file);
  Disturb(memory.get(), file, 0, Tensor::kV, 250);
  const auto fewer = CompareAttention(file, *memory, 224);
  ASSERT_TRUE(fewer.ok());
  EXPECT_EQ(fewer->outputs, uint64_t{file.layers} * 32 * file.query_heads);
  EXPECT_EQ(fewer->relative_l2, 0);  // token 250 is not attended to
  EXPECT_FALSE(CompareAttention(file, *memory, 192).ok());
  const KvFile docs = Load("tests/data/docs6m.prefix_a");
  EXPECT_EQ(CompareAttention(docs, **SampleMemory::Create(docs), 256).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace kvcompd::client
