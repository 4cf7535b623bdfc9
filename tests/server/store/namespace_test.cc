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

TEST(NamespaceTableTest, RegistersOnceAndAttachesByNameOrModel) {
  NamespaceTable table(10);
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
  NamespaceTable table(10);
  auto a = table.Open("a", "n", TestModel(), {});
  auto b = table.Open("b", "n", TestModel(), {});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(a->ns->id(), b->ns->id());
  EXPECT_EQ(table.Open("c", "n", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST(NamespaceTableTest, ANameStandsForOneModel) {
  NamespaceTable table(10);
  ASSERT_TRUE(table.Open("t", "n", TestModel("a"), {}).ok());
  ModelDescriptor changed = TestModel("a");
  changed.tokens_per_block = 128;
  const absl::Status refused = table.Open("t", "n", changed, {}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("tokens_per_block"), absl::string_view::npos) << refused;
  EXPECT_EQ(table.List().size(), 1u);  // the refused one was not registered
}

TEST(NamespaceTableTest, RefusesBadModelsAndPolicies) {
  NamespaceTable table(10);
  ModelDescriptor model = TestModel();
  model.groups.clear();
  EXPECT_EQ(table.Open("t", "n", model, {}).status().code(), absl::StatusCode::kInvalidArgument);
  NamespacePolicy policy;
  policy.profile = Profile::Parse("kvcomp:rel_v=0.5").value();
  policy.max_error = 0.1;
  EXPECT_EQ(table.Open("t", "n", TestModel(), policy).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.Open("t", "", std::nullopt, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST(NamespaceTableTest, NamespacesAndNamesAreLimited) {
  NamespaceTable table(2);
  ASSERT_TRUE(table.Open("t", "a", TestModel("a"), {}).ok());
  ASSERT_TRUE(table.Open("t", "b", TestModel("b"), {}).ok());
  EXPECT_EQ(table.Open("t", "c", TestModel("c"), {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(table.Open("t", "c", TestModel("a"), {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(table.Open("t", "", TestModel("a"), {}).ok());
}

}  // namespace
}  // namespace kvcompd::server
