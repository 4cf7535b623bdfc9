#include "server/store/block_table.h"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <random>
#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

class BlockTableTest : public testing::Test {
 protected:
  BlockEntry* Add(Namespace* ns, uint64_t key) {
    return table_.Insert(std::make_unique<BlockEntry>(ns, TestKey(key), BlockKey(), key, 64), ++tick_, 5);
  }
  Namespace a_{"t", "a", TestModel("a"), {}};
  Namespace b_{"t", "b", TestModel("b"), {}};
  std::atomic<uint64_t> oldest_{0};
  BlockTable table_{&oldest_};
  uint64_t tick_ = 0;
};

TEST_F(BlockTableTest, EntryKeepsKeyAndParentOfAnyLength) {
  const BlockKey key = BlockKey::FromBytes(std::string(16, 'k')).value();
  const BlockKey parent = BlockKey::FromBytes(std::string(64, 'p')).value();
  const BlockEntry entry(&a_, key, parent, 3, 1024);
  EXPECT_EQ(entry.key_copy(), key);
  EXPECT_EQ(entry.parent_copy(), parent);
  EXPECT_EQ(entry.tokens, 1024u);
  EXPECT_TRUE(BlockEntry(&a_, key, BlockKey(), 3, 1).parent_copy().empty());
  EXPECT_LE(sizeof(BlockEntry), 128u);
}

TEST_F(BlockTableTest, FindsByNamespaceAndKey) {
  BlockEntry* const entry = Add(&a_, 1);
  EXPECT_EQ(table_.Find(&a_, TestKey(1)), entry);
  EXPECT_EQ(table_.Find(&b_, TestKey(1)), nullptr);
  EXPECT_EQ(table_.Find(&a_, TestKey(2)), nullptr);
  auto removed = table_.Remove(entry);
  EXPECT_EQ(removed.get(), entry);
  EXPECT_EQ(table_.Find(&a_, TestKey(1)), nullptr);
  EXPECT_EQ(oldest_, BlockTable::kNoTick);
}

TEST_F(BlockTableTest, OrderMatchesAListUnderRandomUse) {
  std::mt19937 random(3);
  std::list<uint64_t> all;  // oldest first; keys of a_ are even, of b_ odd
  for (int i = 0; i < 5000; ++i) {
    const uint64_t n = random() % 64;
    Namespace* const ns = n % 2 == 0 ? &a_ : &b_;
    BlockEntry* entry = table_.Find(ns, TestKey(n));
    if (entry == nullptr) {
      Add(ns, n);
    } else {
      all.remove(n);
      if (random() % 3 == 0) {
        table_.Remove(entry);
        continue;
      }
      table_.Touch(entry, ++tick_, 5);
    }
    all.push_back(n);
    ASSERT_EQ(table_.size(), all.size());
    ASSERT_EQ(table_.Oldest()->generation, all.front());
    ASSERT_EQ(oldest_, table_.Oldest()->tick);
  }
  std::vector<uint64_t> order, of_a, expected_a;
  table_.ForEach([&](BlockEntry* entry) { order.push_back(entry->generation); });
  table_.ForEachOf(&a_, [&](BlockEntry* entry) { of_a.push_back(entry->generation); });
  for (uint64_t n : all) {
    if (n % 2 == 0) expected_a.push_back(n);
  }
  EXPECT_EQ(order, std::vector<uint64_t>(all.begin(), all.end()));
  EXPECT_EQ(of_a, expected_a);
}

TEST_F(BlockTableTest, ForEachMayRemove) {
  for (uint64_t n = 0; n < 10; ++n) Add(&a_, n);
  table_.ForEach([&](BlockEntry* entry) {
    if (entry->generation % 2 == 0) table_.Remove(entry);
  });
  EXPECT_EQ(table_.size(), 5u);
  table_.ForEachOf(&a_, [&](BlockEntry* entry) { table_.Remove(entry); });
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_EQ(table_.Oldest(), nullptr);
  EXPECT_EQ(table_.OldestOf(&a_), nullptr);
}

}  // namespace
}  // namespace kvcompd::server
