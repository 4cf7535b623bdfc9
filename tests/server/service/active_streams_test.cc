#include "server/service/active_streams.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace kvcompd::server {
namespace {

constexpr int64_t kIdle = 30;
constexpr int64_t kLongest = 1000;

class ActiveStreamsTest : public testing::Test {
 protected:
  std::unique_ptr<ActiveStreams::Entry> Add(int64_t now, bool may_idle = false) {
    return streams_.Add(
        now, [this] { ++cancelled_; }, may_idle);
  }
  ActiveStreams streams_{8};
  int cancelled_ = 0;
};

TEST_F(ActiveStreamsTest, ASilentOneIsCancelledOnce) {
  auto entry = Add(0);
  EXPECT_EQ(streams_.CancelIdle(29, kIdle, kLongest).idle, 0u);
  entry->activity()->Progress(29);
  EXPECT_EQ(streams_.CancelIdle(58, kIdle, kLongest).idle, 0u);
  EXPECT_EQ(streams_.CancelIdle(59, kIdle, kLongest).idle, 1u);
  EXPECT_EQ(streams_.CancelIdle(60, kIdle, kLongest).idle, 0u) << "it is counted once";
  EXPECT_EQ(cancelled_, 1);
}

TEST_F(ActiveStreamsTest, OneThatWaitsForUsIsNotIdle) {
  auto entry = Add(0);
  const auto activity = entry->activity();
  activity->BeginWork();
  activity->BeginWork();
  activity->EndWork(5);
  EXPECT_EQ(streams_.CancelIdle(500, kIdle, kLongest).idle, 0u);
  activity->EndWork(500);
  EXPECT_EQ(streams_.CancelIdle(529, kIdle, kLongest).idle, 0u) << "it may take its time from here on";
  EXPECT_EQ(streams_.CancelIdle(530, kIdle, kLongest).idle, 1u);
}

TEST_F(ActiveStreamsTest, OneThatTricklesOnEndsAtItsDeadline) {
  auto entry = Add(0);
  auto quiet = Add(0, /*may_idle=*/true);
  entry->activity()->BeginWork();
  for (int64_t now = 10; now < 1000; now += 10) {
    entry->activity()->Progress(now);
    const ActiveStreams::Cancelled cancelled = streams_.CancelIdle(now, kIdle, kLongest);
    ASSERT_EQ(cancelled.idle + cancelled.overdue, 0u);
  }
  entry->activity()->Progress(1000);
  const ActiveStreams::Cancelled cancelled = streams_.CancelIdle(1000, kIdle, kLongest);
  EXPECT_EQ(cancelled.idle, 0u);
  EXPECT_EQ(cancelled.overdue, 1u);
  EXPECT_EQ(cancelled_, 1) << "one that is quiet by nature stays";
}

TEST_F(ActiveStreamsTest, QuietOnesDoNotTakeThePlacesOfTheOthers) {
  std::vector<std::unique_ptr<ActiveStreams::Entry>> entries;
  for (int i = 0; i < 2; ++i) entries.push_back(Add(0, true));
  EXPECT_EQ(Add(0, true), nullptr);
  for (int i = 0; i < 8; ++i) entries.push_back(Add(0));
  EXPECT_NE(entries.back(), nullptr);
  EXPECT_EQ(Add(0), nullptr);
  EXPECT_EQ(streams_.busy(), 8u);
  EXPECT_EQ(streams_.open(), 10u);
  entries.pop_back();
  EXPECT_NE(Add(0), nullptr);
  streams_.CancelAll(/*only_idle=*/true);
  EXPECT_EQ(cancelled_, 2);
}

}  // namespace
}  // namespace kvcompd::server
