#include "proto/convert.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/base/chain_hash.h"

namespace kvcompd {
namespace {

// The container format that this build reads (codec/FORMAT.md).
constexpr uint32_t kFormatVersions[] = {1 << 8 | 0};

absl::StatusOr<DType> DTypeFromProto(v1::DType dtype, int group) {
  const auto out = static_cast<DType>(dtype);
  if (!v1::DType_IsValid(dtype) || ElementBytes(out) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("groups[", group, "].dtype ", static_cast<int>(dtype), " is no dtype of this version"));
  }
  return out;
}

}  // namespace

absl::StatusOr<ModelDescriptor> ModelFromProto(const v1::ModelDescriptor& message) {
  ModelDescriptor model;
  model.model_id = message.model_id();
  model.weights_version = message.weights_version();
  model.adapter_rule = message.adapter_rule();
  for (int i = 0; i < message.groups_size(); ++i) {
    const auto& m = message.groups(i);
    AttentionGroup group;
    group.id = m.id();
    if (m.kind() < v1::GROUP_FULL || m.kind() > v1::GROUP_OPAQUE) {
      return absl::InvalidArgumentError(absl::StrCat("groups[", i, "].kind is not said or not known"));
    }
    group.kind = static_cast<GroupKind>(m.kind());
    group.layers.assign(m.layers().begin(), m.layers().end());
    group.kv_heads = m.kv_heads();
    group.head_dim_k = m.head_dim_k();
    group.head_dim_v = m.head_dim_v();
    group.window_tokens = m.window_tokens();
    auto dtype = DTypeFromProto(m.dtype(), i);
    if (!dtype.ok()) return dtype.status();
    group.dtype = *dtype;
    group.optional = m.optional();
    model.groups.push_back(std::move(group));
  }
  if (!message.rope_scheme().empty()) model.rope_scheme = message.rope_scheme();
  model.rope_scaling = message.rope_scaling();
  model.k_before_rope = message.k_before_rope();
  model.fp8_scales = message.fp8_scales();
  if (message.tokens_per_block() != 0) model.tokens_per_block = message.tokens_per_block();
  if (auto status = model.Validate(); !status.ok()) return status;
  return model;
}

v1::ModelDescriptor ToProto(const ModelDescriptor& model) {
  v1::ModelDescriptor m;
  m.set_model_id(model.model_id);
  m.set_weights_version(model.weights_version);
  m.set_adapter_rule(model.adapter_rule);
  for (const auto& group : model.groups) {
    auto* g = m.add_groups();
    g->set_id(group.id);
    g->set_kind(static_cast<v1::GroupKind>(group.kind));
    for (uint32_t layer : group.layers) g->add_layers(layer);
    g->set_kv_heads(group.kv_heads);
    g->set_head_dim_k(group.head_dim_k);
    g->set_head_dim_v(group.head_dim_v);
    g->set_window_tokens(group.window_tokens);
    g->set_dtype(static_cast<v1::DType>(group.dtype));
    g->set_optional(group.optional);
  }
  m.set_rope_scheme(model.rope_scheme);
  m.set_rope_scaling(model.rope_scaling);
  m.set_k_before_rope(model.k_before_rope);
  m.set_fp8_scales(model.fp8_scales);
  m.set_tokens_per_block(model.tokens_per_block);
  return m;
}

ShardRange FromProto(const v1::Shard& m) {
  return {m.group(), m.head_begin(), m.head_count(), m.layer_begin(), m.layer_count()};
}

v1::Shard ToProto(const ShardRange& shard) {
  v1::Shard m;
  m.set_group(shard.group);
  m.set_head_begin(shard.head_begin);
  m.set_head_count(shard.head_count);
  m.set_layer_begin(shard.layer_begin);
  m.set_layer_count(shard.layer_count);
  return m;
}

Generation FromProto(const v1::Generation& m) { return {m.epoch(), m.counter()}; }

v1::Generation ToProto(const Generation& generation) {
  v1::Generation m;
  m.set_epoch(generation.epoch);
  m.set_counter(generation.counter);
  return m;
}

v1::TensorKind ToProto(Tensor tensor) { return tensor == Tensor::kK ? v1::TENSOR_K : v1::TENSOR_V; }

absl::StatusOr<Tensor> FromProto(v1::TensorKind kind) {
  if (kind == v1::TENSOR_K) return Tensor::kK;
  if (kind == v1::TENSOR_V) return Tensor::kV;
  return absl::InvalidArgumentError("tensor is neither K nor V");
}

absl::StatusOr<BlockKey> KeyFromProto(std::string_view key, std::string_view cache_salt) {
  if (cache_salt.size() > kMaxSaltBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cache_salt is longer than ", kMaxSaltBytes, " bytes"));
  }
  auto out = BlockKey::FromBytes(key);
  if (!out.ok()) return out.status();
  return SaltedKey(*out, cache_salt);
}

absl::StatusOr<std::vector<BlockKey>> KeysFromProto(
    const google::protobuf::RepeatedPtrField<std::string>& keys, std::string_view cache_salt) {
  std::vector<BlockKey> out;
  out.reserve(keys.size());
  for (int i = 0; i < keys.size(); ++i) {
    auto key = KeyFromProto(keys[i], cache_salt);
    if (!key.ok()) return absl::InvalidArgumentError(absl::StrCat("keys[", i, "]: ", key.status().message()));
    out.push_back(*key);
  }
  return out;
}

absl::Status CheckHello(const v1::Hello& other, uint64_t features) {
  if (other.protocol_major() != kProtocolMajor) {
    return absl::UnimplementedError(absl::StrFormat(
        "protocol version %d.%d is not spoken here, only %d.%d; use matching releases of daemon "
        "and client",
        other.protocol_major(), other.protocol_minor(), kProtocolMajor, kProtocolMinor));
  }
  if (const uint64_t missing = other.required_features() & ~features; missing != 0) {
    return absl::UnimplementedError(
        absl::StrFormat("feature bits 0x%x are required by the other end and not known here; upgrade this "
                        "end, or turn them off "
                        "there",
                        missing));
  }
  return absl::OkStatus();
}

v1::Hello MakeHello(std::string_view software, uint64_t features, uint64_t required_features) {
  v1::Hello hello;
  hello.set_protocol_major(kProtocolMajor);
  hello.set_protocol_minor(kProtocolMinor);
  hello.set_features(features);
  hello.set_required_features(required_features);
  hello.set_software(std::string(software));
  for (uint32_t version : kFormatVersions) hello.add_format_versions(version);
  return hello;
}

}  // namespace kvcompd
