#include "proto/convert.h"

#include <gtest/gtest.h>

#include <cctype>
#include <functional>
#include <string>

#include "codec/base/chain_hash.h"
#include "server/store/reason.h"

namespace kvcompd {
namespace {

ModelDescriptor Sample() {
  ModelDescriptor model;
  model.model_id = "org/model";
  model.weights_version = "v3";
  model.adapter_rule = "key";
  AttentionGroup full;
  full.id = 1;
  full.layers = {0, 2};
  full.kv_heads = 8;
  full.head_dim_k = 128;
  full.head_dim_v = 64;
  AttentionGroup window = full;
  window.id = 2;
  window.kind = GroupKind::kSlidingWindow;
  window.layers = {1, 3};
  window.window_tokens = 4096;
  window.dtype = DType::kFp16;
  window.optional = true;
  model.groups = {full, window};
  model.rope_scheme = "half-split";
  model.rope_scaling = "theta=10000";
  model.k_before_rope = true;
  model.tokens_per_block = 128;
  return model;
}

TEST(ConvertTest, DescriptorsGoThereAndBack) {
  const ModelDescriptor model = Sample();
  const auto back = ModelFromProto(ToProto(model));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, model);
  EXPECT_EQ(back->Fingerprint(), model.Fingerprint());
}

TEST(ConvertTest, AbsentFieldsAreTheDefaults) {
  v1::ModelDescriptor message = ToProto(Sample());
  message.clear_rope_scheme();
  message.clear_tokens_per_block();
  const auto model = ModelFromProto(message);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->rope_scheme, ModelDescriptor().rope_scheme);
  EXPECT_EQ(model->tokens_per_block, 64u);
}

TEST(ConvertTest, BadFieldsAreNamed) {
  const auto expect = [](const std::function<void(v1::ModelDescriptor*)>& change, const std::string& text) {
    v1::ModelDescriptor message = ToProto(Sample());
    change(&message);
    const auto model = ModelFromProto(message);
    EXPECT_TRUE(absl::IsInvalidArgument(model.status())) << model.status();
    EXPECT_NE(model.status().message().find(text), absl::string_view::npos) << model.status();
  };
  expect([](auto* m) { m->clear_groups(); }, "groups");
  expect([](auto* m) { m->mutable_groups(1)->clear_kind(); }, "groups[1].kind");
  expect([](auto* m) { m->mutable_groups(1)->set_kind(static_cast<v1::GroupKind>(5)); }, "groups[1].kind");
  expect([](auto* m) { m->mutable_groups(1)->set_kind(static_cast<v1::GroupKind>(-1)); }, "groups[1].kind");
  expect([](auto* m) { m->mutable_groups(0)->clear_dtype(); }, "groups[0].dtype");
  expect([](auto* m) { m->mutable_groups(0)->set_dtype(static_cast<v1::DType>(6)); }, "groups[0].dtype");
  // 257 is 1 in eight bits.
  expect([](auto* m) { m->mutable_groups(0)->set_dtype(static_cast<v1::DType>(257)); }, "groups[0].dtype");
  expect([](auto* m) { m->mutable_groups(0)->set_kv_heads(0); }, "kv_heads");
  expect([](auto* m) { m->mutable_groups(0)->set_head_dim_k(7); }, "head_dim_k");
  expect([](auto* m) { m->set_tokens_per_block(65); }, "tokens_per_block");
  expect([](auto* m) { m->clear_model_id(); }, "model_id");
}

TEST(ConvertTest, EnumNumbersAreTheSameOnBothSides) {
  for (int i = 0; i <= 20; ++i) {
    ASSERT_TRUE(v1::Reason_IsValid(i));
    if (i == 0) continue;
    std::string name = v1::Reason_Name(static_cast<v1::Reason>(i));
    ASSERT_EQ(name.rfind("REASON_", 0), 0u);
    name = name.substr(7);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(name, server::ReasonName(static_cast<server::Reason>(i))) << i;
  }
  EXPECT_FALSE(v1::Reason_IsValid(21)) << "a new reason: add it to server/store/reason.h and here";
  EXPECT_EQ(static_cast<int>(v1::DTYPE_BF16), static_cast<int>(DType::kBf16));
  EXPECT_EQ(static_cast<int>(v1::DTYPE_FP16), static_cast<int>(DType::kFp16));
  EXPECT_EQ(static_cast<int>(v1::DTYPE_FP8_E4M3), static_cast<int>(DType::kFp8E4m3));
  EXPECT_EQ(static_cast<int>(v1::DTYPE_FP8_E5M2), static_cast<int>(DType::kFp8E5m2));
  EXPECT_EQ(static_cast<int>(v1::DTYPE_OPAQUE), static_cast<int>(DType::kOpaque));
  EXPECT_EQ(static_cast<int>(v1::GROUP_FULL), static_cast<int>(GroupKind::kFull));
  EXPECT_EQ(static_cast<int>(v1::GROUP_SLIDING_WINDOW), static_cast<int>(GroupKind::kSlidingWindow));
  EXPECT_EQ(static_cast<int>(v1::GROUP_MLA), static_cast<int>(GroupKind::kMla));
  EXPECT_EQ(static_cast<int>(v1::GROUP_OPAQUE), static_cast<int>(GroupKind::kOpaque));
}

TEST(ConvertTest, TensorsShardsGenerations) {
  EXPECT_EQ(ToProto(Tensor::kK), v1::TENSOR_K);
  EXPECT_EQ(*FromProto(v1::TENSOR_V), Tensor::kV);
  EXPECT_TRUE(absl::IsInvalidArgument(FromProto(v1::TENSOR_UNSPECIFIED).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FromProto(static_cast<v1::TensorKind>(3)).status()));
  const ShardRange shard{1, 2, 3, 4, 5};
  EXPECT_EQ(FromProto(ToProto(shard)), shard);
  const Generation generation{UINT64_MAX, 7};
  EXPECT_EQ(FromProto(ToProto(generation)), generation);
}

TEST(ConvertTest, KeysAreCheckedAndSalted) {
  const std::string key(32, 'k');
  EXPECT_EQ(KeyFromProto(key, "")->view(), key);
  EXPECT_EQ(*KeyFromProto(key, "salt"), SaltedKey(*BlockKey::FromBytes(key), "salt"));
  EXPECT_NE(*KeyFromProto(key, "salt"), *KeyFromProto(key, "tlas"));
  EXPECT_TRUE(KeyFromProto(key, std::string(kMaxSaltBytes, 's')).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(KeyFromProto(key, std::string(kMaxSaltBytes + 1, 's')).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(KeyFromProto(std::string(15, 'k'), "").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(KeyFromProto(std::string(65, 'k'), "").status()));
  google::protobuf::RepeatedPtrField<std::string> keys;
  *keys.Add() = key;
  EXPECT_EQ(KeysFromProto(keys, "")->size(), 1u);
  *keys.Add() = "short";
  const auto bad = KeysFromProto(keys, "");
  EXPECT_TRUE(absl::IsInvalidArgument(bad.status()));
  EXPECT_NE(bad.status().message().find("keys[1]"), absl::string_view::npos) << bad.status();
}

TEST(ConvertTest, Hellos) {
  const v1::Hello mine = MakeHello("kvcompd/1", 3, 1);
  EXPECT_TRUE(CheckHello(mine, 3).ok());
  EXPECT_TRUE(CheckHello(mine, 1).ok()) << "a feature that is offered need not be known";
  EXPECT_TRUE(absl::IsUnimplemented(CheckHello(mine, 2)));
  v1::Hello other = mine;
  other.set_protocol_minor(1000);
  EXPECT_TRUE(CheckHello(other, 3).ok());
  other.set_protocol_major(0);
  EXPECT_TRUE(absl::IsUnimplemented(CheckHello(other, 3)));
  EXPECT_TRUE(absl::IsUnimplemented(CheckHello(v1::Hello(), 3))) << "no hello is no version 1";
}

}  // namespace
}  // namespace kvcompd
