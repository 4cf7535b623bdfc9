// What a reader may ask for and what it then gets or is refused: loss, codecs, generations, leases, salts,
// other tenants; reads of blocks that go meanwhile; and the calls that work on keys.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "codec/base/profile.h"
#include "proto/convert.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

class GetOptionsTest : public ServiceTest {
 public:
  v1::MatchRequest MatchOf(const std::string& ns, const std::vector<int>& blocks) {
    v1::MatchRequest request;
    request.set_namespace_id(ns);
    for (int block : blocks) request.add_keys(KeyOf(block));
    return request;
  }
  v1::MatchResponse Match(const v1::MatchRequest& request) {
    v1::MatchResponse response;
    const absl::Status status = KVCOMPD_CALL(Match, request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }
  bool Delete(const std::string& ns, int block) {
    v1::DeleteRequest request;
    request.set_namespace_id(ns);
    request.add_keys(KeyOf(block));
    v1::DeleteResponse response;
    EXPECT_TRUE(KVCOMPD_CALL(Delete, request, &response).ok());
    return response.deleted_size() == 1 && response.deleted(0);
  }
  // Puts blocks from `first` on until that one is gone, or so many were put.
  void Push(const std::string& ns, int first, int count) {
    for (int block = first; block < first + count; ++block) {
      ASSERT_TRUE(Put({.ns = ns, .blocks = {block}, .put_id = block}).ok()) << block;
    }
  }
};

TEST_F(GetOptionsTest, MaxErrorOfMatchAndGet) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::SetProfileRequest set;
  set.set_namespace_id(ns);
  set.set_profile(kKvcomp);
  v1::SetProfileResponse done;
  ASSERT_TRUE(fixture().admin()->SetProfile(Call().get(), set, &done).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}}).ok());
  const double bound = Profile::Parse(kKvcomp)->ErrorBound();

  struct Case {
    double max_error;
    bool lossy_allowed;
  };
  for (const Case& c : {Case{0, false}, Case{bound * 0.99, false}, Case{bound, true}, Case{1, true}}) {
    v1::MatchRequest match = MatchOf(ns, {1, 2});
    match.set_max_error(c.max_error);
    EXPECT_EQ(Match(match).matched_blocks(), c.lossy_allowed ? 2u : 1u) << c.max_error;
    v1::GetRequest get = GetOf(ns, {1, 2});
    get.set_max_error(c.max_error);
    const Got got = Get(get);
    EXPECT_EQ(got.LayersOf(0), kLayers);
    EXPECT_EQ(got.LayersOf(1), c.lossy_allowed ? kLayers : 0u) << c.max_error;
    if (c.lossy_allowed) continue;
    EXPECT_TRUE(absl::IsFailedPrecondition(got.BlockStatus(1))) << got.BlockStatus(1);
    EXPECT_EQ(got.BlockReason(1), v1::REASON_ERROR_TOO_LARGE);
  }
  EXPECT_EQ(Missed("error_too_large"), 2);
  const v1::MatchResponse all = Match(MatchOf(ns, {1, 2}));
  EXPECT_EQ(all.blocks(0).error_bound(), 0);
  EXPECT_FLOAT_EQ(all.blocks(1).error_bound(), bound);
  EXPECT_EQ(all.blocks(1).profile(), kKvcomp);
  EXPECT_EQ(all.matched_tokens(), 2 * kTokens);
}

TEST_F(GetOptionsTest, BothFormsOfAPutGiveTheSameErrorClass) {
  const std::string ns = Open("acme", kKvcomp);
  const int nan = kFirstNanBlock;
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, nan}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2, nan + 1}, .encoded = true, .profile = kKvcomp, .put_id = 2}).ok());
  const v1::MatchResponse all = Match(MatchOf(ns, {1, 2, nan, nan + 1}));
  ASSERT_EQ(all.blocks_size(), 4);
  const auto bound = static_cast<float>(Profile::Parse(kKvcomp)->ErrorBound());
  EXPECT_EQ(all.blocks(0).error_bound(), bound);
  EXPECT_EQ(all.blocks(1).error_bound(), bound);
  EXPECT_EQ(all.blocks(2).error_bound(), 0);  // every tile is raw
  EXPECT_EQ(all.blocks(3).error_bound(), 0);

  v1::GetRequest get = GetOf(ns, {1, 2, nan, nan + 1}, WholeShard(), v1::FORM_ENCODED);
  int headers = 0;
  for (const auto& chunk : Get(get).chunks) {
    EXPECT_EQ(chunk.has_error_class(), chunk.container_part() == v1::CONTAINER_HEADER);
    if (!chunk.has_error_class()) continue;
    ++headers;
    EXPECT_EQ(chunk.error_class(), chunk.block() < 2 ? bound : 0.0f);
  }
  EXPECT_EQ(headers, 4);
  get.set_max_error(0);
  const Got exact = Get(get);
  EXPECT_EQ(exact.LayersOf(0) + exact.LayersOf(1), 0u);
  EXPECT_EQ(exact.LayersOf(2) + exact.LayersOf(3), 2 * kLayers);
}

TEST_F(GetOptionsTest, WhatIsNotAcceptedIsSentDecodedOrRefused) {
  const std::string ns = Open("acme", kKvcomp);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {2}, .encoded = true}).ok());
  v1::GetRequest request = GetOf(ns, {1, 2}, WholeShard(), v1::FORM_ENCODED);
  request.mutable_accept()->add_codecs("raw");
  Got got = Get(request);
  EXPECT_EQ(got.LayersOf(0) + got.LayersOf(1), 2 * kLayers);
  for (const auto& chunk : got.chunks) {
    EXPECT_EQ(chunk.form(), chunk.block() == 0 ? v1::FORM_DECODED : v1::FORM_ENCODED);
  }
  EXPECT_EQ(got.layers[0].form(), v1::FORM_DECODED);
  EXPECT_EQ(got.heads, Get(GetOf(ns, {1, 2})).heads);

  request.set_encoded_only(true);
  got = Get(request);
  EXPECT_TRUE(absl::IsFailedPrecondition(got.BlockStatus(0)));
  EXPECT_EQ(got.BlockReason(0), v1::REASON_NOT_ACCEPTED);
  EXPECT_EQ(got.LayersOf(1), kLayers);
  EXPECT_EQ(Missed("not_accepted"), 1);

  request.mutable_accept()->add_codecs("kvcomp");
  request.mutable_accept()->add_format_versions(2 << 8);
  EXPECT_EQ(Get(request).BlockReason(0), v1::REASON_NOT_ACCEPTED);
  request.mutable_accept()->add_format_versions(1 << 8);
  EXPECT_EQ(Get(request).LayersOf(0), kLayers);
}

TEST_F(GetOptionsTest, AStaleGenerationIsAborted) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::GetRequest request = GetOf(ns, {1});
  *request.mutable_blocks(0)->mutable_generation() = Match(MatchOf(ns, {1})).blocks(0).generation();
  EXPECT_EQ(Get(request).LayersOf(0), kLayers);
  EXPECT_TRUE(Delete(ns, 1));
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .put_id = 2}).ok());
  const Got got = Get(request);
  EXPECT_TRUE(got.status.ok());
  EXPECT_TRUE(absl::IsAborted(got.BlockStatus(0)));
  EXPECT_EQ(got.BlockReason(0), v1::REASON_GENERATION);
  EXPECT_EQ(Missed("generation"), 1);
}

TEST_F(GetOptionsTest, TenantsDoNotSeeEachOther) {
  const std::string acme = Open("acme");
  const std::string rival = Open("rival");
  ASSERT_NE(acme, rival);
  ASSERT_TRUE(Put({.ns = acme, .blocks = {1}}).ok());
  EXPECT_EQ(Get(GetOf(rival, {1})).BlockReason(0), v1::REASON_NOT_STORED);
  EXPECT_FALSE(Exists(rival, 1));
  EXPECT_FALSE(Delete(rival, 1));
  // Neither does another tenant's lease help.
  v1::MatchRequest match = MatchOf(acme, {1});
  match.set_lease(true);
  const std::string lease = Match(match).lease_id();
  ASSERT_FALSE(lease.empty());
  v1::GetRequest request = GetOf(rival, {1});
  request.set_lease_id(lease);
  EXPECT_TRUE(absl::IsFailedPrecondition(Get(request).status));
  v1::ReleaseRequest release;
  release.set_namespace_id(rival);
  release.set_lease_id(lease);
  v1::ReleaseResponse released;
  ASSERT_TRUE(KVCOMPD_CALL(Release, release, &released).ok());
  EXPECT_FALSE(released.released());
  EXPECT_TRUE(Exists(acme, 1));
}

TEST_F(GetOptionsTest, ACacheSaltSeparates) {
  const std::string ns = Open();
  for (const bool encoded : {false, true}) {
    const int block = encoded ? 2 : 1;
    ASSERT_TRUE(Put({.ns = ns, .blocks = {block}, .encoded = encoded, .salt = "alice"}).ok());
    EXPECT_FALSE(Exists(ns, block));
    v1::GetRequest request = GetOf(ns, {block});
    EXPECT_EQ(Get(request).LayersOf(0), 0u);
    request.set_cache_salt("bob");
    EXPECT_EQ(Get(request).LayersOf(0), 0u);
    request.set_cache_salt("alice");
    const Got got = Get(request);
    EXPECT_EQ(got.Values(0, 1, Tensor::kV), ExpectedValues(block, WholeShard(), 1, Tensor::kV));
    v1::MatchRequest match = MatchOf(ns, {block});
    match.set_cache_salt("alice");
    EXPECT_EQ(Match(match).matched_blocks(), 1u);
  }
}

TEST_F(GetOptionsTest, ALeasedBlockOutlivesEvictionAndAnExpiredLeaseIsRefused) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, 2}}).ok());
  v1::MatchRequest match = MatchOf(ns, {1});
  match.set_lease(true);
  match.set_lease_ms(5000);
  const v1::MatchResponse matched = Match(match);
  ASSERT_EQ(matched.lease_ms(), 5000u);
  Push(ns, 100, 180);
  EXPECT_FALSE(Exists(ns, 2)) << "nothing was evicted: the test is none";
  EXPECT_TRUE(Exists(ns, 1));
  v1::GetRequest request = GetOf(ns, {1});
  request.set_lease_id(matched.lease_id());
  EXPECT_EQ(Get(request).LayersOf(0), kLayers);
  Advance(5001);
  const Got late = Get(request);
  EXPECT_TRUE(absl::IsFailedPrecondition(late.status)) << late.status;
  EXPECT_EQ(Rejected("lease_expired"), 1);
  v1::LeaseRequest renew;
  renew.set_namespace_id(ns);
  renew.set_lease_id(matched.lease_id());
  v1::LeaseResponse renewed;
  EXPECT_TRUE(absl::IsFailedPrecondition(KVCOMPD_CALL(Lease, renew, &renewed)));
  Push(ns, 300, 180);
  EXPECT_FALSE(Exists(ns, 1));
}

TEST_F(GetOptionsTest, LeaseRenewReleasePinUnpin) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::LeaseRequest lease;
  lease.set_namespace_id(ns);
  lease.add_keys(KeyOf(1));
  lease.add_keys(KeyOf(2));
  lease.set_ttl_ms(1000);
  v1::LeaseResponse leased;
  ASSERT_TRUE(KVCOMPD_CALL(Lease, lease, &leased).ok());
  EXPECT_EQ(leased.blocks(0).code(), 0);
  EXPECT_EQ(leased.blocks(1).reason(), v1::REASON_NOT_STORED);
  Advance(900);
  v1::LeaseRequest renew;
  renew.set_namespace_id(ns);
  renew.set_lease_id(leased.lease_id());
  renew.set_ttl_ms(1000);
  ASSERT_TRUE(KVCOMPD_CALL(Lease, renew, &leased).ok());
  renew.add_keys(KeyOf(1));
  EXPECT_TRUE(absl::IsInvalidArgument(KVCOMPD_CALL(Lease, renew, &leased)));
  Advance(900);
  EXPECT_EQ(store().stats().leases, 1u);
  v1::ReleaseRequest release;
  release.set_namespace_id(ns);
  release.set_lease_id(renew.lease_id());
  v1::ReleaseResponse released;
  ASSERT_TRUE(KVCOMPD_CALL(Release, release, &released).ok());
  EXPECT_TRUE(released.released());
  ASSERT_TRUE(KVCOMPD_CALL(Release, release, &released).ok());
  EXPECT_FALSE(released.released());

  v1::PinRequest pin;
  pin.set_namespace_id(ns);
  pin.add_keys(KeyOf(1));
  pin.add_keys(KeyOf(2));
  v1::PinResponse pinned;
  ASSERT_TRUE(KVCOMPD_CALL(Pin, pin, &pinned).ok());
  EXPECT_EQ(pinned.blocks(0).code(), 0);
  EXPECT_EQ(pinned.blocks(1).reason(), v1::REASON_NOT_STORED);
  Push(ns, 100, 180);
  EXPECT_TRUE(Exists(ns, 1));
  v1::UnpinRequest unpin;
  unpin.set_namespace_id(ns);
  unpin.add_keys(KeyOf(1));
  v1::UnpinResponse unpinned;
  ASSERT_TRUE(KVCOMPD_CALL(Unpin, unpin, &unpinned).ok());
  EXPECT_TRUE(unpinned.unpinned(0));
  ASSERT_TRUE(KVCOMPD_CALL(Unpin, unpin, &unpinned).ok());
  EXPECT_FALSE(unpinned.unpinned(unpinned.unpinned_size() - 1));
}

// A Get that has begun and is not read on, while the blocks it reads go.
class GoneWhileReadTest : public GetOptionsTest {
 public:
  static constexpr int kBlocks = 40;

  void Begin() {
    DaemonOptions options = SmallDaemonOptions();
    options.service.get_window_bytes = 64 << 10;
    options.service.target_message_bytes = 64 << 10;
    Restart(options);
    ns_ = Open();
    std::vector<int> blocks;
    for (int i = 0; i < kBlocks; ++i) blocks.push_back(i);
    ASSERT_TRUE(Put({.ns = ns_, .blocks = blocks}).ok());
    // Each block many times, so that the read is longer than all buffers on its way.
    for (int i = 0; i < 40; ++i) request_.mutable_blocks()->MergeFrom(GetOf(ns_, blocks).blocks());
    request_.set_namespace_id(ns_);
    request_.set_form(v1::FORM_DECODED);
    stream_ = stub()->Get(context_.get(), request_);
    v1::GetResponse first;
    ASSERT_TRUE(stream_->Read(&first));
    Take(first);
  }
  void ReadToTheEnd() {
    v1::GetResponse response;
    while (stream_->Read(&response)) Take(response);
    EXPECT_TRUE(stream_->Finish().ok());
    EXPECT_EQ(layers_, size_t{kBlocks} * 40 * kLayers);
  }

  std::string ns_;

 private:
  void Take(const v1::GetResponse& response) {
    uint64_t at = 0;
    for (const auto& chunk : response.chunks()) {
      const Tensor tensor = static_cast<Tensor>(chunk.tensor());
      const std::tuple place{static_cast<int>(chunk.block() % kBlocks), chunk.layer(), tensor};
      auto [it, first] = expected_.try_emplace(place);
      if (first) it->second = ExpectedValues(std::get<0>(place), WholeShard(), chunk.layer(), tensor);
      ASSERT_EQ(chunk.bytes(), chunk.total_bytes());
      ASSERT_TRUE(response.data().compare(at, chunk.bytes(), it->second) == 0) << chunk.ShortDebugString();
      at += chunk.bytes();
    }
    for (const auto& layer : response.layer_results()) layers_ += layer.status().code() == 0;
  }
  v1::GetRequest request_;
  std::unique_ptr<grpc::ClientContext> context_ = Call();
  std::unique_ptr<grpc::ClientReader<v1::GetResponse>> stream_;
  std::map<std::tuple<int, uint32_t, Tensor>, std::string> expected_;
  size_t layers_ = 0;
};

TEST_F(GoneWhileReadTest, DeletedBlocksAreReadToTheEnd) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  for (int i = 0; i < kBlocks; ++i) EXPECT_TRUE(Delete(ns_, i));
  EXPECT_FALSE(Exists(ns_, 0));
  EXPECT_GT(store().stats().stored_bytes, 0u) << "kept for its reader";
  ReadToTheEnd();
  EXPECT_TRUE(Eventually([this] { return store().stats().host.used_bytes == 0; }));
}

TEST_F(GoneWhileReadTest, EvictionLeavesWhatIsReadAlone) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  Push(ns_, 1000, 180);
  EXPECT_GT(store().stats().blocks, 0u);
  ReadToTheEnd();
}

TEST_F(GetOptionsTest, WhatIsNotThereYetSaysSo) {
  const std::string ns = Open();
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}}).ok());
  v1::PrefetchRequest prefetch;
  prefetch.set_namespace_id(ns);
  prefetch.add_keys(KeyOf(1));
  prefetch.add_keys(KeyOf(2));
  prefetch.set_tier(v1::TIER_HOST);
  v1::PrefetchResponse prefetched;
  ASSERT_TRUE(KVCOMPD_CALL(Prefetch, prefetch, &prefetched).ok());
  EXPECT_EQ(prefetched.blocks(0).code(), 0);
  EXPECT_EQ(prefetched.blocks(0).reason(), v1::REASON_UNSPECIFIED);
  EXPECT_EQ(prefetched.blocks(1).reason(), v1::REASON_NOT_STORED);
  prefetch.set_tier(v1::TIER_DISK);
  const absl::Status disk = KVCOMPD_CALL(Prefetch, prefetch, &prefetched);
  EXPECT_TRUE(absl::IsUnimplemented(disk));
  EXPECT_NE(disk.message().find("TIER_HOST"), absl::string_view::npos) << disk;

  v1::SnapshotRequest snapshot;
  v1::SnapshotResponse snapshotted;
  const absl::Status snap = FromGrpc(fixture().admin()->Snapshot(Call().get(), snapshot, &snapshotted));
  EXPECT_TRUE(absl::IsUnimplemented(snap));
  EXPECT_NE(snap.message().find("disk"), absl::string_view::npos) << snap;

  auto context = Call();
  auto session = stub()->OpenDataSession(context.get());
  v1::DataSessionRequest planes;
  planes.set_namespace_id(ns);
  planes.add_planes("nccl");
  session->Write(planes);
  session->WritesDone();
  v1::DataSessionResponse plane;
  EXPECT_FALSE(session->Read(&plane));
  const absl::Status nccl = FromGrpc(session->Finish());
  EXPECT_TRUE(absl::IsUnimplemented(nccl));
  EXPECT_NE(nccl.message().find("grpc"), absl::string_view::npos) << nccl;
}

TEST_F(GetOptionsTest, WatchTellsEachBlockOnceWhenItIsComplete) {
  const std::string ns = Open();
  auto context = Call();
  v1::WatchRequest request;
  request.set_namespace_id(ns);
  request.set_snapshot(true);
  auto watch = stub()->Watch(context.get(), request);
  v1::WatchResponse response;
  ASSERT_TRUE(watch->Read(&response));
  ASSERT_EQ(response.events(0).kind(), v1::Event::SNAPSHOT_END);
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .shard = {0, 0, 2, 0, kLayers}}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1}, .shard = {0, 2, 2, 0, kLayers}, .put_id = 2}).ok());
  ASSERT_TRUE(Put({.ns = ns, .blocks = {1, 2}, .put_id = 3}).ok());
  EXPECT_TRUE(Delete(ns, 1));
  std::vector<std::pair<int, std::string>> seen;
  while (seen.size() < 3 && watch->Read(&response)) {
    for (const auto& event : response.events()) seen.emplace_back(event.kind(), event.key());
  }
  EXPECT_EQ(seen, (std::vector<std::pair<int, std::string>>{{v1::Event::STORED, KeyOf(1)},
                                                            {v1::Event::STORED, KeyOf(2)},
                                                            {v1::Event::REMOVED, KeyOf(1)}}));
  context->TryCancel();
  while (watch->Read(&response)) ADD_FAILURE() << response.ShortDebugString();
  watch->Finish();
}

}  // namespace
}  // namespace kvcompd::server
