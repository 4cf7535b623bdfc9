#include "client/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "codec/base/chain_hash.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

constexpr absl::Duration kWait = absl::Seconds(20);

std::vector<BlockKey> Keys(uint32_t n) {
  std::vector<BlockKey> keys;
  for (uint32_t i = 0; i < n; ++i) keys.push_back(ChainHash({}, std::vector<uint32_t>{i}));
  return keys;
}

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.Fill(3);
    Connect(daemon_.Options());
  }
  void Connect(ClientOptions options) {
    ns_ = nullptr;
    client_ = *Client::Connect(std::move(options));
    ns_ = *client_->OpenNamespace(model_);
  }
  void PutSome(uint32_t n) {
    std::vector<PutBlock> blocks;
    for (uint32_t i = 0; i < n; ++i)
      blocks.push_back({.key = Keys(n)[i], .tokens = 64, .source = source_.Place(i)});
    auto results = ns_->PutBlocks(blocks, {});
    ASSERT_TRUE(results.ok()) << results.status();
  }
  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  KvMemory source_{model_, PageLayout::kNhd, 16, 64};
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
};

TEST_F(ClientTest, WhatTheDaemonSaidOfTheNamespace) {
  const NamespaceState state = ns_->state();
  EXPECT_EQ(state.id, std::string(16, 'n'));
  EXPECT_EQ(state.fingerprint, model_.Fingerprint());
  EXPECT_EQ(state.opens, 1u);
  EXPECT_TRUE(state.created);
  EXPECT_EQ(state.policy.profile(), "raw");
}

TEST_F(ClientTest, KeysAreAnsweredInOrderAndInPortions) {
  PutSome(3);
  daemon_.max_keys = 2;
  ASSERT_TRUE(ns_->Refresh().ok());
  auto exists = ns_->Exists(Keys(5));
  ASSERT_TRUE(exists.ok()) << exists.status();
  EXPECT_EQ(*exists, (std::vector<bool>{true, true, true, false, false}));
  auto match = ns_->Match(Keys(5));
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->matched_blocks, 3u);
  EXPECT_EQ(match->matched_tokens, 192u);
  EXPECT_EQ(match->blocks.size(), 3u);
  EXPECT_FALSE(match->lease.held());
  EXPECT_TRUE(ns_->Exists({})->empty());
}

TEST_F(ClientTest, ALeaseIsReleasedOnce) {
  PutSome(1);
  std::string released, detached, dropped;
  {
    auto a = ns_->Match(Keys(1), {.lease = true});
    auto b = ns_->Match(Keys(1), {.lease = true});
    auto c = ns_->Match(Keys(1), {.lease = true});
    ASSERT_TRUE(a->lease.held() && b->lease.held() && c->lease.held());
    EXPECT_EQ(a->lease.ttl_ms(), 1000u);
    released = a->lease.id();
    EXPECT_EQ(*a->lease.Release(), true);
    EXPECT_EQ(*a->lease.Release(), false);  // nothing is held any more, and nobody is asked
    detached = b->lease.Detach();
    dropped = c->lease.id();
    LeaseGuard moved = std::move(c->lease);
    EXPECT_FALSE(c->lease.held());
  }
  while (!daemon_.released_leases().contains(dropped)) std::this_thread::yield();
  EXPECT_EQ(daemon_.released_leases(), (std::set<std::string>{released, dropped}));
}

TEST_F(ClientTest, UnavailableIsTriedAgainAndMistakesAreNot) {
  std::atomic<int> calls{0};
  daemon_.before = [&calls](const std::string&) {
    return ++calls < 4 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "busy") : grpc::Status::OK;
  };
  EXPECT_TRUE(ns_->Match(Keys(1)).ok());
  EXPECT_EQ(calls, 4);
  for (auto code : {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::FAILED_PRECONDITION,
                    grpc::StatusCode::PERMISSION_DENIED, grpc::StatusCode::INTERNAL}) {
    calls = 0;
    daemon_.before = [&calls, code](const std::string&) {
      ++calls;
      return grpc::Status(code, "no");
    };
    const auto match = ns_->Match(Keys(1));
    EXPECT_EQ(static_cast<int>(match.status().code()), static_cast<int>(code));
    EXPECT_EQ(match.status().message(), "match: no");
    EXPECT_EQ(calls, 1);
  }
}

TEST_F(ClientTest, ADaemonThatForgotIsToldAgainOnce) {
  const uint64_t epoch = ns_->epoch();
  EXPECT_EQ(daemon_.opens, 1);
  daemon_.Forget();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { good += ns_->Match(Keys(4)).ok(); });
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(daemon_.opens, 2);
  EXPECT_EQ(ns_->epoch(), epoch + 1);
  EXPECT_EQ(ns_->state().opens, 2u);
}

TEST_F(ClientTest, StreamsOpenTheNamespaceAgainToo) {
  daemon_.Forget();
  PutSome(2);
  EXPECT_EQ(daemon_.opens, 2);
  daemon_.Forget();
  KvMemory target(model_, PageLayout::kNhd, 64, 4);
  auto got = ns_->GetBlocks(std::vector<GetBlock>{{.key = Keys(1)[0], .target = target.Place(0)}}, {});
  ASSERT_TRUE(got.ok());
  EXPECT_EQ((*got)[0].status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(daemon_.opens, 3);
}

TEST_F(ClientTest, ANamespaceThatCannotBeOpenedAgainEndsTheCall) {
  daemon_.Forget();
  daemon_.before_open = [] {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not yours any more");
  };
  EXPECT_EQ(ns_->Match(Keys(1)).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(ClientTest, ADaemonThatKeepsForgettingEndsTheCall) {
  daemon_.before_open = [] { return grpc::Status::OK; };
  std::atomic<int> calls{0};
  daemon_.before = [this, &calls](const std::string&) {
    ++calls;
    daemon_.Forget();
    return grpc::Status::OK;
  };
  EXPECT_EQ(ns_->Match(Keys(1)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(calls, 4);
}

TEST_F(ClientTest, ARestartIsNoticedWithinTwoSeconds) {
  PutSome(1);
  daemon_.Stop();
  daemon_.Forget();
  SteadyClock clock;
  std::atomic<int64_t> listening_us{0};
  std::thread caller([&] {
    const auto match = ns_->Match(Keys(1));
    EXPECT_TRUE(match.ok()) << match.status();
    EXPECT_GT(listening_us, 0);
    EXPECT_LT(clock.NowUs() - listening_us, 2'000'000);
  });
  // Down for long enough that the transport's own backoff has grown.
  InterruptibleWaiter waiter;
  waiter.WaitUs(1'500'000);
  listening_us = clock.NowUs();
  daemon_.Start();
  caller.join();
  EXPECT_EQ(ns_->epoch(), 2u);
}

TEST_F(ClientTest, ADaemonThatNeverAnswersIsLeftAtTheDeadline) {
  std::promise<void> go_on;
  std::shared_future<void> wait = go_on.get_future().share();
  daemon_.before = [wait](const std::string&) {
    wait.wait();
    return grpc::Status::OK;
  };
  SteadyClock clock;
  const int64_t start_us = clock.NowUs();
  EXPECT_EQ(ns_->Match(Keys(1), {.deadline_ms = 200}).status().code(), absl::StatusCode::kDeadlineExceeded);
  KvMemory target(model_, PageLayout::kNhd, 64, 4);
  auto got = ns_->GetBlocks(std::vector<GetBlock>{{.key = Keys(1)[0], .target = target.Place(0)}},
                            {.deadline_ms = 200});
  ASSERT_TRUE(got.ok());
  EXPECT_EQ((*got)[0].status.code(), absl::StatusCode::kDeadlineExceeded);
  auto put =
      ns_->PutBlocks(std::vector<PutBlock>{{.key = Keys(1)[0], .tokens = 64, .source = source_.Place(0)}},
                     {.deadline_ms = 200});
  EXPECT_EQ(put.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(clock.NowUs() - start_us, 20'000'000);
  go_on.set_value();
}

TEST_F(ClientTest, EightThreadsShareOneClient) {
  ClientOptions options = daemon_.Options();
  options.num_channels = 3;
  Connect(options);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([this, t, &good] {
      KvMemory target(model_, PageLayout::kHnd, 64, 4);
      for (uint32_t i = 0; i < 4; ++i) {
        const BlockKey key = ChainHash({}, std::vector<uint32_t>{t, i});
        const std::vector<PutBlock> put{{.key = key, .tokens = 64, .source = source_.Place(t)}};
        const std::vector<GetBlock> get{{.key = key, .target = target.Place(0)}};
        const Form form = i % 2 == 0 ? Form::kDecoded : Form::kEncoded;
        auto stored = ns_->PutBlocks(put, {.form = form, .profile = "raw"});
        auto got = ns_->GetBlocks(get, {.form = form});
        auto match = ns_->Match(std::vector<BlockKey>{key});
        good += stored.ok() && (*stored)[0].status.ok() && got.ok() && (*got)[0].status.ok() && match.ok() &&
                match->matched_blocks == 1 && SameBlock(source_, t, target, 0);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 32);
}

TEST_F(ClientTest, AsyncCallsCallBackOnce) {
  PutSome(1);
  KvMemory target(model_, PageLayout::kNhd, 64, 4);
  std::promise<absl::StatusOr<std::vector<GetResult>>> got;
  std::promise<absl::StatusOr<std::vector<PutResult>>> put;
  std::promise<uint32_t> matched;
  std::atomic<int> layers{0};
  ASSERT_TRUE(ns_->AsyncGet(
                     {{.key = Keys(1)[0], .target = target.Place(0)}}, {},
                     [&](const LayerDone&) { ++layers; }, [&](auto r) { got.set_value(std::move(r)); })
                  .ok());
  ASSERT_TRUE(ns_->AsyncPut({{.key = Keys(2)[1], .tokens = 64, .source = source_.Place(1)}}, {},
                            [&](auto r) { put.set_value(std::move(r)); })
                  .ok());
  auto got_result = got.get_future().get();
  auto put_result = put.get_future().get();
  ASSERT_TRUE(got_result.ok() && put_result.ok());
  EXPECT_TRUE((*got_result)[0].status.ok() && (*put_result)[0].status.ok());
  EXPECT_EQ(layers, 2);
  ASSERT_TRUE(
      ns_->AsyncMatch(Keys(2), {}, [&](auto r) { matched.set_value(r.ok() ? r->matched_blocks : 0); }).ok());
  EXPECT_EQ(matched.get_future().get(), 2u);
  client_ = nullptr;
  EXPECT_EQ(ns_->AsyncMatch(Keys(1), {}, [](auto) { FAIL(); }).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(ns_->Match(Keys(1)).ok());  // a handle outlives its client
}

TEST_F(ClientTest, AClientThatGoesEndsTheWaitBetweenTwoAttempts) {
  std::promise<void> called;
  std::atomic<int> calls{0};
  daemon_.before = [&](const std::string&) {
    if (++calls == 1) called.set_value();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  };
  ClientOptions options = daemon_.Options();
  options.retry.initial_backoff_ms = 600'000;
  options.retry.max_backoff_ms = 600'000;
  options.deadlines.lookup_ms = 3'600'000;
  options.random = [] { return uint64_t{500'000'000}; };
  Connect(options);
  std::promise<absl::Status> done;
  ASSERT_TRUE(ns_->AsyncMatch(Keys(1), {}, [&](auto r) { done.set_value(r.status()); }).ok());
  called.get_future().wait();
  client_ = nullptr;  // would take eight minutes
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, ConnectSaysWhatIsWrong) {
  EXPECT_EQ(Client::Connect({}).status().code(), absl::StatusCode::kInvalidArgument);
  ClientOptions options = daemon_.Options();
  options.num_channels = 0;
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = daemon_.Options();
  options.address = "127.0.0.1:1";
  options.deadlines.connect_ms = 100;
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kUnavailable);
  options.deadlines.connect_ms = 0;
  options.deadlines.open_ms = 100;
  auto lazy = Client::Connect(options);
  ASSERT_TRUE(lazy.ok());
  // Which of the two depends on whether the last attempt or the deadline was first.
  const absl::StatusCode code = (*lazy)->OpenNamespace(model_).status().code();
  EXPECT_TRUE(code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded) << code;
}

TEST_F(ClientTest, AModelThatIsNoneIsRefusedHere) {
  ModelDescriptor model = model_;
  model.tokens_per_block = 63;
  EXPECT_EQ(client_->OpenNamespace(model).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(daemon_.opens, 1);
}

// ---- watch

// What a watch reports, to be waited for.
class Updates {
 public:
  WatchReader::Callback Callback() {
    return [this](const WatchUpdate& u) {
      MutexLock lock(&mutex_);
      updates_.push_back(u);
      cond_.SignalAll();
    };
  }
  // The update number `i`.
  WatchUpdate Wait(size_t i) {
    MutexLock lock(&mutex_);
    while (updates_.size() <= i) cond_.Wait(&mutex_);
    return updates_[i];
  }
  size_t size() {
    MutexLock lock(&mutex_);
    return updates_.size();
  }

 private:
  Mutex mutex_;
  CondVar cond_;
  std::vector<WatchUpdate> updates_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(ClientTest, AWatcherHearsEventsAndLivesThroughARestart) {
  Updates updates;
  auto watch = ns_->Watch({}, updates.Callback());
  ASSERT_TRUE(watch.ok());
  ASSERT_TRUE((*watch)->WaitReady(kWait).ok());
  EXPECT_EQ(daemon_.watchers(), 1);
  v1::WatchResponse response;
  response.add_events()->set_kind(v1::Event::STORED);
  response.mutable_events(0)->set_key(std::string(Keys(1)[0].view()));
  response.set_lost_events(3);
  daemon_.Publish(response);
  const WatchUpdate first = updates.Wait(0);
  EXPECT_EQ(first.events[0].key, Keys(1)[0]);
  EXPECT_EQ(first.events[0].kind, v1::Event::STORED);
  EXPECT_FALSE(first.reconnected);

  daemon_.Stop();
  daemon_.Forget();
  daemon_.Start();
  // At once, before there is any event.
  const WatchUpdate second = updates.Wait(1);
  EXPECT_TRUE(second.reconnected);
  EXPECT_TRUE(second.events.empty());
  daemon_.Publish(response);
  const WatchUpdate third = updates.Wait(2);
  EXPECT_FALSE(third.reconnected);
  EXPECT_EQ(third.events.size(), 1u);
  EXPECT_EQ((*watch)->lost_events(), 6u);
  EXPECT_GE((*watch)->reconnects(), 1u);
  EXPECT_TRUE((*watch)->status().ok());
}

TEST_F(ClientTest, AWatchThatIsNotAllowedSaysSoInItsLastUpdate) {
  daemon_.before = [](const std::string&) { return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no"); };
  Updates updates;
  auto watch = ns_->Watch({}, updates.Callback());
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ(updates.Wait(0).status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ((*watch)->status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ((*watch)->WaitReady(kWait).code(), absl::StatusCode::kPermissionDenied);
  watch->reset();
  EXPECT_EQ(updates.size(), 1u);
}

TEST_F(ClientTest, AWatchThatIsNotSubscribedYetIsNotReady) {
  std::promise<void> go_on;
  std::shared_future<void> wait = go_on.get_future().share();
  daemon_.before = [wait](const std::string&) {
    wait.wait();
    return grpc::Status::OK;
  };
  auto watch = ns_->Watch({}, [](const WatchUpdate&) {});
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ((*watch)->WaitReady(absl::Milliseconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
  go_on.set_value();
  EXPECT_TRUE((*watch)->WaitReady(kWait).ok());
}

TEST_F(ClientTest, AWatchEndsWithItsClient) {
  Updates updates;
  auto watch = ns_->Watch({}, updates.Callback());
  ASSERT_TRUE((*watch)->WaitReady(kWait).ok());
  client_ = nullptr;
  EXPECT_EQ(updates.Wait(0).status.code(), absl::StatusCode::kCancelled);
}

// ---- names and policies

TEST_F(ClientTest, ANamespaceIsAttachedToByName) {
  EXPECT_EQ(client_->AttachNamespace("", "nightly").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client_->AttachNamespace("", "").status().code(), absl::StatusCode::kInvalidArgument);
  daemon_.Forget();
  ClientOptions options = daemon_.Options();
  options.name = "nightly";
  Connect(options);
  PutSome(2);
  options.name = "";
  auto other = *Client::Connect(options);
  auto attached = other->AttachNamespace("", "nightly");
  ASSERT_TRUE(attached.ok()) << attached.status();
  EXPECT_EQ((*attached)->model(), model_);
  EXPECT_EQ((*(*attached)->Match(Keys(3))).matched_blocks, 2u);
  // After a restart it registers the namespace by the model that it was told, under the same name.
  daemon_.Forget();
  EXPECT_EQ((*(*attached)->Match(Keys(3))).matched_blocks, 0u);
  const v1::OpenNamespaceRequest last = daemon_.open_requests().back();
  EXPECT_TRUE(last.has_model());
  EXPECT_EQ(last.name(), "nightly");
}

TEST_F(ClientTest, ARestartedDaemonIsToldThePolicyThatStood) {
  v1::NamespacePolicy mine;
  mine.set_profile("kvcomp:rel_k=0.2,rel_v=0.2");
  auto second = client_->OpenNamespace(model_, mine);  // it is there already, and raw
  ASSERT_TRUE(second.ok());
  EXPECT_EQ((*second)->state().policy.profile(), "raw");
  daemon_.policy.set_profile("kvcomp:rel_k=0.1,rel_v=0.1");  // an operator's set-profile
  ASSERT_TRUE((*second)->Refresh().ok());
  daemon_.Forget();
  ASSERT_TRUE((*second)->Match(Keys(1)).ok());
  EXPECT_EQ(daemon_.open_requests().back().policy().profile(), "kvcomp:rel_k=0.1,rel_v=0.1");
}

// ---- what is not tried again

TEST_F(ClientTest, ADrainingDaemonIsNotAskedAgain) {
  daemon_.draining = true;
  std::atomic<int> calls{0};
  daemon_.before = [&calls](const std::string&) {
    ++calls;
    return grpc::Status::OK;
  };
  EXPECT_EQ(ns_->Match(Keys(1)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(calls, 1);
  auto put = ns_->PutBlocks(
      std::vector<PutBlock>{{.key = Keys(1)[0], .tokens = 64, .source = source_.Place(0)}}, {});
  EXPECT_EQ(put.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(calls, 2);
  KvMemory target(model_, PageLayout::kNhd, 64, 4);
  auto got = ns_->GetBlocks(std::vector<GetBlock>{{.key = Keys(1)[0], .target = target.Place(0)}}, {});
  EXPECT_EQ((*got)[0].status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(calls, 3);
}

TEST_F(ClientTest, ADrainThatEndsTheDaemonIsNotRepeated) {
  EXPECT_EQ(client_->admin().Drain(0, /*exit=*/true).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(daemon_.drains, 1);
  ClientOptions options = daemon_.Options();
  options.retry.max_attempts = 3;
  Connect(options);
  EXPECT_EQ(client_->admin().Drain(0, /*exit=*/false).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(daemon_.drains, 4);
}

TEST_F(ClientTest, AHandleWithoutItsClientSaysWhatIsWrong) {
  std::atomic<int> calls{0};
  daemon_.before = [&calls](const std::string&) {
    ++calls;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  };
  client_ = nullptr;
  const absl::Status status = ns_->Match(Keys(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("down"), absl::string_view::npos);
  EXPECT_NE(status.message().find("the client has gone"), absl::string_view::npos);
  EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, AReleaseInTheBackgroundIsTriedOnce) {
  PutSome(1);
  auto match = ns_->Match(Keys(1), {.lease = true});
  ASSERT_TRUE(match->lease.held());
  std::promise<void> called;
  std::atomic<int> calls{0};
  daemon_.before = [&](const std::string& method) {
    if (method != "Release") return grpc::Status::OK;
    if (++calls == 1) called.set_value();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  };
  match->lease = LeaseGuard();
  called.get_future().wait();
  for (uint32_t i = 0; i < daemon_.Options().async_threads; ++i) {
    std::promise<void> one;
    ASSERT_TRUE(ns_->AsyncMatch(Keys(1), {}, [&](auto) { one.set_value(); }).ok());
    one.get_future().wait();
  }
  client_ = nullptr;  // waits for what runs
  EXPECT_EQ(calls, 1);
}

// ---- async deadlines

TEST_F(ClientTest, AnAsyncCallsDeadlineCountsFromItsSubmission) {
  auto clock = std::make_shared<ManualClock>();
  ClientOptions options = daemon_.Options();
  options.clock = clock;
  options.async_threads = 1;
  options.deadlines.lookup_ms = 20'000;
  Connect(options);
  std::promise<void> entered, go_on;
  std::shared_future<void> wait = go_on.get_future().share();
  std::atomic<int> calls{0};
  daemon_.before = [&](const std::string&) {
    if (++calls == 1) entered.set_value();
    wait.wait();
    return grpc::Status::OK;
  };
  std::promise<absl::Status> first, second;
  ASSERT_TRUE(ns_->AsyncMatch(Keys(1), {}, [&](auto r) { first.set_value(r.status()); }).ok());
  entered.get_future().wait();
  ASSERT_TRUE(
      ns_->AsyncMatch(Keys(1), {.deadline_ms = 500}, [&](auto r) { second.set_value(r.status()); }).ok());
  clock->AdvanceUs(501'000);
  go_on.set_value();
  EXPECT_TRUE(first.get_future().get().ok());
  EXPECT_EQ(second.get_future().get().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, AnAsyncCallNeedsACallback) {
  EXPECT_EQ(ns_->AsyncMatch(Keys(1), {}, nullptr).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ns_->AsyncPut({}, {}, nullptr).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ns_->AsyncGet({}, {}, nullptr, nullptr).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvcompd::client
