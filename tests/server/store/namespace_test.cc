// Namespaces: identity, names, policy.
#include <gtest/gtest.h>

#include "server/store/namespace_table.h"
#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

TEST(NamespaceTest, IdIsOfTenantAndFingerprint) {
  const Fingerprint a = TestModel("a").Fingerprint();
  EXPECT_EQ(Namespace::MakeId("t", a).size(), 16u);
  EXPECT_EQ(Namespace::MakeId("t", a), Namespace::MakeId("t", a));
  EXPECT_NE(Namespace::MakeId("t", a), Namespace::MakeId("u", a));
  EXPECT_NE(Namespace::MakeId("t", a), Namespace::MakeId("t", TestModel("b").Fingerprint()));
}

TEST(NamespaceTest, SetProfileKeepsTheCeiling) {
  NamespacePolicy policy;
  policy.max_error = 0.05;
  Namespace ns("t", "n", TestModel(), policy);
  EXPECT_TRUE(ns.SetProfile(Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1").value()).ok());
  EXPECT_EQ(ns.policy().profile.codec, CodecId::kKvcomp);
  const absl::Status refused = ns.SetProfile(Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.2").value());
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ns.policy().profile.rel_v, 0.1);
}

TEST(NamespaceTest, PackingIsOfThePolicysProfileAndBeginsAnewWithIt) {
  const Profile open = Profile::Parse("packkv:repack=auto").value();
  Namespace ns("t", "n", TestModel(), {.profile = open});
  const auto first = ns.packing(open);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(ns.packing(open), first);
  EXPECT_EQ(ns.packing(Profile::Parse("packkv").value()), nullptr);
  const Profile other = Profile::Parse("packkv:pack=auto").value();
  EXPECT_EQ(ns.packing(other), nullptr);
  ASSERT_TRUE(ns.SetProfile(other).ok());
  EXPECT_EQ(ns.packing(open), nullptr);
  EXPECT_NE(ns.packing(other), nullptr);
  ASSERT_TRUE(ns.SetProfile(open).ok());
  EXPECT_NE(ns.packing(open), nullptr);
  EXPECT_NE(ns.packing(open), first);
}

TEST(NamespaceTableTest, RegistersOnceAndAttachesByNameOrModel) {
  Metrics metrics;
  NamespaceTable table(10, &metrics);
  NamespacePolicy policy;
  policy.quota_bytes = 5;
  auto first = table.Open("t", "llama", TestModel("a"), policy);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->created);
  policy.quota_bytes = 6;
  auto again = table.Open("t", "llama", TestModel("a"), policy);
  auto by_name = table.Open("t", "llama", std::nullopt, {});
  auto by_model = table.Open("t", "", TestModel("a"), {});
  auto alias = table.Open("t", "other name", TestModel("a"), {});
  auto by_alias = table.Open("t", "other name", std::nullopt, {});
  for (const auto& opened : {again, by_name, by_model, alias, by_alias}) {
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_FALSE(opened->created);
    EXPECT_EQ(opened->ns, first->ns);
  }
  EXPECT_EQ(first->ns->quota_bytes(), 5u);
  EXPECT_EQ(table.Find(first->ns->id()), first->ns);
  EXPECT_EQ(table.Find("unknown"), nullptr);
  EXPECT_EQ(table.List().size(), 1u);
}

TEST(NamespaceTableTest, TenantsDoNotShare) {
  Metrics metrics;
  NamespaceTable table(10, &metrics);
  auto a = table.Open("a", "n", TestModel(), {});
  auto b = table.Open("b", "n", TestModel(), {});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(a->ns->id(), b->ns->id());
  EXPECT_EQ(table.Open("c", "n", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST(NamespaceTableTest, ANameStandsForOneModel) {
  Metrics metrics;
  NamespaceTable table(10, &metrics);
  ASSERT_TRUE(table.Open("t", "n", TestModel("a"), {}).ok());
  ModelDescriptor changed = TestModel("a");
  changed.tokens_per_block = 128;
  const absl::Status refused = table.Open("t", "n", changed, {}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("tokens_per_block"), absl::string_view::npos) << refused;
  EXPECT_EQ(table.List().size(), 1u);  // the refused one was not registered
}

TEST(NamespaceTableTest, RefusesBadModelsAndPolicies) {
  Metrics metrics;
  NamespaceTable table(10, &metrics);
  ModelDescriptor model = TestModel();
  model.groups.clear();
  EXPECT_EQ(table.Open("t", "n", model, {}).status().code(), absl::StatusCode::kInvalidArgument);
  NamespacePolicy policy;
  policy.profile = Profile::Parse("kvcomp:rel_v=0.5").value();
  policy.max_error = 0.1;
  EXPECT_EQ(table.Open("t", "n", TestModel(), policy).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.Open("t", "", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST(NamespaceTableTest, NamespacesInUseAndNamesAreLimited) {
  Metrics metrics;
  NamespaceTable table(2, &metrics);
  auto a = table.Open("t", "a", TestModel("a"), {});
  auto b = table.Open("t", "b", TestModel("b"), {});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(table.Open("t", "c", TestModel("c"), {}).status().code(), absl::StatusCode::kResourceExhausted);
  for (uint32_t n = 1; n < NamespaceTable::kMaxNames; ++n) {
    ASSERT_TRUE(table.Open("t", "alias" + std::to_string(n), TestModel("a"), {}).ok());
  }
  EXPECT_EQ(table.Open("t", "c", TestModel("a"), {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(table.Open("t", "alias1", TestModel("a"), {}).ok());
  EXPECT_TRUE(table.Open("t", "", TestModel("a"), {}).ok());
}

TEST(NamespaceTableTest, AnUnusedOneGivesWayTheOneUsedLongestAgoFirst) {
  Metrics metrics;
  NamespaceTable table(3, &metrics);
  const Namespace::Id a = table.Open("t", "a", TestModel("a"), {})->ns->id();
  const Namespace::Id b = table.Open("t", "b", TestModel("b"), {})->ns->id();
  const std::shared_ptr<Namespace> held = table.Open("t", "c", TestModel("c"), {})->ns;
  ASSERT_NE(table.Find(a), nullptr);  // now b was used before a
  ASSERT_TRUE(table.Open("t", "d", TestModel("d"), {}).ok());
  EXPECT_EQ(table.Find(b), nullptr);
  EXPECT_EQ(table.Open("t", "b", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(metrics.Value("kvcompd_namespaces_dropped_total"), 1);
  // What has a slot charged to it stays, whoever holds it.
  table.Find(a)->account().Charge(ChargeKind::kStored, 64);
  ASSERT_TRUE(table.Open("t", "e", TestModel("e"), {}).ok());  // in place of d
  EXPECT_NE(table.Find(a), nullptr);
  EXPECT_NE(table.Find(held->id()), nullptr);
  EXPECT_EQ(table.Open("t", "d", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
  // It comes back as it was first: its id is the same.
  table.Find(a)->account().Uncharge(ChargeKind::kStored, 64);
  EXPECT_EQ(table.Open("t", "b", TestModel("b"), {})->ns->id(), b);
}

}  // namespace
}  // namespace kvcompd::server
