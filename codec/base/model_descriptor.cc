#include "codec/base/model_descriptor.h"

#include <algorithm>
#include <set>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"

namespace kvcompd {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kModelTag = "kvcompd.model.v1\0"sv;  // the closing NUL is part of it
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxFp8ScaleBytes = 4096;
constexpr size_t kMaxGroups = 16;

absl::Status OutOfRange(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
}

absl::Status CheckLength(absl::string_view field, const std::string& text, size_t max) {
  if (text.size() <= max) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat(text.size(), " bytes, at most ", max));
}

absl::Status CheckRange(absl::string_view field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat(value, " is not from ", low, " to ", high));
}

absl::Status CheckLayers(absl::string_view field, const std::vector<uint32_t>& layers,
                         std::set<uint32_t>* taken) {
  if (absl::Status s = CheckRange(absl::StrCat(field, " count"), layers.size(), 1, kMaxLayers); !s.ok())
    return s;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (absl::Status s = CheckRange(field, layers[i], 0, kMaxLayerNumber); !s.ok()) return s;
    if (i > 0 && layers[i] <= layers[i - 1]) return OutOfRange(field, "not ascending");
    if (!taken->insert(layers[i]).second) {
      return OutOfRange(field, absl::StrCat("layer ", layers[i], " stands in another group too"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHeadDims(absl::string_view at, const AttentionGroup& g) {
  const bool opaque = g.kind == GroupKind::kOpaque;
  const uint32_t low = opaque ? 1 : kMinHeadDim;
  const uint32_t high = opaque ? kMaxOpaqueBytes : kMaxHeadDim;
  if (absl::Status s = CheckRange(absl::StrCat(at, "head_dim_k"), g.head_dim_k, low, high); !s.ok()) return s;
  if (g.head_dim_v == 0) {
    if (opaque || g.kind == GroupKind::kMla) return absl::OkStatus();
    return OutOfRange(absl::StrCat(at, "head_dim_v"), "0 is for MLA and opaque groups only");
  }
  if (opaque || g.kind == GroupKind::kMla) {
    return OutOfRange(absl::StrCat(at, "head_dim_v"), "an MLA or opaque group has no V");
  }
  return CheckRange(absl::StrCat(at, "head_dim_v"), g.head_dim_v, low, high);
}

absl::Status CheckGroup(absl::string_view at, const AttentionGroup& g, std::set<uint32_t>* layers) {
  if (absl::Status s = CheckRange(absl::StrCat(at, "id"), g.id, 0, 255); !s.ok()) return s;
  if (absl::Status s = CheckRange(absl::StrCat(at, "kind"), static_cast<uint8_t>(g.kind), 1, 4); !s.ok())
    return s;
  if (absl::Status s = CheckLayers(absl::StrCat(at, "layers"), g.layers, layers); !s.ok()) return s;
  if (absl::Status s = CheckRange(absl::StrCat(at, "kv_heads"), g.kv_heads, 1, kMaxHeads); !s.ok()) return s;
  if (ElementBytes(g.dtype) == 0) return OutOfRange(absl::StrCat(at, "dtype"), "not a dtype");
  if ((g.dtype == DType::kOpaque) != (g.kind == GroupKind::kOpaque)) {
    return OutOfRange(absl::StrCat(at, "dtype"), "opaque groups, and only they, have dtype opaque");
  }
  if (absl::Status s = CheckHeadDims(at, g); !s.ok()) return s;
  if ((g.kind == GroupKind::kSlidingWindow) != (g.window_tokens != 0)) {
    return OutOfRange(absl::StrCat(at, "window_tokens"), "set for sliding-window groups, and only for them");
  }
  return absl::OkStatus();
}

void WriteString(ByteWriter* w, std::string_view text) {
  w->U32(static_cast<uint32_t>(text.size()));
  w->Bytes(text);
}

}  // namespace

absl::Status ModelDescriptor::Validate() const {
  if (model_id.empty()) return OutOfRange("model_id", "empty");
  const std::pair<absl::string_view, const std::string*> names[] = {{"model_id", &model_id},
                                                                    {"weights_version", &weights_version},
                                                                    {"adapter_rule", &adapter_rule},
                                                                    {"rope_scheme", &rope_scheme},
                                                                    {"rope_scaling", &rope_scaling}};
  for (const auto& [field, text] : names) {
    if (absl::Status s = CheckLength(field, *text, kMaxNameBytes); !s.ok()) return s;
  }
  if (absl::Status s = CheckLength("fp8_scales", fp8_scales, kMaxFp8ScaleBytes); !s.ok()) return s;
  if (absl::Status s = CheckRange("groups count", groups.size(), 1, kMaxGroups); !s.ok()) return s;
  std::set<uint32_t> ids, layers;
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string at = absl::StrCat("groups[", i, "].");
    if (absl::Status s = CheckGroup(at, groups[i], &layers); !s.ok()) return s;
    if (!ids.insert(groups[i].id).second) return OutOfRange(absl::StrCat(at, "id"), "not unique");
  }
  const uint32_t t = tokens_per_block;
  if (t != 16 && t != 32 && (t == 0 || t % kTileTokens != 0 || t > kMaxBlockTokens)) {
    return OutOfRange("tokens_per_block", absl::StrCat(t, " is not 16, 32 or a multiple of 64 up to 1024"));
  }
  return absl::OkStatus();
}

std::string ModelDescriptor::CanonicalBytes() const {
  std::string out;
  ByteWriter w(&out);
  w.Bytes(kModelTag);
  WriteString(&w, model_id);
  WriteString(&w, weights_version);
  WriteString(&w, adapter_rule);
  w.U32(static_cast<uint32_t>(groups.size()));
  for (const AttentionGroup& g : groups) {
    w.U32(g.id);
    w.U8(static_cast<uint8_t>(g.kind));
    w.U32(static_cast<uint32_t>(g.layers.size()));
    for (uint32_t layer : g.layers) w.U32(layer);
    w.U32(g.kv_heads);
    w.U32(g.head_dim_k);
    w.U32(g.head_dim_v);
    w.U32(g.window_tokens);
    w.U8(static_cast<uint8_t>(g.dtype));
    w.U8(g.optional ? 1 : 0);
  }
  WriteString(&w, rope_scheme);
  WriteString(&w, rope_scaling);
  w.U8(k_before_rope ? 1 : 0);
  WriteString(&w, fp8_scales);
  w.U32(tokens_per_block);
  return out;
}

kvcompd::Fingerprint ModelDescriptor::Fingerprint() const { return Sha256(CanonicalBytes()); }

const AttentionGroup* ModelDescriptor::FindGroup(uint32_t id) const {
  const auto it =
      std::find_if(groups.begin(), groups.end(), [id](const AttentionGroup& g) { return g.id == id; });
  return it == groups.end() ? nullptr : &*it;
}

absl::StatusOr<ShardRange> ModelDescriptor::ResolveShard(const ShardRange& shard) const {
  const AttentionGroup* group = FindGroup(shard.group);
  if (group == nullptr)
    return OutOfRange("shard.group", absl::StrCat("the model has no group ", shard.group));
  const uint32_t layers = static_cast<uint32_t>(group->layers.size());
  if (shard.head_begin >= group->kv_heads || shard.head_count > group->kv_heads - shard.head_begin) {
    return OutOfRange("shard heads", absl::StrCat("[", shard.head_begin, ", +", shard.head_count,
                                                  ") of group ", group->id, "'s ", group->kv_heads));
  }
  if (shard.layer_begin >= layers || shard.layer_count > layers - shard.layer_begin) {
    return OutOfRange("shard layers", absl::StrCat("[", shard.layer_begin, ", +", shard.layer_count,
                                                   ") of group ", group->id, "'s ", layers));
  }
  ShardRange resolved = shard;
  if (resolved.head_count == 0) resolved.head_count = group->kv_heads - shard.head_begin;
  if (resolved.layer_count == 0) resolved.layer_count = layers - shard.layer_begin;
  return resolved;
}

std::vector<std::string> DifferingFields(const ModelDescriptor& a, const ModelDescriptor& b) {
  std::vector<std::string> fields;
  const auto compare = [&fields](std::string name, const auto& x, const auto& y) {
    if (!(x == y)) fields.push_back(std::move(name));
  };
  compare("model_id", a.model_id, b.model_id);
  compare("weights_version", a.weights_version, b.weights_version);
  compare("adapter_rule", a.adapter_rule, b.adapter_rule);
  compare("groups.size", a.groups.size(), b.groups.size());
  for (size_t i = 0; i < std::min(a.groups.size(), b.groups.size()); ++i) {
    const AttentionGroup& x = a.groups[i];
    const AttentionGroup& y = b.groups[i];
    const std::string at = absl::StrCat("groups[", i, "].");
    compare(at + "id", x.id, y.id);
    compare(at + "kind", x.kind, y.kind);
    compare(at + "layers", x.layers, y.layers);
    compare(at + "kv_heads", x.kv_heads, y.kv_heads);
    compare(at + "head_dim_k", x.head_dim_k, y.head_dim_k);
    compare(at + "head_dim_v", x.head_dim_v, y.head_dim_v);
    compare(at + "window_tokens", x.window_tokens, y.window_tokens);
    compare(at + "dtype", x.dtype, y.dtype);
    compare(at + "optional", x.optional, y.optional);
  }
  compare("rope_scheme", a.rope_scheme, b.rope_scheme);
  compare("rope_scaling", a.rope_scaling, b.rope_scaling);
  compare("k_before_rope", a.k_before_rope, b.k_before_rope);
  compare("fp8_scales", a.fp8_scales, b.fp8_scales);
  compare("tokens_per_block", a.tokens_per_block, b.tokens_per_block);
  return fields;
}

}  // namespace kvcompd
