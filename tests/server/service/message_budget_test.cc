#include "server/service/message_budget.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace kvcompd::server {
namespace {

TEST(MessageBudgetTest, GivesWhatIsWantedWhileThereIsPlenty) {
  MessageBudget budget(1000);
  MessageBudget::Share a = budget.Take(40, 10);
  EXPECT_EQ(a.bytes(), 40u);
  MessageBudget::Share b = budget.Take(800, 700);
  EXPECT_EQ(b.bytes(), 700u) << "no less than the least, however much that is";
  EXPECT_EQ(budget.Take(40, 10).bytes(), 32u) << "an eighth of 260";
  EXPECT_EQ(budget.used_bytes(), 740u) << "which went at once";
}

TEST(MessageBudgetTest, GivesTheLeastAndThenNothing) {
  MessageBudget budget(100);
  std::vector<MessageBudget::Share> shares;
  for (int i = 0; i < 10; ++i) {
    shares.push_back(budget.Take(75, 10));
    EXPECT_GE(shares.back().bytes(), i < 9 ? 10u : 0u);
  }
  EXPECT_EQ(budget.Take(75, 11).bytes(), 0u);
  shares.clear();
  EXPECT_EQ(budget.used_bytes(), 0u);
  EXPECT_EQ(budget.Take(1000, 101).bytes(), 0u);
}

TEST(MessageBudgetTest, LeavesAPartToOthers) {
  MessageBudget budget(100);
  std::vector<MessageBudget::Share> puts;
  for (;;) {
    MessageBudget::Share share = budget.Take(16, 4, /*leave=*/25);
    if (share.bytes() == 0) break;
    puts.push_back(std::move(share));
  }
  EXPECT_GT(budget.used_bytes(), 71u);
  EXPECT_LE(budget.used_bytes(), 75u);
  EXPECT_EQ(budget.Take(20, 20).bytes(), 20u);
  EXPECT_EQ(budget.Take(4, 1, /*leave=*/99).bytes(), 0u);
}

TEST(MessageBudgetTest, AShareMoves) {
  MessageBudget budget(100);
  MessageBudget::Share a = budget.Take(20, 20);
  MessageBudget::Share b = std::move(a);
  EXPECT_EQ(a.bytes(), 0u);
  EXPECT_EQ(budget.used_bytes(), 20u);
  b = budget.Take(30, 30);
  EXPECT_EQ(budget.used_bytes(), 30u);
  b = MessageBudget::Share();
  EXPECT_EQ(budget.used_bytes(), 0u);
}

}  // namespace
}  // namespace kvcompd::server
