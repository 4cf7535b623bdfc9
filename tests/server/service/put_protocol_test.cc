// The two phases of a put: verdicts, credits, commits, and what becomes of puts that do not end well.
#include <gtest/gtest.h>

#include "proto/kvcompd/v1/admin.grpc.pb.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

class PutProtocolTest : public ServiceTest {
 public:
  static constexpr uint64_t kWindow = 64 << 10;
  static DaemonOptions SmallWindow() {
    DaemonOptions options = SmallDaemonOptions();
    options.service.max_chunk_bytes = kWindow;
    options.service.target_message_bytes = kWindow;
    options.service.put_credit_bytes = kWindow;
    return options;
  }
  void SendBlock(PutCall* put, const PutSpec& spec, uint32_t index) {
    for (const v1::PutRequest& piece : PiecesOf(spec, index)) ASSERT_TRUE(put->Send(piece));
  }
};

TEST_F(PutProtocolTest, VerdictsOfOneHeader) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  PutCall other(stub());
  other.Send(HeaderOf({.ns = ns, .blocks = {2}, .put_id = 2}));
  ASSERT_TRUE(other.Receive());

  const PutSpec spec{.ns = ns, .blocks = {1, 2, 3}, .put_id = 3};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  ASSERT_EQ(put.verdicts.size(), 3u);
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::ALREADY_STORED);
  EXPECT_EQ(put.verdict(1), v1::PutDisposition::IN_PROGRESS);
  EXPECT_EQ(put.verdicts[1].status().code(), static_cast<int>(absl::StatusCode::kAborted));
  EXPECT_EQ(put.verdicts[1].status().reason(), v1::REASON_IN_PROGRESS);
  EXPECT_EQ(put.verdict(2), v1::PutDisposition::WANTED);
  EXPECT_EQ(put.credit, fixture().daemon().context().options.put_credit_bytes);
  SendBlock(&put, spec, 2);
  put.Send(CommitOf({2}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(put.StatusOf(2).ok()) << put.StatusOf(2);
  EXPECT_TRUE(other.Finish().ok());
  EXPECT_TRUE(Exists(ns, 3));
  EXPECT_FALSE(Exists(ns, 2));
}

TEST_F(PutProtocolTest, ResultsNameSizesAndGeneration) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  SendBlock(&put, spec, 0);
  put.Send(CommitOf({0}));
  ASSERT_TRUE(put.ReceiveResults(1));
  const v1::PutResult& result = put.results.at(0).front();
  EXPECT_FALSE(result.already_stored());
  EXPECT_EQ(result.raw_bytes(), store().stats().raw_bytes);
  EXPECT_EQ(result.encoded_bytes(), store().stats().encoded_bytes);
  EXPECT_EQ(result.generation().epoch(), store().epoch());
  EXPECT_GT(result.generation().counter(), 0u);
  EXPECT_TRUE(put.Finish().ok());
}

TEST_F(PutProtocolTest, PolicyRefusesProfilesItDoesNotName) {
  v1::OpenNamespaceRequest open = OpenRequest();
  open.mutable_policy()->add_accepted_profiles("kvcomp:rel_k=0.1,rel_v=0.1");
  const std::string ns = Open(open);
  EXPECT_TRUE(Put({.ns = ns, .blocks = {1}, .encoded = true, .profile = "kvcomp:rel_k=0.1,rel_v=0.1"}).ok());
  const PutSpec spec{.ns = ns, .blocks = {2}, .encoded = true, .profile = kKvcomp};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdicts[0].status().reason(), v1::REASON_POLICY);
  EXPECT_EQ(put.verdicts[0].status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_NE(put.verdicts[0].status().message().find("raw"), std::string::npos);
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_EQ(Rejected("policy"), 1);
}

TEST_F(PutProtocolTest, QuotaRefusesAndSaysSo) {
  v1::OpenNamespaceRequest open = OpenRequest();
  open.mutable_policy()->set_quota_bytes(200'000);  // a block of 48 KiB, and its staging
  const std::string ns = Open(open);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  const std::string other = Open("other");
  PutCall put(stub());
  put.Send(HeaderOf({.ns = ns, .blocks = {2, 3, 4, 5, 6}, .put_id = 2}));
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::WANTED);
  EXPECT_EQ(put.verdict(4), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdicts[4].status().reason(), v1::REASON_QUOTA);
  EXPECT_EQ(put.verdicts[4].status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_GE(Rejected("quota"), 1);
  EXPECT_TRUE(Put({.ns = other, .blocks = {2, 3, 4, 5, 6}}).ok());
  EXPECT_TRUE(put.Finish().ok());
}

TEST_F(PutProtocolTest, MoreThanTheWindowFlowsWithCredit) {
  Restart(SmallWindow());
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1, 2, 3, 4, 5, 6}, .piece_bytes = 4096};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  uint64_t sent = 0;
  for (uint32_t block = 0; block < 6; ++block) {
    for (const v1::PutRequest& piece : PiecesOf(spec, block)) {
      while (sent + piece.data().size() > put.credit) ASSERT_TRUE(put.Receive());
      sent += piece.data().size();
      ASSERT_TRUE(put.Send(piece));
    }
  }
  put.Send(CommitOf({0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_GT(sent, 4 * kWindow);
  for (uint32_t block = 0; block < 6; ++block) EXPECT_TRUE(put.StatusOf(block).ok());
  EXPECT_EQ(Matched(ns, {1, 2, 3, 4, 5, 6}), 6u);
}

TEST_F(PutProtocolTest, AMessageAsLongAsTheWindowIsNotWaitedForInVain) {
  Restart(SmallWindow());
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1, 2}};
  std::vector<v1::PutRequest> pieces = PiecesOf(spec, 0);
  for (const v1::PutRequest& piece : PiecesOf(spec, 1)) pieces.push_back(piece);
  // One piece, then as many in one message as the window holds: more than the first one left of it.
  v1::PutRequest gathered;
  size_t next = 1;
  while (gathered.data().size() + pieces[next].data().size() <= kWindow) {
    *gathered.add_chunks() = pieces[next].chunks(0);
    gathered.mutable_data()->append(pieces[next++].data());
  }
  ASSERT_GT(gathered.data().size() + pieces[0].data().size(), kWindow);
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  ASSERT_TRUE(put.Send(pieces[0]));
  uint64_t sent = pieces[0].data().size();
  const auto send = [&](const v1::PutRequest& message) {
    while (sent + message.data().size() > put.credit) ASSERT_TRUE(put.Receive()) << "no credit came";
    sent += message.data().size();
    ASSERT_TRUE(put.Send(message));
  };
  ASSERT_NO_FATAL_FAILURE(send(gathered));
  for (; next < pieces.size(); ++next) ASSERT_NO_FATAL_FAILURE(send(pieces[next]));
  put.Send(CommitOf({0, 1}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_EQ(Matched(ns, {1, 2}), 2u);
}

TEST_F(PutProtocolTest, MoreThanTheCreditIsRefused) {
  Restart(SmallWindow());
  const std::string ns = Open();
  PutCall put(stub());
  put.Send(HeaderOf({.ns = ns, .blocks = {1}}));
  ASSERT_TRUE(put.Receive());
  v1::PutRequest too_much;
  auto* chunk = too_much.add_chunks();
  chunk->set_bytes(kWindow + 1);
  chunk->set_total_bytes(kWindow + 1);
  too_much.set_data(std::string(kWindow + 1, 'x'));
  put.Send(too_much);
  const absl::Status status = put.Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(status.message().find("wait for credit"), absl::string_view::npos);
  EXPECT_TRUE(Eventually([this] { return store().stats().staged_bytes == 0; }));
  EXPECT_TRUE(Put({.ns = ns, .blocks = {1}, .put_id = 2, .piece_bytes = 4096}).ok());
}

TEST_F(PutProtocolTest, APutThatNeverCommitsLeavesNothing) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  SendBlock(&put, spec, 0);
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(put.results.empty());
  EXPECT_FALSE(Exists(ns, 1));
  EXPECT_TRUE(Eventually([this] { return store().stats().staged_bytes == 0; }));
  EXPECT_TRUE(Put({.ns = ns, .blocks = {1}, .put_id = 2}).ok());
}

TEST_F(PutProtocolTest, AnOrphanIsDroppedAfterItsTimeout) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.stream_idle_ms = 600'000;  // the stream itself stays
  Restart(options);
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  Advance(store().options().orphan_timeout_ms * 9 / 8 + 1);
  // Its claim is free for others, and it is told when it goes on.
  EXPECT_TRUE(Put({.ns = ns, .blocks = {1}, .put_id = 2}).ok());
  SendBlock(&put, spec, 0);
  put.Send(CommitOf({0}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(absl::IsAborted(put.StatusOf(0))) << put.StatusOf(0);
  EXPECT_EQ(put.ReasonOf(0), v1::REASON_TIMEOUT);
  EXPECT_EQ(Rejected("timeout"), 1);
}

TEST_F(PutProtocolTest, AStreamThatStandsStillIsCancelledAndOthersGoOn) {
  const std::string ns = Open();
  PutCall silent(stub());
  silent.Send(HeaderOf({.ns = ns, .blocks = {1}}));
  ASSERT_TRUE(silent.Receive());
  EXPECT_TRUE(Put({.ns = ns, .blocks = {2}, .put_id = 2}).ok());
  CancelSilentStreams();
  const absl::Status status = silent.Finish();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(Eventually([this] { return store().stats().staged_bytes == 0; }));
  EXPECT_TRUE(Exists(ns, 2));
}

TEST_F(PutProtocolTest, AClientKilledInMidStreamLosesNothingCommitted) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1, 2}};
  {
    PutCall put(stub());
    put.Send(HeaderOf(spec));
    ASSERT_TRUE(put.Receive());
    SendBlock(&put, spec, 0);
    put.Send(CommitOf({0}));
    ASSERT_TRUE(put.ReceiveResults(1));
    const auto pieces = PiecesOf(spec, 1);
    for (size_t i = 0; i < 3; ++i) put.Send(pieces[i]);
    put.Cancel();
    EXPECT_TRUE(absl::IsCancelled(put.Finish()));
  }
  EXPECT_TRUE(Eventually([this] { return store().stats().staged_bytes == 0; }));
  EXPECT_TRUE(Exists(ns, 1));
  EXPECT_FALSE(Exists(ns, 2));
  // The same put is taken up again.
  EXPECT_TRUE(Put(spec).ok());
  EXPECT_TRUE(Exists(ns, 2));
}

TEST_F(PutProtocolTest, TheSamePutIdTakesOverItsUnfinishedClaim) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall broken(stub());
  broken.Send(HeaderOf(spec));
  ASSERT_TRUE(broken.Receive());
  EXPECT_TRUE(Put(spec).ok());
  SendBlock(&broken, spec, 0);
  broken.Send(CommitOf({0}));
  EXPECT_TRUE(broken.Finish().ok());
  EXPECT_TRUE(absl::IsAborted(broken.StatusOf(0))) << broken.StatusOf(0);
  EXPECT_TRUE(Exists(ns, 1));
}

TEST_F(PutProtocolTest, ACommitThatIsRepeatedSaysAlreadyStored) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  SendBlock(&put, spec, 0);
  put.Send(CommitOf({0}));
  put.Send(CommitOf({0}));
  EXPECT_TRUE(put.Finish().ok());
  ASSERT_EQ(put.results[0].size(), 2u);
  EXPECT_EQ(put.results[0][0].status().code(), 0);
  EXPECT_FALSE(put.results[0][0].already_stored());
  EXPECT_EQ(put.results[0][1].status().code(), 0);
  EXPECT_TRUE(put.results[0][1].already_stored());
  EXPECT_EQ(put.results[0][0].generation().counter(), put.results[0][1].generation().counter());
  EXPECT_EQ(store().stats().blocks, 1u);
}

TEST_F(PutProtocolTest, MemoryFullOfPinnedBlocksRefusesWithMemory) {
  DaemonOptions options = SmallDaemonOptions();
  options.store.host.capacity_bytes = 1 << 20;
  options.store.host.slab_bytes = 1 << 20;
  options.store.pin_quota_fraction = 1.0;
  Restart(options);
  const std::string ns = Open();
  v1::PinRequest pin;
  pin.set_namespace_id(ns);
  for (int block = 1; block <= 20; ++block) {
    ASSERT_TRUE(Put({.ns = ns, .blocks = {block}, .put_id = block}).ok()) << block;
    pin.clear_keys();
    pin.add_keys(KeyOf(block));
    v1::PinResponse pinned;
    ASSERT_TRUE(KVCOMPD_CALL(Pin, pin, &pinned).ok());
    ASSERT_EQ(pinned.blocks(0).code(), 0) << pinned.blocks(0).message();
    // What is pinned may take nearly all memory, and a staging needs more than the block.
    if (store().stats().host.used_bytes > (1 << 20) - 150'000) break;
  }
  const uint64_t held = store().stats().blocks;
  PutCall put(stub());
  put.Send(HeaderOf({.ns = ns, .blocks = {101, 102, 103, 104}, .put_id = 99}));
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(3), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdicts[3].status().reason(), v1::REASON_MEMORY);
  EXPECT_EQ(put.verdicts[3].status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_GE(Rejected("memory"), 1);
  EXPECT_EQ(store().stats().blocks, held);
}

TEST_F(PutProtocolTest, MemoryFullOfOtherBlocksEvicts) {
  const std::string ns = Open();
  for (int first = 1; first < 250; first += 5) {
    const PutSpec spec{
        .ns = ns, .blocks = {first, first + 1, first + 2, first + 3, first + 4}, .put_id = first};
    ASSERT_TRUE(Put(spec).ok()) << first;
  }
  EXPECT_FALSE(Exists(ns, 1));
  EXPECT_TRUE(Exists(ns, 250));
  const Got got = Get(GetOf(ns, {250}));
  EXPECT_EQ(got.Values(0, 3, Tensor::kV), ExpectedValues(250, WholeShard(), 3, Tensor::kV));
}

TEST_F(PutProtocolTest, DrainingRefusesNewPutsAndLetsRunningOnesEnd) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall running(stub());
  running.Send(HeaderOf(spec));
  ASSERT_TRUE(running.Receive());
  fixture().daemon().BeginDrain();
  const absl::Status refused = Put({.ns = ns, .blocks = {2}, .put_id = 2});
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_EQ(Rejected("draining"), 1);
  SendBlock(&running, spec, 0);
  running.Send(CommitOf({0}));
  EXPECT_TRUE(running.Finish().ok());
  EXPECT_TRUE(running.StatusOf(0).ok());
  const Got got = Get(GetOf(ns, {1}));
  EXPECT_EQ(got.LayersOf(0), kLayers);
}

TEST_F(PutProtocolTest, FlushEndsAPutThatIsUnderWay) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  v1::FlushRequest flush;
  flush.set_namespace_id(ns);
  v1::FlushResponse flushed;
  ASSERT_TRUE(fixture().admin()->Flush(Call().get(), flush, &flushed).ok());
  SendBlock(&put, spec, 0);
  put.Send(CommitOf({0}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(absl::IsAborted(put.StatusOf(0))) << put.StatusOf(0);
  EXPECT_FALSE(Exists(ns, 1));
}

}  // namespace
}  // namespace kvcompd::server
