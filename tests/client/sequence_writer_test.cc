#include "client/sequence_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "client/client.h"
#include "codec/base/chain_hash.h"
#include "codec/base/clock.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

std::vector<BlockKey> Keys(uint32_t n) {
  std::vector<BlockKey> keys;
  for (uint32_t i = 0; i < n; ++i) keys.push_back(ChainHash({}, std::vector<uint32_t>{i}));
  return keys;
}

class SequenceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.Fill(3);
    for (uint32_t i = 0; i < 200; ++i) ids_.push_back(i * 7);
    Connect(daemon_.Options());
  }
  void Connect(ClientOptions options) {
    ns_ = nullptr;
    client_ = *Client::Connect(std::move(options));
    ns_ = *client_->OpenNamespace(model_);
  }
  std::unique_ptr<AppendBuffer> Buffer() { return std::make_unique<AppendBuffer>(*ns_->OpenSequence({})); }
  std::span<const uint32_t> Ids(uint32_t first, uint32_t n) { return std::span(ids_).subspan(first, n); }
  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  KvMemory source_{model_, PageLayout::kNhd, 16, 64};
  std::vector<uint32_t> ids_;
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
};

TEST_F(SequenceTest, AppendsFillBlocksWithTheKeysOfTheirTokens) {
  const std::vector<uint32_t> ids(ids_.begin(), ids_.begin() + 150);
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

TEST_F(SequenceTest, LongAppendsAreCut) {
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

// The tokens of a failed append may be there: others in their place would be stored under wrong keys.
TEST_F(SequenceTest, AfterAFailureTheSameTokensComeFirst) {
  auto buffer = Buffer();
  ASSERT_TRUE(buffer->Append(Ids(0, 60), source_.Place(0, 60)).ok());
  daemon_.fail_append_after = 0;
  EXPECT_EQ(buffer->Append(Ids(60, 10), source_.Place(1, 10)).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(buffer->tokens(), 60u);
  EXPECT_EQ(buffer->pending_tokens(), 10u);
  EXPECT_EQ(buffer->Append(Ids(80, 20), source_.Place(2, 20)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer->Append(Ids(60, 9), source_.Place(1, 9)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer->Seal(/*keep_tail=*/true).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(daemon_.seals, 0);
  // More may follow them in the same call. What the first attempt committed is told again.
  auto again = buffer->Append(Ids(60, 30), source_.Place(1, 30));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->tokens, 90u);
  ASSERT_EQ(again->committed.size(), 1u);
  EXPECT_TRUE(again->committed[0].already_stored);
  EXPECT_EQ(buffer->pending_tokens(), 0u);
  auto sealed = buffer->Seal(/*keep_tail=*/true);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  const std::vector<uint32_t> all(ids_.begin(), ids_.begin() + 90);
  const std::vector<BlockKey> want = ChainKeys(all, 64, {}, /*include_tail=*/true);
  ASSERT_EQ(daemon_.sequence_keys().size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(daemon_.sequence_keys()[i], want[i].view());
}

TEST_F(SequenceTest, OnlyWhatWasSentIsPending) {
  ClientOptions options = daemon_.Options();
  options.message_bytes = 4096;  // eight tokens of 480 bytes
  Connect(options);
  auto buffer = Buffer();
  // Refused here: the place is too short.
  EXPECT_EQ(buffer->Append(Ids(0, 40), source_.Place(0, 8)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(buffer->pending_tokens(), 0u);
  daemon_.fail_append_after = 2;
  EXPECT_FALSE(buffer->Append(Ids(0, 40), source_.Place(0, 40)).ok());
  EXPECT_EQ(buffer->pending_tokens(), 24u);
  std::vector<uint32_t> others(ids_.begin(), ids_.begin() + 24);
  others.push_back(1);  // what was not sent may be something else by now
  auto again = buffer->Append(others, source_.Place(0, 25));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->tokens, 25u);
}

TEST_F(SequenceTest, PendingTokensGoWithADroppedTail) {
  auto buffer = Buffer();
  daemon_.fail_append_after = 0;
  EXPECT_FALSE(buffer->Append(Ids(0, 10), source_.Place(0, 10)).ok());
  auto sealed = buffer->Seal(/*keep_tail=*/false);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_FALSE(sealed->last.has_value());
}

TEST_F(SequenceTest, ASealSaysItsTokensAndIsRepeated) {
  auto buffer = Buffer();
  ASSERT_TRUE(buffer->Append(Ids(0, 70), source_.Place(0, 70)).ok());
  daemon_.drop_seal_reply = 1;  // sealed, and still busy with it when the client asks again
  auto sealed = buffer->Seal(/*keep_tail=*/true);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(daemon_.seals, 2);
  EXPECT_EQ(daemon_.last_seal().tokens(), 70u);
  ASSERT_TRUE(sealed->last.has_value());
  EXPECT_TRUE(sealed->last->already_stored);
  EXPECT_TRUE(buffer->Seal(/*keep_tail=*/true).ok());

  auto writer = ns_->OpenSequence({});
  EXPECT_EQ((*writer)->Seal(Keys(1)[0], 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SequenceTest, AnotherNumberOfTokensIsRefused) {
  auto buffer = Buffer();
  ASSERT_TRUE(buffer->Append(Ids(0, 70), source_.Place(0, 70)).ok());
  EXPECT_EQ(buffer->sequence().Seal(Keys(1)[0], 69).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Of a call that is cut into messages; the time that the first ones take is not given back.
TEST_F(SequenceTest, TheDeadlineIsOfTheWholeCall) {
  auto clock = std::make_shared<ManualClock>();
  ClientOptions options = daemon_.Options();
  options.message_bytes = 4096;
  options.clock = clock;
  options.deadlines.append_ms = 10'000;
  options.retry.max_attempts = 1;
  Connect(options);
  auto buffer = Buffer();
  daemon_.appends = 0;
  daemon_.before = [clock](const std::string&) {
    clock->AdvanceUs(4'000'000);
    return grpc::Status::OK;
  };
  const auto status = buffer->Append(Ids(0, 40), source_.Place(0, 40)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_LE(daemon_.appends, 4);
}

TEST_F(SequenceTest, AsyncAppendsComeOneAfterTheOther) {
  auto buffer = Buffer();
  std::promise<absl::StatusOr<AppendResult>> last;
  uint32_t at = 0;
  std::function<void(absl::StatusOr<AppendResult>)> next = [&](absl::StatusOr<AppendResult> result) {
    if (!result.ok() || at == 120) return last.set_value(std::move(result));
    at += 40;
    const std::vector<uint32_t> some(ids_.begin() + at - 40, ids_.begin() + at);
    ASSERT_TRUE(buffer->AsyncAppend(some, source_.Place(0, 40), next).ok());
  };
  next(AppendResult{});
  auto result = last.get_future().get();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->tokens, 120u);
  EXPECT_EQ(buffer->tokens(), 120u);
  EXPECT_EQ(buffer->AsyncAppend({1}, source_.Place(0, 1), nullptr).code(),
            absl::StatusCode::kInvalidArgument);

  std::promise<void> go_on;
  std::shared_future<void> wait = go_on.get_future().share();
  daemon_.before = [wait](const std::string&) {
    wait.wait();
    return grpc::Status::OK;
  };
  std::promise<void> done;
  ASSERT_TRUE(buffer->AsyncAppend({1}, source_.Place(0, 1), [&](auto) { done.set_value(); }).ok());
  EXPECT_EQ(buffer->Append(Ids(0, 1), source_.Place(0, 1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer->Seal(false).status().code(), absl::StatusCode::kFailedPrecondition);
  go_on.set_value();
  done.get_future().wait();
  EXPECT_TRUE(buffer->Seal(true).ok());
}

}  // namespace
}  // namespace kvcompd::client
