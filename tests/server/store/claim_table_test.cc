#include "server/store/claim_table.h"

#include <gtest/gtest.h>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

using Outcome = ClaimTable::Outcome;

class ClaimTableTest : public testing::Test {
 protected:
  Namespace ns_{"t", "a", TestModel("a"), {}};
  Namespace other_{"t", "b", TestModel("b"), {}};
  BlockKey key_ = TestKey(1);
  ShardRange left_{0, 0, 2, 0, 2};
  ShardRange right_{0, 2, 2, 0, 2};
  ClaimTable claims_;
};

TEST_F(ClaimTableTest, AnotherPutOfTheShardIsInProgress) {
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "p", 1, 0), Outcome::kClaimed);
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "q", 2, 0), Outcome::kInProgress);
  EXPECT_EQ(claims_.Begin(&ns_, key_, {0, 1, 1, 0, 1}, "q", 2, 0), Outcome::kInProgress);  // contained
  EXPECT_EQ(claims_.Begin(&ns_, key_, right_, "q", 3, 0), Outcome::kClaimed);
  EXPECT_EQ(claims_.Begin(&ns_, key_, kWholeBlock, "q", 4, 0),
            Outcome::kClaimed);  // more than what is claimed
  EXPECT_EQ(claims_.Begin(&ns_, TestKey(2), left_, "q", 5, 0), Outcome::kClaimed);
  EXPECT_EQ(claims_.Begin(&other_, key_, left_, "q", 6, 0), Outcome::kClaimed);
}

TEST_F(ClaimTableTest, TheSamePutTakesOverItsOwn) {
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "p", 1, 0), Outcome::kClaimed);
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "p", 2, 0), Outcome::kTakenOver);
  EXPECT_FALSE(claims_.Touch(&ns_, key_, 1, 0));
  EXPECT_FALSE(claims_.End(&ns_, key_, 1));
  EXPECT_TRUE(claims_.End(&ns_, key_, 2));
  EXPECT_TRUE(claims_.empty());
}

TEST_F(ClaimTableTest, PutsWithoutIdTakeOverNothing) {
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "", 1, 0), Outcome::kClaimed);
  EXPECT_EQ(claims_.Begin(&ns_, key_, left_, "", 2, 0), Outcome::kInProgress);
}

TEST_F(ClaimTableTest, UntouchedClaimsGo) {
  claims_.Begin(&ns_, key_, left_, "p", 1, 100);
  claims_.Begin(&ns_, key_, right_, "p", 2, 100);
  EXPECT_TRUE(claims_.Touch(&ns_, key_, 2, 150));
  EXPECT_EQ(claims_.DropUntouchedSince(99), 0u);
  EXPECT_EQ(claims_.DropUntouchedSince(100), 1u);
  EXPECT_FALSE(claims_.End(&ns_, key_, 1));
  EXPECT_TRUE(claims_.End(&ns_, key_, 2));
}

TEST_F(ClaimTableTest, DropsThoseOfOneNamespace) {
  claims_.Begin(&ns_, key_, left_, "p", 1, 0);
  claims_.Begin(&ns_, TestKey(2), left_, "p", 2, 0);
  claims_.Begin(&other_, key_, left_, "p", 3, 0);
  EXPECT_EQ(claims_.DropAllOf(&ns_), 2u);
  EXPECT_FALSE(claims_.End(&ns_, key_, 1));
  EXPECT_TRUE(claims_.End(&other_, key_, 3));
}

}  // namespace
}  // namespace kvcompd::server
