#include "codec/base/model_descriptor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace kvcompd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelDescriptor Model() {
  ModelDescriptor m;
  m.model_id = "model";
  m.weights_version = "rev1";
  AttentionGroup full;
  full.id = 0;
  full.layers = {0, 2, 4};
  full.kv_heads = 8;
  full.head_dim_k = 128;
  full.head_dim_v = 128;
  AttentionGroup window = full;
  window.id = 1;
  window.kind = GroupKind::kSlidingWindow;
  window.layers = {1, 3};
  window.window_tokens = 512;
  AttentionGroup latent = full;
  latent.id = 7;
  latent.kind = GroupKind::kMla;
  latent.layers = {5};
  latent.kv_heads = 1;
  latent.head_dim_k = 576;
  latent.head_dim_v = 0;
  AttentionGroup opaque = latent;
  opaque.id = 255;
  opaque.kind = GroupKind::kOpaque;
  opaque.dtype = DType::kOpaque;
  opaque.layers = {65534};
  opaque.head_dim_k = 65536;
  m.groups = {full, window, latent, opaque};
  return m;
}

struct Change {
  const char* field;
  std::function<void(ModelDescriptor*)> apply;
};

// One change to every field.
std::vector<Change> Changes() {
  return {
      {"model_id", [](auto* m) { m->model_id = "other"; }},
      {"weights_version", [](auto* m) { m->weights_version = "rev2"; }},
      {"adapter_rule", [](auto* m) { m->adapter_rule = "x"; }},
      {"groups.size", [](auto* m) { m->groups.pop_back(); }},
      {"groups[0].id", [](auto* m) { m->groups[0].id = 2; }},
      {"groups[1].kind", [](auto* m) { m->groups[1].kind = GroupKind::kFull; }},
      {"groups[0].layers",
       [](auto* m) {
         m->groups[0].layers = {0, 2};
       }},
      {"groups[0].kv_heads", [](auto* m) { m->groups[0].kv_heads = 4; }},
      {"groups[0].head_dim_k", [](auto* m) { m->groups[0].head_dim_k = 64; }},
      {"groups[0].head_dim_v", [](auto* m) { m->groups[0].head_dim_v = 64; }},
      {"groups[1].window_tokens", [](auto* m) { m->groups[1].window_tokens = 513; }},
      {"groups[2].dtype", [](auto* m) { m->groups[2].dtype = DType::kFp8E4m3; }},
      {"groups[2].optional", [](auto* m) { m->groups[2].optional = true; }},
      {"rope_scheme", [](auto* m) { m->rope_scheme = "neox"; }},
      {"rope_scaling", [](auto* m) { m->rope_scaling = "yarn"; }},
      {"k_before_rope", [](auto* m) { m->k_before_rope = true; }},
      {"fp8_scales", [](auto* m) { m->fp8_scales = "1"; }},
      {"tokens_per_block", [](auto* m) { m->tokens_per_block = 128; }},
  };
}

TEST(ModelDescriptorTest, EveryFieldChangesTheFingerprintAndIsNamed) {
  const ModelDescriptor base = Model();
  EXPECT_THAT(DifferingFields(base, base), IsEmpty());
  std::set<Fingerprint> seen = {base.Fingerprint()};
  for (const Change& change : Changes()) {
    ModelDescriptor other = base;
    change.apply(&other);
    EXPECT_THAT(DifferingFields(base, other), ElementsAre(change.field));
    EXPECT_TRUE(seen.insert(other.Fingerprint()).second) << change.field;
  }
}

TEST(ModelDescriptorTest, TextMovedBetweenFieldsChangesTheFingerprint) {
  ModelDescriptor a = Model(), b = Model();
  a.model_id = "ab";
  a.weights_version = "c";
  b.model_id = "a";
  b.weights_version = "bc";
  EXPECT_NE(a.Fingerprint(), b.Fingerprint());
}

TEST(ModelDescriptorTest, ValidModelsAreAccepted) {
  EXPECT_EQ(Model().Validate(), absl::OkStatus());
  for (uint32_t tokens : {16u, 32u, 64u, 128u, 1024u}) {
    ModelDescriptor m = Model();
    m.tokens_per_block = tokens;
    EXPECT_EQ(m.Validate(), absl::OkStatus()) << tokens;
  }
}

TEST(ModelDescriptorTest, EachFieldOutOfRangeIsNamed) {
  const std::vector<Change> bad = {
      {"model_id", [](auto* m) { m->model_id.clear(); }},
      {"model_id", [](auto* m) { m->model_id.assign(257, 'x'); }},
      {"weights_version", [](auto* m) { m->weights_version.assign(257, 'x'); }},
      {"adapter_rule", [](auto* m) { m->adapter_rule.assign(257, 'x'); }},
      {"rope_scheme", [](auto* m) { m->rope_scheme.assign(257, 'x'); }},
      {"rope_scaling", [](auto* m) { m->rope_scaling.assign(257, 'x'); }},
      {"fp8_scales", [](auto* m) { m->fp8_scales.assign(4097, 'x'); }},
      {"groups", [](auto* m) { m->groups.clear(); }},
      {"groups", [](auto* m) { m->groups.resize(17); }},
      {"groups[0].id", [](auto* m) { m->groups[0].id = 256; }},
      {"groups[1].id", [](auto* m) { m->groups[1].id = 0; }},
      {"groups[0].kind", [](auto* m) { m->groups[0].kind = static_cast<GroupKind>(0); }},
      {"groups[0].kind", [](auto* m) { m->groups[0].kind = static_cast<GroupKind>(5); }},
      {"groups[0].layers", [](auto* m) { m->groups[0].layers.clear(); }},
      {"groups[0].layers",
       [](auto* m) {
         m->groups[0].layers = {2, 1};
       }},
      {"groups[0].layers",
       [](auto* m) {
         m->groups[0].layers = {2, 2};
       }},
      {"groups[1].layers", [](auto* m) { m->groups[1].layers = {2}; }},
      {"groups[3].layers", [](auto* m) { m->groups[3].layers = {65535}; }},
      {"groups[0].kv_heads", [](auto* m) { m->groups[0].kv_heads = 0; }},
      {"groups[0].kv_heads", [](auto* m) { m->groups[0].kv_heads = 1025; }},
      {"groups[0].head_dim_k", [](auto* m) { m->groups[0].head_dim_k = 7; }},
      {"groups[0].head_dim_k", [](auto* m) { m->groups[0].head_dim_k = 577; }},
      {"groups[0].head_dim_v", [](auto* m) { m->groups[0].head_dim_v = 0; }},
      {"groups[2].head_dim_v", [](auto* m) { m->groups[2].head_dim_v = 64; }},
      {"groups[3].head_dim_k", [](auto* m) { m->groups[3].head_dim_k = 65537; }},
      {"groups[0].dtype", [](auto* m) { m->groups[0].dtype = DType::kOpaque; }},
      {"groups[0].dtype", [](auto* m) { m->groups[0].dtype = static_cast<DType>(9); }},
      {"groups[3].dtype", [](auto* m) { m->groups[3].dtype = DType::kBf16; }},
      {"groups[1].window_tokens", [](auto* m) { m->groups[1].window_tokens = 0; }},
      {"groups[0].window_tokens", [](auto* m) { m->groups[0].window_tokens = 1; }},
      {"tokens_per_block", [](auto* m) { m->tokens_per_block = 0; }},
      {"tokens_per_block", [](auto* m) { m->tokens_per_block = 48; }},
      {"tokens_per_block", [](auto* m) { m->tokens_per_block = 1088; }},
  };
  for (const Change& change : bad) {
    ModelDescriptor m = Model();
    change.apply(&m);
    const absl::Status status = m.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << change.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(change.field));
  }
}

TEST(ResolveShardTest, ReplacesZeroCountsByAllFromBeginOn) {
  const ModelDescriptor m = Model();
  const auto whole = m.ResolveShard({});
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(*whole, (ShardRange{0, 0, 8, 0, 3}));
  EXPECT_EQ(*m.ResolveShard({0, 6, 0, 1, 0}), (ShardRange{0, 6, 2, 1, 2}));
  EXPECT_EQ(*m.ResolveShard({1, 2, 3, 0, 1}), (ShardRange{1, 2, 3, 0, 1}));
}

TEST(ResolveShardTest, RejectsWhatIsOutsideTheGroup) {
  const ModelDescriptor m = Model();
  const uint32_t huge = 0xffffffff;
  for (const ShardRange& bad : {ShardRange{9}, ShardRange{0, 8}, ShardRange{0, 0, 9}, ShardRange{0, 7, 2},
                                ShardRange{0, 1, huge}, ShardRange{0, huge, 2}, ShardRange{0, 0, 0, 3},
                                ShardRange{0, 0, 0, 0, 4}, ShardRange{0, 0, 0, 2, huge}}) {
    EXPECT_EQ(m.ResolveShard(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(AttentionGroupTest, TensorBytesDoNotOverflow) {
  AttentionGroup g = Model().groups[3];
  EXPECT_EQ(g.TensorBytes(Tensor::kK, 1024, 1024), uint64_t{65536} << 20);
  EXPECT_FALSE(g.has(Tensor::kV));
}

}  // namespace
}  // namespace kvcompd
