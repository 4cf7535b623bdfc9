#include "client/cancellation.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "client/client.h"
#include "client/get_stream.h"
#include "client/put_stream.h"
#include "codec/base/chain_hash.h"
#include "codec/base/clock.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

TEST(CancellationTest, TellsEachLinkOnce) {
  auto cancel = std::make_shared<Cancellation>();
  int told = 0, gone = 0;
  const Cancellation::Link link(cancel, [&] { ++told; });
  {
    const Cancellation::Link other(cancel, [&] { ++gone; });
  }
  EXPECT_FALSE(cancel->cancelled());
  cancel->Cancel();
  cancel->Cancel();
  EXPECT_TRUE(cancel->cancelled());
  EXPECT_EQ(told, 1);
  EXPECT_EQ(gone, 0);
  const Cancellation::Link late(cancel, [&] { ++told; });
  EXPECT_EQ(told, 2);
  const Cancellation::Link none(nullptr, [] { FAIL(); });
}

// Calls that the daemon does not answer until the test ends.
class CancelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ClientOptions options = daemon_.Options();
    options.deadlines = {.lookup_ms = 600'000, .put_ms = 600'000, .get_ms = 600'000, .append_ms = 600'000};
    client_ = *Client::Connect(options);
    ns_ = *client_->OpenNamespace(model_);
    source_.Fill(1);
    const std::vector<PutBlock> blocks{{.key = Key(0), .tokens = 64, .source = source_.Place(0)}};
    ASSERT_TRUE(ns_->PutBlocks(blocks, {}).ok());
  }
  void TearDown() override { go_on_.set_value(); }
  static BlockKey Key(uint32_t i) { return ChainHash({}, std::vector<uint32_t>{i}); }
  // The next call is held; entered_ is set when it is there.
  void Hold() {
    daemon_.before = [this, wait = go_on_.get_future().share()](const std::string&) {
      if (!seen_.exchange(true)) entered_.set_value();
      wait.wait();
      return grpc::Status::OK;
    };
  }
  // The status of a call on another thread that is cancelled when the daemon has it.
  template <typename Call>
  absl::Status CancelDuring(const std::function<void()>& cancel, Call call) {
    Hold();
    std::promise<absl::Status> done;
    std::thread caller([&] { done.set_value(call()); });
    entered_.get_future().wait();
    cancel();
    const absl::Status status = done.get_future().get();
    caller.join();
    return status;
  }
  std::vector<GetBlock> Gets() { return {{.key = Key(0), .target = target_.Place(0)}}; }
  std::vector<PutBlock> Puts() { return {{.key = Key(1), .tokens = 64, .source = source_.Place(1)}}; }

  std::promise<void> entered_, go_on_;
  std::atomic<bool> seen_{false};
  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  KvMemory source_{model_, PageLayout::kNhd, 16, 64};
  KvMemory target_{model_, PageLayout::kNhd, 64, 4};
  const std::shared_ptr<Cancellation> cancel_ = std::make_shared<Cancellation>();
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
};

TEST_F(CancelTest, AGetStream) {
  auto get = ns_->OpenGet(Gets(), {});
  ASSERT_TRUE(get.ok());
  EXPECT_EQ(CancelDuring([&] { (*get)->Cancel(); }, [&] { return (*get)->Finish()[0].status; }).code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, APutStream) {
  auto put = ns_->OpenPut(Puts(), {});
  ASSERT_TRUE(put.ok());
  (*put)->Cancel();
  const std::vector<BlockPlace> places{source_.Place(1)};
  absl::Status status = (*put)->PushLayer(0, places);
  if (status.ok()) status = (*put)->PushLayer(1, places);
  if (status.ok()) status = (*put)->Finish().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(daemon_.stored_blocks(), 1u);
}

TEST_F(CancelTest, AnOpenPut) {
  EXPECT_EQ(CancelDuring([&] { cancel_->Cancel(); },
                         [&] { return ns_->OpenPut(Puts(), {.cancel = cancel_}).status(); })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, GetBlocks) {
  EXPECT_EQ(CancelDuring([&] { cancel_->Cancel(); },
                         [&] { return (*ns_->GetBlocks(Gets(), {.cancel = cancel_}))[0].status; })
                .code(),
            absl::StatusCode::kCancelled);
  // For good.
  EXPECT_EQ((*ns_->GetBlocks(Gets(), {.cancel = cancel_}))[0].status.code(), absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, PutBlocks) {
  EXPECT_EQ(CancelDuring([&] { cancel_->Cancel(); },
                         [&] { return ns_->PutBlocks(Puts(), {.cancel = cancel_}).status(); })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, AMatch) {
  const std::vector<BlockKey> keys{Key(0)};
  EXPECT_EQ(
      CancelDuring([&] { cancel_->Cancel(); }, [&] { return ns_->Match(keys, {.cancel = cancel_}).status(); })
          .code(),
      absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, AnAppend) {
  auto sequence = ns_->OpenSequence({.cancel = cancel_});
  ASSERT_TRUE(sequence.ok());
  EXPECT_EQ(CancelDuring([&] { cancel_->Cancel(); },
                         [&] { return (*sequence)->Append(0, 1, {}, source_.Place(0, 1)).status(); })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, TheWaitForAnotherThreadThatOpensTheNamespaceAgain) {
  daemon_.Forget();
  std::promise<void> opening;
  std::shared_future<void> wait = go_on_.get_future().share();
  daemon_.before_open = [&opening, wait] {
    opening.set_value();
    wait.wait();
    return grpc::Status::OK;
  };
  const std::vector<BlockKey> keys{Key(0)};
  auto first = std::make_shared<Cancellation>();
  std::promise<absl::Status> first_done, done;
  std::thread opener([&] { first_done.set_value(ns_->Match(keys, {.cancel = first}).status()); });
  opening.get_future().wait();
  std::thread caller([&] { done.set_value(ns_->Match(keys, {.cancel = cancel_}).status()); });
  cancel_->Cancel();
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
  first->Cancel();
  EXPECT_EQ(first_done.get_future().get().code(), absl::StatusCode::kCancelled);
  opener.join();
  caller.join();
}

TEST_F(CancelTest, AnAsyncCallThatWaitsAndOneThatRuns) {
  Hold();
  const std::vector<BlockKey> keys{Key(0)};
  std::promise<absl::Status> running, waiting;
  ASSERT_TRUE(
      ns_->AsyncGet(Gets(), {.cancel = cancel_}, nullptr, [&](auto r) { running.set_value((*r)[0].status); })
          .ok());
  entered_.get_future().wait();
  // The other thread is held, too, so this one waits for either.
  ASSERT_TRUE(ns_->AsyncMatch(keys, {.cancel = cancel_}, [](auto) {}).ok());
  ASSERT_TRUE(
      ns_->AsyncMatch(keys, {.cancel = cancel_}, [&](auto r) { waiting.set_value(r.status()); }).ok());
  cancel_->Cancel();
  EXPECT_EQ(running.get_future().get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(waiting.get_future().get().code(), absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, AClientThatGoesEndsTheCallsOfOtherThreads) {
  EXPECT_EQ(CancelDuring([&] { client_ = nullptr; }, [&] { return (*ns_->GetBlocks(Gets(), {}))[0].status; })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CancelTest, AClientThatGoesDoesNotWaitForTheDaemon) {
  Hold();
  std::promise<absl::Status> done;
  ASSERT_TRUE(ns_->AsyncGet(Gets(), {}, nullptr, [&](auto r) { done.set_value((*r)[0].status); }).ok());
  entered_.get_future().wait();
  client_ = nullptr;  // the daemon would keep it for ten minutes
  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace kvcompd::client
