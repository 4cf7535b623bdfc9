// OpenNamespace, its hello and policy, and the codebook calls.
#include "server/service/namespace_calls.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "proto/convert.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

class NamespaceCallsTest : public ServiceTest {
 public:
  absl::Status TryOpen(const v1::OpenNamespaceRequest& request) {
    v1::OpenNamespaceResponse response;
    return OpenNamespace(request, &response);
  }
  void ExpectInvalid(const v1::OpenNamespaceRequest& request, const std::string& text) {
    const absl::Status status = TryOpen(request);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(status.message().find(text), absl::string_view::npos) << status;
  }
  // A set that was trained on some counts.
  static std::shared_ptr<const codec::CodebookSet> TrainedSet(const Fingerprint& fingerprint) {
    codec::CodebookTrainer trainer(fingerprint, *Profile::Parse(kKvcomp));
    std::vector<uint32_t> counts(codec::kMaxSymbols, 0);
    for (uint32_t i = 0; i < 10; ++i) counts[i] = 1000 * (i + 1);
    trainer.Add(2, Tensor::kK, counts);
    trainer.Add(2, Tensor::kV, counts);
    return trainer.Build();
  }
};

TEST_F(NamespaceCallsTest, OpenIsIdempotentAndTellsItsLimits) {
  v1::OpenNamespaceResponse first;
  ASSERT_TRUE(OpenNamespace(OpenRequest("acme", kKvcomp), &first).ok());
  EXPECT_TRUE(first.created());
  EXPECT_EQ(first.fingerprint(), ServiceModel().Fingerprint().view());
  EXPECT_EQ(first.policy().profile(), kKvcomp);
  EXPECT_EQ(first.policy().verify_ingest(), v1::VERIFY_INGEST_FULL);
  EXPECT_EQ(first.epoch(), store().epoch());
  EXPECT_EQ(first.hello().protocol_major(), 1u);
  EXPECT_EQ(first.hello().features() & FeatureBit(v1::FEATURE_ENCODED_FORM),
            FeatureBit(v1::FEATURE_ENCODED_FORM));
  EXPECT_GT(first.limits().max_message_bytes(), 0u);
  EXPECT_GT(first.limits().put_credit_bytes(), 0u);
  EXPECT_EQ(first.limits().max_blocks(), 4096u);
  v1::OpenNamespaceResponse second;
  ASSERT_TRUE(OpenNamespace(OpenRequest("acme", "raw"), &second).ok());
  EXPECT_FALSE(second.created());
  EXPECT_EQ(second.namespace_id(), first.namespace_id());
  EXPECT_EQ(second.policy().profile(), kKvcomp) << "the policy is taken only at registration";
}

TEST_F(NamespaceCallsTest, ANameStandsForOneDescriptorAndTheFieldsThatDifferAreNamed) {
  v1::OpenNamespaceRequest request = OpenRequest();
  request.set_name("llama");
  const std::string ns = Open(request);
  request.mutable_model()->mutable_groups(0)->set_dtype(v1::DTYPE_FP16);
  request.mutable_model()->set_weights_version("2");
  const absl::Status status = TryOpen(request);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("groups[0].dtype"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find("weights_version"), absl::string_view::npos) << status;
  EXPECT_EQ(status.message().find("rope_scheme"), absl::string_view::npos) << status;
  // Another name, another tenant and no name at all are free to differ.
  request.set_name("llama-2");
  EXPECT_NE(Open(request), ns);
  request.set_name("llama");
  request.set_tenant("other");
  EXPECT_NE(Open(request), ns);
  // The same descriptor under another name is the same namespace.
  v1::OpenNamespaceRequest attach = OpenRequest();
  attach.clear_model();
  attach.set_name("llama");
  v1::OpenNamespaceResponse attached;
  ASSERT_TRUE(OpenNamespace(attach, &attached).ok());
  EXPECT_EQ(attached.namespace_id(), ns);
  const auto model = ModelFromProto(attached.model());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->Fingerprint().view(), attached.fingerprint());
  attach.set_name("nobody");
  EXPECT_TRUE(absl::IsNotFound(TryOpen(attach)));
}

TEST_F(NamespaceCallsTest, RequestsOutOfRange) {
  v1::OpenNamespaceRequest request = OpenRequest();
  request.set_tenant("a/b");
  ExpectInvalid(request, "tenant");
  request.set_tenant(std::string(129, 'a'));
  ExpectInvalid(request, "tenant");
  request = OpenRequest();
  request.set_name("white space");
  ExpectInvalid(request, "name");
  request = OpenRequest();
  request.mutable_policy()->set_profile("kvcomp:rel_k=7");
  ExpectInvalid(request, "rel_k");
  request = OpenRequest();
  request.mutable_policy()->set_max_error(-1);
  ExpectInvalid(request, "max_error");
  request.mutable_policy()->set_max_error(std::numeric_limits<double>::quiet_NaN());
  ExpectInvalid(request, "max_error");
  request = OpenRequest();
  request.mutable_model()->mutable_groups(0)->set_kv_heads(0);
  ExpectInvalid(request, "kv_heads");
  request = OpenRequest();
  for (int i = 0; i < 65; ++i) request.mutable_policy()->add_accepted_profiles("raw");
  ExpectInvalid(request, "accepted_profiles");
  EXPECT_EQ(Rejected("malformed"), 8);
  request = OpenRequest("acme", kKvcomp);
  request.mutable_policy()->set_max_error(0.01);
  EXPECT_TRUE(absl::IsFailedPrecondition(TryOpen(request)));
  request = OpenRequest("acme", "zstd");
  EXPECT_TRUE(absl::IsUnimplemented(TryOpen(request)));
  EXPECT_TRUE(store().ListNamespaces().empty());
}

TEST_F(NamespaceCallsTest, HelloOfOtherVersionsAndFeatures) {
  v1::OpenNamespaceRequest request = OpenRequest();
  request.mutable_hello()->set_protocol_major(2);
  absl::Status status = TryOpen(request);
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_NE(status.message().find("1.0"), absl::string_view::npos) << status;
  request = OpenRequest();
  request.mutable_hello()->set_required_features(FeatureBit(v1::FEATURE_TOKEN_SELECTION) | uint64_t{1} << 63);
  status = TryOpen(request);
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_NE(status.message().find("0x8000000000000040"), absl::string_view::npos) << status;
  EXPECT_EQ(Rejected("unsupported"), 2);
  request = OpenRequest();
  request.mutable_hello()->set_protocol_minor(99);
  request.mutable_hello()->set_features(~uint64_t{0});
  request.mutable_hello()->set_required_features(kServedFeatures);
  v1::OpenNamespaceResponse response;
  EXPECT_TRUE(OpenNamespace(request, &response).ok());
  EXPECT_EQ(response.hello().protocol_minor(), 0u);
  EXPECT_EQ(response.hello().required_features(), 0u);
}

TEST_F(NamespaceCallsTest, CodebooksGoUpAndDown) {
  const std::string ns = Open("acme", kKvcomp);
  const auto set = TrainedSet(ServiceModel().Fingerprint());
  v1::PutCodebooksRequest put;
  put.set_namespace_id(ns);
  put.set_set(set->canonical_bytes());
  v1::PutCodebooksResponse stored;
  ASSERT_TRUE(KVCOMPD_CALL(PutCodebooks, put, &stored).ok());
  EXPECT_EQ(stored.set_id(), set->id().view());
  v1::GetCodebooksRequest get;
  get.set_namespace_id(ns);
  get.set_set_id(stored.set_id());
  v1::GetCodebooksResponse got;
  ASSERT_TRUE(KVCOMPD_CALL(GetCodebooks, get, &got).ok());
  EXPECT_EQ(got.set(), set->canonical_bytes());
  // The current one is the built-in set still.
  get.clear_set_id();
  ASSERT_TRUE(KVCOMPD_CALL(GetCodebooks, get, &got).ok());
  EXPECT_EQ(got.set(), codec::CodebookSet::BuiltIn(*Profile::Parse(kKvcomp))->canonical_bytes());
  get.set_set_id(std::string(32, 'x'));
  EXPECT_TRUE(absl::IsNotFound(KVCOMPD_CALL(GetCodebooks, get, &got)));
  get.set_set_id("short");
  EXPECT_TRUE(absl::IsInvalidArgument(KVCOMPD_CALL(GetCodebooks, get, &got)));
  // A namespace without codebooks has none.
  get.clear_set_id();
  get.set_namespace_id(Open("plain", "raw"));
  EXPECT_TRUE(absl::IsNotFound(KVCOMPD_CALL(GetCodebooks, get, &got)));
}

TEST_F(NamespaceCallsTest, BadCodebooks) {
  v1::PutCodebooksRequest put;
  put.set_namespace_id(Open("acme", kKvcomp));
  const std::string good = TrainedSet(ServiceModel().Fingerprint())->canonical_bytes();
  v1::PutCodebooksResponse stored;
  put.set_set(good.substr(0, good.size() - 1));
  EXPECT_TRUE(absl::IsDataLoss(KVCOMPD_CALL(PutCodebooks, put, &stored)));
  put.set_set("");
  EXPECT_TRUE(absl::IsDataLoss(KVCOMPD_CALL(PutCodebooks, put, &stored)));
  EXPECT_EQ(Rejected("corrupt"), 2);
  ModelDescriptor other = ServiceModel();
  other.model_id = "another/model";
  put.set_set(TrainedSet(other.Fingerprint())->canonical_bytes());
  EXPECT_TRUE(absl::IsFailedPrecondition(KVCOMPD_CALL(PutCodebooks, put, &stored)));
}

}  // namespace
}  // namespace kvcompd::server
