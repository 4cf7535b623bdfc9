// The pace of the samples, and one choice whatever the number of threads.
#include "server/store/packing_tuner.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/codec/kv_samples.h"

namespace kvcompd::server {
namespace {

using codec::PackkvTuner;

const codec::GroupShape kK{DType::kBf16, Tensor::kK, 1, 64, 64};
const codec::GroupShape kV{DType::kBf16, Tensor::kV, 1, 64, 64};
constexpr uint64_t kGroupsToChoose = (PackkvTuner::kGroups - 1) * PackingTuner::kGroupsPerSample + 1;

class PackingTunerTest : public ::testing::Test {
 protected:
  bool Offer(const codec::GroupShape& shape, codec::Workspace* ws) {
    return tuner_.Offer(shape, AsBytes(values_).data(), shape.tile_bytes(), ws).has_value();
  }

  const std::string values_ = testing::SyntheticKv(DType::kBf16, Tensor::kV, 1, 64, 64, 1);
  PackingTuner tuner_{*Profile::Parse("packkv:repack=auto,pack=auto")};
};

TEST_F(PackingTunerTest, ChoosesWithTheLastOfItsSamples) {
  codec::Workspace ws;
  for (uint64_t n = 1; n < kGroupsToChoose; ++n) {
    ASSERT_FALSE(Offer(kK, &ws)) << n;
    ASSERT_FALSE(tuner_.choices().k.has_value()) << n;
  }
  EXPECT_TRUE(Offer(kK, &ws));
  EXPECT_TRUE(tuner_.choices().k.has_value());
  EXPECT_FALSE(tuner_.choices().v.has_value());
  // Said once; and V has a pace of its own.
  for (uint64_t n = 1; n < kGroupsToChoose; ++n) {
    ASSERT_FALSE(Offer(kK, &ws)) << n;
    ASSERT_FALSE(Offer(kV, &ws)) << n;
  }
  EXPECT_TRUE(Offer(kV, &ws));
  EXPECT_TRUE(tuner_.choices().v.has_value());
}

TEST_F(PackingTunerTest, ThreadsMakeOneChoice) {
  constexpr int kThreads = 4;
  std::atomic<int> outcomes{0};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      codec::Workspace ws;
      while (!tuner_.choices().v.has_value()) outcomes += Offer(kV, &ws);
      for (uint64_t n = 0; n < kGroupsToChoose; ++n) outcomes += Offer(kV, &ws);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(outcomes, 1);
}

}  // namespace
}  // namespace kvcompd::server
