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
  daemon_.before_open = [this] { return grpc::Status::OK; };
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

// ---- sequences

TEST_F(ClientTest, AppendsFillBlocksWithTheKeysOfTheirTokens) {
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < 150; ++i) ids.push_back(i * 7);
  auto sequence = ns_->OpenSequence({});
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  AppendBuffer buffer(*std::move(sequence));
  uint32_t at = 0;
  for (uint32_t n : {1u, 63u, 5u, 80u, 1u}) {
    daemon_.drop_append_reply = 1;  // taken, but the answer is lost: the repetition changes nothing
    const BlockPlace place = source_.Place(0, n);
    auto result = buffer.Append(std::span(ids).subspan(at, n), place);
    ASSERT_TRUE(result.ok()) << result.status();
    at += n;
    EXPECT_EQ(result->tokens, at);
    EXPECT_EQ(buffer.tokens(), at);
  }
  auto sealed = buffer.Seal(/*keep_tail=*/true);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_TRUE(sealed->last.has_value());
  EXPECT_EQ(sealed->tokens, 150u);
  const std::vector<BlockKey> want = ChainKeys(ids, 64, {}, /*include_tail=*/true);
  ASSERT_EQ(daemon_.sequence_keys().size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(daemon_.sequence_keys()[i], want[i].view());
  EXPECT_EQ(buffer.keys(), std::vector<BlockKey>(want.begin(), want.begin() + 2));
}

TEST_F(ClientTest, LongAppendsAreCut) {
  ClientOptions options = daemon_.Options();
  options.message_bytes = 4096;  // eight tokens of 480 bytes
  Connect(options);
  auto sequence = ns_->OpenSequence({});
  ASSERT_TRUE(sequence.ok());
  const BlockPlace place = source_.Place(0, 130);
  auto result = (*sequence)->Append(0, 130, Keys(2), place);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->tokens, 130u);
  EXPECT_EQ(result->committed.size(), 2u);
  EXPECT_GE(daemon_.appends, 130 / 8);
  EXPECT_EQ((*sequence)->Append(500, 1, {}, source_.Place(0, 1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*sequence)->Append(130, 64, {}, source_.Place(0, 64)).status().code(),
            absl::StatusCode::kInvalidArgument);  // a key is missing
}

// ---- watch

TEST_F(ClientTest, AWatcherHearsEventsAndLivesThroughARestart) {
  Mutex mutex;
  std::vector<WatchUpdate> updates;
  const auto count = [&] {
    MutexLock lock(&mutex);
    return updates.size();
  };
  auto watch = ns_->Watch({}, [&](const WatchUpdate& u) {
    MutexLock lock(&mutex);
    updates.push_back(u);
  });
  ASSERT_TRUE(watch.ok());
  while (daemon_.watchers() == 0) std::this_thread::yield();
  v1::WatchResponse response;
  response.add_events()->set_kind(v1::Event::STORED);
  response.mutable_events(0)->set_key(std::string(Keys(1)[0].view()));
  response.set_lost_events(3);
  daemon_.Publish(response);
  while (count() < 1) std::this_thread::yield();

  daemon_.Stop();
  daemon_.Forget();
  daemon_.Start();
  while (daemon_.watchers() == 0) std::this_thread::yield();
  daemon_.Publish(response);
  while (count() < 2) std::this_thread::yield();
  MutexLock lock(&mutex);
  EXPECT_EQ(updates[0].events[0].key, Keys(1)[0]);
  EXPECT_EQ(updates[0].events[0].kind, v1::Event::STORED);
  EXPECT_FALSE(updates[0].reconnected);
  EXPECT_TRUE(updates[1].reconnected);
  EXPECT_EQ((*watch)->lost_events(), 6u);
  EXPECT_GE((*watch)->reconnects(), 1u);
  EXPECT_TRUE((*watch)->status().ok());
}

TEST_F(ClientTest, AWatchThatIsNotAllowedSaysSo) {
  daemon_.before = [](const std::string&) { return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no"); };
  auto watch = ns_->Watch({}, [](const WatchUpdate&) {});
  ASSERT_TRUE(watch.ok());
  while ((*watch)->status().ok()) std::this_thread::yield();
  EXPECT_EQ((*watch)->status().code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace kvcompd::client
