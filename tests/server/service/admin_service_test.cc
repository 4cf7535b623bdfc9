#include "server/service/admin_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/server/service/daemon_fixture.h"

namespace kvcompd::server {
namespace {

using testing::HasSubstr;

v1::StatsResponse Stats(DaemonFixture& fixture) {
  v1::StatsResponse response;
  const grpc::Status status = fixture.admin()->Stats(Call().get(), {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

grpc::Status SetProfile(DaemonFixture& fixture, const std::string& id, const std::string& profile,
                        v1::SetProfileResponse* response, grpc::ClientContext* call) {
  v1::SetProfileRequest request;
  request.set_namespace_id(id);
  request.set_profile(profile);
  return fixture.admin()->SetProfile(call, request, response);
}

TEST(AdminService, StatsOfAnEmptyDaemon) {
  DaemonFixture fixture;
  fixture.clock().AdvanceUs(5'000'000);
  const v1::StatsResponse stats = Stats(fixture);
  EXPECT_THAT(stats.software(), HasSubstr("kvcompd/"));
  EXPECT_EQ(stats.backend(), "cpu");
  EXPECT_EQ(stats.epoch(), fixture.store().epoch());
  EXPECT_EQ(stats.uptime_ms(), 5000u);
  EXPECT_FALSE(stats.draining());
  ASSERT_EQ(stats.tiers_size(), 1);
  EXPECT_EQ(stats.tiers(0).tier(), v1::TIER_HOST);
  EXPECT_EQ(stats.tiers(0).capacity_bytes(), uint64_t{8} << 20);
  EXPECT_EQ(stats.tiers(0).used_bytes(), 0u);
  EXPECT_EQ(stats.tiers(0).largest_free_bytes(), uint64_t{1} << 20);
  EXPECT_EQ(stats.namespaces_size(), 0);
}

TEST(AdminService, StatsCountWhatIsStored) {
  DaemonFixture fixture;
  const auto a = fixture.OpenNamespace("a"), b = fixture.OpenNamespace("b");
  ASSERT_TRUE(fixture.StoreBlock(a, 1, 100));
  ASSERT_TRUE(fixture.StoreBlock(a, 2, 200));
  ASSERT_TRUE(fixture.StoreBlock(b, 1, 1000));
  const v1::StatsResponse stats = Stats(fixture);
  EXPECT_EQ(stats.tiers(0).blocks(), 3u);
  EXPECT_EQ(stats.tiers(0).encoded_bytes(), 1300u);
  EXPECT_EQ(stats.tiers(0).raw_bytes(), 2600u);
  EXPECT_EQ(stats.tiers(0).used_bytes(), 128u + 256u + 1024u);
  EXPECT_EQ(stats.tiers(0).staged_bytes(), 0u);
  ASSERT_EQ(stats.namespaces_size(), 2);
  EXPECT_EQ(stats.namespaces(0).namespace_id(), a->id());
  EXPECT_EQ(stats.namespaces(0).blocks(), 2u);
  EXPECT_EQ(stats.namespaces(0).encoded_bytes(), 300u);
  EXPECT_EQ(stats.namespaces(0).raw_bytes(), 600u);
  EXPECT_EQ(stats.namespaces(0).model_id(), "test/model");
  EXPECT_EQ(stats.namespaces(0).fingerprint(), a->fingerprint().view());
  EXPECT_EQ(stats.namespaces(0).policy().profile(), "raw");
  EXPECT_EQ(stats.namespaces(1).tenant(), "b");
}

TEST(AdminService, StatsCarryEveryCounter) {
  DaemonFixture fixture;
  fixture.daemon()
      .context()
      .metrics->Counter("kvcompd_test_total", "of this test", {{"reason", "why"}})
      .Increment(3);
  const v1::StatsResponse stats = Stats(fixture);
  bool found = false;
  for (const v1::Counter& counter : stats.counters()) {
    EXPECT_THAT(counter.name(), testing::StartsWith("kvcompd_"));
    if (counter.name() != "kvcompd_test_total") continue;
    found = true;
    EXPECT_EQ(counter.labels(), "reason=\"why\"");
    EXPECT_EQ(counter.value(), 3);
  }
  EXPECT_TRUE(found);
}

TEST(AdminService, ListNamespacesOfOneTenantOrAll) {
  DaemonFixture fixture;
  fixture.OpenNamespace("a");
  fixture.OpenNamespace("b");
  v1::ListNamespacesRequest request;
  v1::ListNamespacesResponse all, one, none;
  ASSERT_TRUE(fixture.admin()->ListNamespaces(Call().get(), request, &all).ok());
  EXPECT_EQ(all.namespaces_size(), 2);
  request.set_tenant("b");
  ASSERT_TRUE(fixture.admin()->ListNamespaces(Call().get(), request, &one).ok());
  ASSERT_EQ(one.namespaces_size(), 1);
  EXPECT_EQ(one.namespaces(0).tenant(), "b");
  request.set_tenant("c");
  ASSERT_TRUE(fixture.admin()->ListNamespaces(Call().get(), request, &none).ok());
  EXPECT_EQ(none.namespaces_size(), 0);
}

TEST(AdminService, SetProfileTakesEffectAndAnswersInCanonicalForm) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  v1::SetProfileResponse response;
  ASSERT_TRUE(SetProfile(fixture, ns->id(), "kvcomp:rel_v=0.2", &response, Call().get()).ok());
  EXPECT_EQ(response.profile(), "kvcomp:rel_k=0.05,rel_v=0.2");
  EXPECT_EQ(ns->policy().profile.Text(), response.profile());
  ASSERT_TRUE(SetProfile(fixture, ns->id(), "", &response, Call().get()).ok());
  EXPECT_EQ(ns->policy().profile.Text(), "raw");
}

TEST(AdminService, SetProfileRefusesWhatItDoesNotKnow) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  v1::SetProfileResponse response;
  for (const char* bad : {"zip", "kvcomp:rel_k=9", "kvcomp:level=3"}) {
    EXPECT_EQ(SetProfile(fixture, ns->id(), bad, &response, Call().get()).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << bad;
  }
  EXPECT_EQ(ns->policy().profile.Text(), "raw");
}

TEST(AdminService, AnUnknownNamespaceIsToBeOpenedAgain) {
  DaemonFixture fixture;
  const auto call = Call();
  v1::SetProfileResponse response;
  EXPECT_EQ(SetProfile(fixture, std::string(16, 'x'), "raw", &response, call.get()).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  const auto& trailing = call->GetServerTrailingMetadata();
  const auto it = trailing.find("kvcompd-reopen");
  ASSERT_NE(it, trailing.end());
  EXPECT_EQ(it->second, "1");
}

TEST(AdminService, FlushEmptiesOneNamespace) {
  DaemonFixture fixture;
  const auto a = fixture.OpenNamespace("a"), b = fixture.OpenNamespace("b");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(fixture.StoreBlock(a, i, 100));
  ASSERT_TRUE(fixture.StoreBlock(b, 0));
  v1::FlushRequest request;
  request.set_namespace_id(a->id());
  v1::FlushResponse response;
  ASSERT_TRUE(fixture.admin()->Flush(Call().get(), request, &response).ok());
  EXPECT_EQ(response.blocks(), 3u);
  EXPECT_EQ(response.encoded_bytes(), 300u);
  EXPECT_FALSE(fixture.store().Lookup(a, fixture.Key(0)).has_value());
  EXPECT_TRUE(fixture.store().Lookup(b, fixture.Key(0)).has_value());
}

TEST(AdminService, TrimByBytesAndByAge) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(fixture.StoreBlock(ns, i, 256));
  v1::TrimRequest request;
  v1::TrimResponse response;
  EXPECT_EQ(fixture.admin()->Trim(Call().get(), request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_target_bytes(512);
  ASSERT_TRUE(fixture.admin()->Trim(Call().get(), request, &response).ok());
  EXPECT_EQ(response.blocks(), 2u);
  EXPECT_EQ(response.encoded_bytes(), 512u);
  fixture.clock().AdvanceUs(10'000'000);
  ASSERT_TRUE(fixture.StoreBlock(ns, 9));
  request.Clear();
  request.set_older_than_ms(5000);
  ASSERT_TRUE(fixture.admin()->Trim(Call().get(), request, &response).ok());
  EXPECT_EQ(response.blocks(), 2u);
  EXPECT_TRUE(fixture.store().Lookup(ns, fixture.Key(9)).has_value());
}

TEST(AdminService, SnapshotIsNotThereYet) {
  DaemonFixture fixture;
  v1::SnapshotResponse response;
  const grpc::Status status = fixture.admin()->Snapshot(Call().get(), {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("no disk tier"));
}

TEST(AdminService, DrainWithoutExitKeepsAnswering) {
  DaemonFixture fixture;
  v1::DrainResponse response;
  ASSERT_TRUE(fixture.admin()->Drain(Call().get(), {}, &response).ok());
  EXPECT_TRUE(Stats(fixture).draining());
}

TEST(AdminService, DrainWithExitAsksTheProcess) {
  std::atomic<uint32_t> asked_ms{0};
  DaemonFixture fixture(SmallDaemonOptions(), [&](uint32_t grace_ms) { asked_ms = grace_ms; });
  v1::DrainRequest request;
  request.set_exit(true);
  v1::DrainResponse response;
  ASSERT_TRUE(fixture.admin()->Drain(Call().get(), request, &response).ok());
  EXPECT_EQ(asked_ms.load(), ServiceOptions().drain_grace_ms);
  request.set_grace_ms(1234);
  ASSERT_TRUE(fixture.admin()->Drain(Call().get(), request, &response).ok());
  EXPECT_EQ(asked_ms.load(), 1234u);
}

TEST(AdminService, DrainWithExitNeedsAProcessOfItsOwn) {
  DaemonFixture fixture;
  v1::DrainRequest request;
  request.set_exit(true);
  v1::DrainResponse response;
  EXPECT_EQ(fixture.admin()->Drain(Call().get(), request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_FALSE(Stats(fixture).draining());
}

}  // namespace
}  // namespace kvcompd::server
