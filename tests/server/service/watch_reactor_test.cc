#include "server/service/watch_reactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/service/daemon_fixture.h"

namespace kvcompd::server {
namespace {

// One Watch call, as a client holds it.
class WatchClient {
 public:
  WatchClient(DaemonFixture& fixture, const std::string& namespace_id, bool snapshot) : call_(Call()) {
    v1::WatchRequest request;
    request.set_namespace_id(namespace_id);
    request.set_snapshot(snapshot);
    stream_ = fixture.kvcache()->Watch(call_.get(), request);
  }
  // The next event; null at the end of the call.
  const v1::Event* Next() {
    while (next_ == message_.events_size()) {
      next_ = 0;
      if (!stream_->Read(&message_)) return nullptr;
      lost_ += message_.lost_events();
      EXPECT_LE(message_.events_size(), WatchReactor::kMaxEvents);
    }
    return &message_.events(next_++);
  }
  uint64_t lost() const { return lost_; }
  void Cancel() { call_->TryCancel(); }
  grpc::Status Finish() { return stream_->Finish(); }

 private:
  std::unique_ptr<grpc::ClientContext> call_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> stream_;
  v1::WatchResponse message_;
  int next_ = 0;
  uint64_t lost_ = 0;
};

// A watcher hears only of what comes after its subscription.
void WaitForWatchers(DaemonFixture& fixture, size_t n) {
  ASSERT_TRUE(Eventually([&] { return fixture.store().watch().watchers() == n; }));
}

Event MakeEvent(uint64_t counter) {
  Event event;
  event.kind = Event::Kind::kStored;
  event.key = DaemonFixture::Key(0);
  event.generation = {.epoch = 1, .counter = counter};
  return event;
}

TEST(Watch, TellsOfStoredAndRemoved) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  ASSERT_TRUE(fixture.StoreBlock(ns, 1));
  const v1::Event* stored = watch.Next();
  ASSERT_NE(stored, nullptr);
  EXPECT_EQ(stored->kind(), v1::Event::STORED);
  EXPECT_EQ(stored->key(), fixture.Key(1).view());
  EXPECT_EQ(stored->generation().epoch(), fixture.store().epoch());
  EXPECT_EQ(stored->tier(), v1::TIER_HOST);
  EXPECT_EQ(stored->tokens(), 64u);
  const uint64_t counter = stored->generation().counter();
  ASSERT_TRUE(fixture.store().Delete(ns, fixture.Key(1)));
  const v1::Event* removed = watch.Next();
  ASSERT_NE(removed, nullptr);
  EXPECT_EQ(removed->kind(), v1::Event::REMOVED);
  EXPECT_EQ(removed->reason(), v1::REASON_DELETED);
  EXPECT_EQ(removed->generation().counter(), counter);
}

TEST(Watch, SnapshotFirstThenItsEndThenWhatHappens) {
  constexpr int kStored = 3 * WatchReactor::kMaxEvents / 2;
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  for (int i = 0; i < kStored; ++i) ASSERT_TRUE(fixture.StoreBlock(ns, i, 64));
  WatchClient watch(fixture, ns->id(), /*snapshot=*/true);
  std::set<std::string> keys;
  for (const v1::Event* event = watch.Next();; event = watch.Next()) {
    ASSERT_NE(event, nullptr);
    if (event->kind() == v1::Event::SNAPSHOT_END) break;
    EXPECT_EQ(event->kind(), v1::Event::STORED);
    EXPECT_TRUE(keys.insert(event->key()).second);
  }
  EXPECT_EQ(keys.size(), static_cast<size_t>(kStored));
  ASSERT_TRUE(fixture.StoreBlock(ns, kStored));
  const v1::Event* event = watch.Next();
  ASSERT_NE(event, nullptr);
  EXPECT_EQ(event->key(), fixture.Key(kStored).view());
}

TEST(Watch, OnlyItsOwnNamespace) {
  DaemonFixture fixture;
  const auto a = fixture.OpenNamespace("a"), b = fixture.OpenNamespace("b");
  WatchClient watch(fixture, a->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  ASSERT_TRUE(fixture.StoreBlock(b, 1));
  ASSERT_TRUE(fixture.StoreBlock(a, 2));
  const v1::Event* event = watch.Next();
  ASSERT_NE(event, nullptr);
  EXPECT_EQ(event->key(), fixture.Key(2).view());
}

TEST(Watch, UnknownNamespaceIsToBeOpenedAgain) {
  DaemonFixture fixture;
  WatchClient watch(fixture, std::string(16, 'x'), /*snapshot=*/true);
  EXPECT_EQ(watch.Next(), nullptr);
  EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(Watch, ASlowReaderLosesTheOldestAndKnowsHowMany) {
  constexpr uint64_t kEvents = 400'000;  // far more than the transport and the queue hold
  DaemonOptions options = SmallDaemonOptions();
  options.store.watch_queue_events = 100;
  DaemonFixture fixture(options);
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  for (uint64_t i = 1; i <= kEvents; ++i) fixture.store().watch().Publish(ns->id(), MakeEvent(i));
  uint64_t told = 0, last = 0;
  while (last != kEvents) {
    const v1::Event* event = watch.Next();
    ASSERT_NE(event, nullptr);
    ++told;
    EXPECT_GT(event->generation().counter(), last);
    last = event->generation().counter();
  }
  EXPECT_GT(watch.lost(), 0u);
  EXPECT_EQ(told + watch.lost(), kEvents);
}

TEST(Watch, EndsWithItsClient) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  watch.Cancel();
  EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::CANCELLED);
  WaitForWatchers(fixture, 0);
  EXPECT_TRUE(Eventually([&] { return fixture.daemon().context().streams->open() == 0; }));
}

TEST(Watch, IsNeverTooQuiet) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  fixture.clock().AdvanceUs(int64_t{3600} * 1'000'000);
  fixture.daemon().Tick();
  ASSERT_TRUE(fixture.StoreBlock(ns, 1));
  EXPECT_NE(watch.Next(), nullptr);
}

TEST(Watch, OverTheLimitOfStreams) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.max_streams = 1;
  DaemonFixture fixture(options);
  const auto ns = fixture.OpenNamespace("a");
  WatchClient first(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  WatchClient second(fixture, ns->id(), /*snapshot=*/false);
  EXPECT_EQ(second.Next(), nullptr);
  EXPECT_EQ(second.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(Watch, ADrainSendsAnIdleWatcherElsewhere) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  fixture.daemon().Drain(kPatience);
  EXPECT_EQ(watch.Next(), nullptr);
  EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Watch, ADrainEndsAWatcherThatDoesNotRead) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  WatchClient watch(fixture, ns->id(), /*snapshot=*/false);
  WaitForWatchers(fixture, 1);
  for (uint64_t i = 1; i <= 400'000; ++i) fixture.store().watch().Publish(ns->id(), MakeEvent(i));
  fixture.daemon().Drain(kPatience);  // would time out with the test if the write were waited for
  EXPECT_EQ(fixture.store().watch().watchers(), 0u);
  watch.Cancel();
  EXPECT_FALSE(watch.Finish().ok());
}

// Wakes race with subscriptions, cancellations and the end: for the sanitizers.
TEST(Watch, ComingAndGoingWhileEventsFlow) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  std::atomic<bool> stop{false};
  std::vector<std::thread> publishers;
  for (int t = 0; t < 2; ++t) {
    publishers.emplace_back([&] {
      for (uint64_t i = 1; !stop; ++i) {
        fixture.store().watch().Publish(ns->id(), MakeEvent(i));
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  for (int round = 0; round < 100; ++round) {
    WatchClient watch(fixture, ns->id(), /*snapshot=*/round % 2 == 0);
    for (int i = 0; i < round % 7; ++i) EXPECT_NE(watch.Next(), nullptr);
    watch.Cancel();
    EXPECT_EQ(watch.Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  WatchClient last(fixture, ns->id(), /*snapshot=*/false);
  fixture.daemon().Stop();
  stop = true;
  for (std::thread& publisher : publishers) publisher.join();
  EXPECT_EQ(fixture.store().watch().watchers(), 0u);
}

}  // namespace
}  // namespace kvcompd::server
