// That clients share the daemon: nobody holds up another, holds on to memory for ever, or takes all of it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "codec/base/crc32c.h"
#include "proto/convert.h"
#include "server/service/get_producer.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

DaemonOptions OneWorker() {
  DaemonOptions options = SmallDaemonOptions();
  options.pool.threads = 1;
  return options;
}

class SharingTest : public ServiceTest {
 public:
  // Until the notification, the only worker does nothing else.
  void HoldWorker(absl::Notification* release) {
    auto busy = std::make_shared<absl::Notification>();
    ASSERT_TRUE(fixture().daemon().context().pool->Submit(WorkerPool::Priority::kRead,
                                                          [busy, release](codec::Workspace&) {
                                                            busy->Notify();
                                                            release->WaitForNotification();
                                                          }));
    busy->WaitForNotification();
  }
};

// A reader that takes all that is made at once would keep the worker for the whole of a long read.
TEST_F(SharingTest, ALongReadGivesWayAfterEveryWindow) {
  DaemonOptions options = OneWorker();
  options.service.get_window_bytes = 64 << 10;
  options.service.target_message_bytes = 4 << 10;
  Restart(options);
  const std::string ns = Open();
  std::vector<int> blocks;
  blocks.reserve(40);
  for (int b = 0; b < 40; ++b) blocks.push_back(b);
  ASSERT_TRUE(Put({.ns = ns, .blocks = blocks}).ok());  // 40 x 48 KiB

  absl::Notification release;
  HoldWorker(&release);
  auto context = Call();
  auto reader = stub()->Get(context.get(), GetOf(ns, blocks));
  ServiceContext& service = fixture().daemon().context();
  ASSERT_TRUE(Eventually([&] { return service.pool->stats().queued_reads == 1; }));
  // A write that came after it. It runs while messages of the read are still to be made.
  uint64_t done_before = 0;
  absl::Notification written;
  ASSERT_TRUE(service.pool->TrySubmit(WorkerPool::Priority::kWrite, [&](codec::Workspace&) {
    done_before = service.pool->stats().done;
    written.Notify();
  }));
  release.Notify();
  v1::GetResponse response;
  while (reader->Read(&response)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  written.WaitForNotification();
  EXPECT_GE(done_before, 2u) << "the job that held the worker, and one of the read";
  ASSERT_TRUE(Eventually([&] { return service.pool->stats().running == 0; }));
  EXPECT_GE(service.pool->stats().done, 20u) << "1.9 MiB by windows of 64 KiB";
}

TEST_F(SharingTest, QueuedCallsDoNotPushOutStreams) {
  DaemonOptions options = OneWorker();
  options.pool.max_queued = 4;
  Restart(options);
  const std::string ns = Open();
  absl::Notification release;
  HoldWorker(&release);
  ServiceContext& service = fixture().daemon().context();
  while (service.pool->TrySubmit(WorkerPool::Priority::kWrite, [](codec::Workspace&) {})) {
  }
  ASSERT_EQ(service.pool->stats().queued_writes, 4u);
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {1}})));
  ASSERT_TRUE(Eventually([&] { return service.pool->stats().queued_writes == 5; }));
  release.Notify();
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::WANTED);
  for (const auto& piece : PiecesOf({.ns = ns, .blocks = {1}}, 0)) ASSERT_TRUE(put.Send(piece));
  ASSERT_TRUE(put.Send(CommitOf({0})));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(Exists(ns, 1));
}

TEST_F(SharingTest, AStreamThatWaitsForTheDaemonIsNotCancelled) {
  Restart(OneWorker());
  const std::string ns = Open();
  absl::Notification release;
  HoldWorker(&release);
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {1}})));
  ServiceContext& service = fixture().daemon().context();
  ASSERT_TRUE(Eventually([&] { return service.pool->stats().queued_writes == 1; }));
  for (int i = 0; i < 5; ++i) Advance(service.options.stream_idle_ms + 1);
  release.Notify();
  EXPECT_TRUE(put.Receive());
  for (const auto& piece : PiecesOf({.ns = ns, .blocks = {1}}, 0)) ASSERT_TRUE(put.Send(piece));
  ASSERT_TRUE(put.Send(CommitOf({0})));
  EXPECT_TRUE(put.Finish().ok());
}

// The worker finds the header of a stream whose peer is gone.
TEST_F(SharingTest, AHeaderThatWaitsOutlivesItsClient) {
  Restart(OneWorker());
  const std::string ns = Open();
  ServiceContext& service = fixture().daemon().context();
  absl::Notification release;
  HoldWorker(&release);
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {1, 2}})));
  ASSERT_TRUE(Eventually([&] { return service.pool->stats().queued_writes == 1; }));
  put.Cancel();
  EXPECT_FALSE(put.Finish().ok());
  release.Notify();
  EXPECT_TRUE(Eventually([&] { return service.streams->open() == 0; }));
  EXPECT_TRUE(Eventually([&] { return store().stats().staged_bytes == 0; }));
  EXPECT_TRUE(Put({.ns = ns, .blocks = {1, 2}, .put_id = 2}).ok());
}

// Commits of blocks that are refused or committed already bring nothing on, and there is an end to them.
TEST_F(SharingTest, EmptyProgressDoesNotKeepAPutAlive) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {1, 2}, .put_id = 2})));
  ASSERT_TRUE(put.Receive());
  EXPECT_GT(store().stats().staged_bytes, 0u);
  ServiceContext& service = fixture().daemon().context();
  for (int i = 0; i < 2; ++i) {
    Advance(service.options.stream_idle_ms * 2 / 5);
    ASSERT_TRUE(put.Send(CommitOf({0})));
    ASSERT_TRUE(put.Receive());
  }
  EXPECT_EQ(service.streams->open(), 1u);
  Advance(service.options.stream_idle_ms / 4);
  // Before the client's own end of the stream is on its way, which the daemon could see first.
  EXPECT_TRUE(Eventually([&] { return Metric("kvcompd_streams_cancelled_total", "idle") == 1; }));
  EXPECT_FALSE(put.Finish().ok());
  EXPECT_TRUE(Eventually([&] { return store().stats().staged_bytes == 0; }));
}

TEST_F(SharingTest, CommitsOverAndOverAreRefused) {
  const std::string ns = Open();
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {1, 2}})));
  for (int i = 0; i < 5; ++i) put.Send(CommitOf({0}));
  const absl::Status status = put.Finish();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("name each once"), absl::string_view::npos) << status;
}

// Layer by layer over several blocks: each block alone waits for longer than the orphan timeout.
TEST_F(SharingTest, AStreamThatMovesKeepsAllOfItsBlocks) {
  DaemonOptions options = SmallDaemonOptions();
  options.store.orphan_timeout_ms = 1000;
  Restart(options);
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1, 2, 3}, .piece_bytes = 512};
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf(spec)));
  ASSERT_TRUE(put.Receive());
  ServiceContext& service = fixture().daemon().context();
  for (uint32_t block = 0; block < 3; ++block) {
    for (const auto& piece : PiecesOf(spec, block)) {
      const uint64_t before = service.pool->stats().done;
      ASSERT_TRUE(put.Send(piece));
      ASSERT_TRUE(Eventually([&] { return service.pool->stats().done > before; }));
      Advance(300);
    }
  }
  ASSERT_TRUE(put.Send(CommitOf({0, 1, 2})));
  EXPECT_TRUE(put.Finish().ok());
  for (uint32_t block = 0; block < 3; ++block) EXPECT_TRUE(put.StatusOf(block).ok()) << put.StatusOf(block);
}

TEST_F(SharingTest, AReaderThatTricklesIsEndedAtLast) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.max_stream_ms = 100'000;
  options.service.stream_idle_ms = 1'000'000;
  Restart(options);
  const std::string ns = Open();
  std::vector<int> blocks;
  blocks.reserve(60);
  for (int b = 0; b < 60; ++b) blocks.push_back(b);
  ASSERT_TRUE(Put({.ns = ns, .blocks = blocks}).ok());
  v1::GetRequest request = GetOf(ns, blocks);
  for (int i = 0; i < 4; ++i)
    request.mutable_blocks()->MergeFrom(v1::GetRequest(request).blocks());  // 45 MiB
  auto context = Call();
  auto reader = stub()->Get(context.get(), request);
  v1::GetResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ServiceContext& service = fixture().daemon().context();
  // The put's stream may still be on its way out, although its status is here.
  ASSERT_TRUE(Eventually([&] { return service.streams->open() == 1; }));
  EXPECT_EQ(store().stats().reads, 960u);
  Advance(100'001);
  while (reader->Read(&response)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_EQ(Metric("kvcompd_streams_cancelled_total", "deadline"), 1);
  EXPECT_TRUE(Eventually([&] { return store().stats().reads == 0; }));
}

// What is stored is told so, also behind a block for which there was no room.
TEST_F(SharingTest, AStoredBlockIsNamedBehindOneWithoutRoom) {
  v1::OpenNamespaceRequest open = OpenRequest("small");
  open.mutable_policy()->set_quota_bytes(120'000);
  const std::string ns = Open(open);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::PinRequest pin;
  pin.set_namespace_id(ns);
  pin.add_keys(KeyOf(1));
  v1::PinResponse pinned;
  ASSERT_TRUE(KVCOMPD_CALL(Pin, pin, &pinned).ok());
  PutCall put(stub());
  ASSERT_TRUE(put.Send(HeaderOf({.ns = ns, .blocks = {2, 3, 4, 1}, .put_id = 2})));
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::WANTED);
  EXPECT_EQ(put.verdict(1), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdict(2), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdicts[2].status().reason(), v1::REASON_QUOTA);
  EXPECT_EQ(put.verdict(3), v1::PutDisposition::ALREADY_STORED);
  EXPECT_GT(put.verdicts[3].generation().counter(), 0u);
  EXPECT_GT(put.verdicts[3].encoded_bytes(), 0u);
  EXPECT_EQ(put.verdicts[3].raw_bytes(), 4u * 4 * 64 * (16 + 8) * 2);
  put.Cancel();
  EXPECT_FALSE(put.Finish().ok());
}

TEST_F(SharingTest, MessagesUnderWayHaveABudget) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.max_chunk_bytes = 1 << 20;
  options.service.put_credit_bytes = 1 << 20;
  options.service.message_memory_bytes = 3 << 20;
  Restart(options);
  const std::string ns = Open();
  std::vector<std::unique_ptr<PutCall>> puts;
  for (int i = 0; i < 2; ++i) {
    puts.push_back(std::make_unique<PutCall>(stub()));
    ASSERT_TRUE(puts.back()->Send(HeaderOf({.ns = ns, .blocks = {i}, .put_id = i})));
    ASSERT_TRUE(puts.back()->Receive());
    EXPECT_EQ(puts.back()->credit, uint64_t{1} << 20);
  }
  PutCall third(stub());
  ASSERT_TRUE(third.Send(HeaderOf({.ns = ns, .blocks = {3}, .put_id = 3})));
  EXPECT_FALSE(third.Receive());
  const absl::Status refused = third.Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_NE(refused.message().find("try again later"), absl::string_view::npos) << refused;
  EXPECT_TRUE(Get(GetOf(ns, {1})).status.ok()) << "a part is left to reads";
  puts.clear();  // cancelled
  EXPECT_TRUE(Eventually([&] { return fixture().daemon().context().messages->used_bytes() == 0; }));
  EXPECT_TRUE(Put({.ns = ns, .blocks = {3}, .put_id = 4}).ok());
}

TEST_F(SharingTest, ReadsCountAgainstTheLeaseQuota) {
  DaemonOptions options = SmallDaemonOptions();
  options.store.lease_quota_fraction = 0.01;
  Restart(options);
  const std::string ns = Open();
  const uint64_t quota = store().stats().host.capacity_bytes / 100;
  const uint64_t block_bytes = 4 * 4 * 64 * (16 + 8) * 2;
  const int fit = static_cast<int>(quota / (block_bytes + 4096));
  std::vector<int> blocks;
  blocks.reserve(static_cast<size_t>(fit) + 2);
  for (int b = 0; b < fit + 2; ++b) blocks.push_back(b);
  ASSERT_TRUE(Put({.ns = ns, .blocks = blocks}).ok());
  const Got got = Get(GetOf(ns, blocks));
  EXPECT_TRUE(got.BlockStatus(0).ok());
  const absl::Status last = got.BlockStatus(static_cast<uint32_t>(blocks.size() - 1));
  EXPECT_TRUE(absl::IsResourceExhausted(last)) << last << " quota " << quota;
  EXPECT_EQ(got.BlockReason(static_cast<uint32_t>(blocks.size() - 1)), v1::REASON_QUOTA);
  EXPECT_TRUE(Eventually([&] { return store().stats().reads == 0; }));
  EXPECT_TRUE(Get(GetOf(ns, {blocks.back()})).BlockStatus(0).ok()) << "by itself it is served";
}

}  // namespace
}  // namespace kvcompd::server
