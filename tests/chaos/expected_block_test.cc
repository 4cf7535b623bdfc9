#include "tests/chaos/expected_block.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvcompd {
namespace {

TEST(ExpectedBlock, OneOtherBitDoesNotMatch) {
  const BlockKey key = ChaosKey(1, 2);
  std::vector<std::byte> values(4096);
  FillExpected(key, 3, Tensor::kK, values);
  ASSERT_TRUE(Matches(key, 3, Tensor::kK, values));
  for (const size_t at : {size_t{0}, size_t{2047}, values.size() - 1}) {
    values[at] ^= std::byte{0x10};
    EXPECT_FALSE(Matches(key, 3, Tensor::kK, values)) << at;
    values[at] ^= std::byte{0x10};
  }
}

TEST(ExpectedBlock, EveryPlaceHasItsOwnValues) {
  std::vector<std::byte> values(64);
  FillExpected(ChaosKey(1, 2), 3, Tensor::kK, values);
  EXPECT_FALSE(Matches(ChaosKey(1, 3), 3, Tensor::kK, values));
  EXPECT_FALSE(Matches(ChaosKey(2, 2), 3, Tensor::kK, values));
  EXPECT_FALSE(Matches(ChaosKey(1, 2), 2, Tensor::kK, values));
  EXPECT_FALSE(Matches(ChaosKey(1, 2), 3, Tensor::kV, values));
}

TEST(ChaosMemory, HoldsWhatWasFilledAndNotWhatWasPoisoned) {
  ChaosMemory memory(2, 3);
  const BlockKey key = ChaosKey(1, 2);
  memory.Fill(1, key);
  EXPECT_TRUE(memory.HoldsLayers(1, key, 2));
  EXPECT_FALSE(memory.HoldsLayers(0, key, 1));
  memory.Poison(1);
  EXPECT_FALSE(memory.HoldsLayers(1, key, 1));
  EXPECT_TRUE(memory.HoldsLayers(1, key, 0));
}

}  // namespace
}  // namespace kvcompd
