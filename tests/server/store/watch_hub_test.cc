#include "server/store/watch_hub.h"

#include <gtest/gtest.h>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

Event Stored(uint64_t n) { return {.kind = Event::Kind::kStored, .key = TestKey(n), .tokens = 64}; }

TEST(WatchHubTest, TellsThoseOfTheNamespace) {
  WatchHub hub(16);
  int woken_a = 0, woken_b = 0;
  auto a = hub.Subscribe("a", [&] { ++woken_a; });
  auto b = hub.Subscribe("b", [&] { ++woken_b; });
  EXPECT_EQ(hub.watchers(), 2u);
  hub.Publish("a", Stored(1));
  hub.Publish("a", Stored(2));
  uint64_t lost = 9;
  const std::vector<Event> events = a->Take(&lost);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].key, TestKey(1));
  EXPECT_EQ(events[1].key, TestKey(2));
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(woken_a, 2);
  EXPECT_EQ(woken_b, 0);
  EXPECT_TRUE(b->Take(&lost).empty());
  EXPECT_TRUE(a->Take(&lost).empty());
}

TEST(WatchHubTest, AFullQueueLosesTheOldestAndSaysHowMany) {
  WatchHub hub(3);
  auto watcher = hub.Subscribe("a", nullptr);
  for (uint64_t n = 1; n <= 5; ++n) hub.Publish("a", Stored(n));
  uint64_t lost = 0;
  std::vector<Event> events = watcher->Take(&lost);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].key, TestKey(3));
  EXPECT_EQ(lost, 2u);
  hub.Publish("a", Stored(6));
  events = watcher->Take(&lost);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(lost, 0u);  // said once
}

TEST(WatchHubTest, NothingAfterUnsubscribe) {
  WatchHub hub(3);
  auto watcher = hub.Subscribe("a", nullptr);
  hub.Unsubscribe(watcher);
  hub.Publish("a", Stored(1));
  uint64_t lost = 0;
  EXPECT_TRUE(watcher->Take(&lost).empty());
  EXPECT_EQ(hub.watchers(), 0u);
}

TEST(WatchHubTest, ManyEventsInOneStepWakeOnce) {
  WatchHub hub(16);
  int woken = 0;
  auto watcher = hub.Subscribe("a", [&] { ++woken; });
  WatchHub::WakeList wake;
  for (uint64_t n = 0; n < 5; ++n) hub.Enqueue("a", Stored(n), &wake);
  EXPECT_EQ(woken, 0);
  WatchHub::Wake(&wake);
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(wake.empty());
}

// The wake function may call back into the hub: no lock is held.
TEST(WatchHubTest, WakeMayUnsubscribe) {
  WatchHub hub(16);
  std::shared_ptr<WatchHub::Watcher> watcher;
  watcher = hub.Subscribe("a", [&] { hub.Unsubscribe(watcher); });
  hub.Publish("a", Stored(1));
  EXPECT_EQ(hub.watchers(), 0u);
  watcher.reset();
}

}  // namespace
}  // namespace kvcompd::server
