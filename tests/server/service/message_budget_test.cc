#include "server/service/message_budget.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace kvcompd::server {
namespace {

TEST(MessageBudgetTest, GivesWhatIsWantedWhileThereIsPlenty) {
  MessageBudget budget(100);
  MessageBudget::Share a = budget.Take(40, 10);
  EXPECT_EQ(a.bytes(), 40u);
  EXPECT_EQ(budget.Take(40, 10).bytes(), 35u) << "a quarter stays for those that need least";
  EXPECT_EQ(budget.used_bytes(), 40u) << "which went at once";
}

TEST(MessageBudgetTest, GivesTheLeastAndThenNothing) {
  MessageBudget budget(100);
  std::vector<MessageBudget::Share> shares;
  shares.push_back(budget.Take(75, 10));
  EXPECT_EQ(shares.back().bytes(), 75u);
  for (int i = 0; i < 2; ++i) {
    shares.push_back(budget.Take(75, 10));
    EXPECT_EQ(shares.back().bytes(), 10u);
  }
  EXPECT_EQ(budget.Take(75, 10).bytes(), 0u);
  EXPECT_EQ(budget.Take(75, 5).bytes(), 5u);
  EXPECT_EQ(budget.used_bytes(), 95u);
  shares.clear();
  EXPECT_EQ(budget.used_bytes(), 0u);
  EXPECT_EQ(budget.Take(1000, 101).bytes(), 0u);
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
