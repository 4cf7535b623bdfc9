// ModelDescriptor: what the bytes of a KV cache mean, and the fingerprint that stands for it.
//
// The canonical form is a byte string of its own (codec/FORMAT.md, "Model descriptor"), not a protobuf, so
// that a fingerprint never changes with a library. Plain values; const use from any thread.
#ifndef KVCOMPD_CODEC_BASE_MODEL_DESCRIPTOR_H_
#define KVCOMPD_CODEC_BASE_MODEL_DESCRIPTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/types.h"

namespace kvcompd {

enum class GroupKind : uint8_t { kFull = 1, kSlidingWindow = 2, kMla = 3, kOpaque = 4 };

// Layers that share heads, head dimensions and a kind of attention.
struct AttentionGroup {
  uint32_t id = 0;  // 0 to 255, unique in the descriptor
  GroupKind kind = GroupKind::kFull;
  std::vector<uint32_t> layers;  // global layer numbers, ascending; no layer in two groups
  uint32_t kv_heads = 0;         // 1 to 1024
  uint32_t head_dim_k = 0;       // channels, 8 to 576 (opaque: bytes, 1 to 65536)
  uint32_t head_dim_v = 0;       // channels; 0: there is no V (MLA, opaque)
  uint32_t window_tokens = 0;    // sliding window only
  DType dtype = DType::kBf16;
  bool optional = false;  // Match does not ask for this group

  uint32_t head_dim(Tensor t) const { return t == Tensor::kK ? head_dim_k : head_dim_v; }
  bool has(Tensor t) const { return head_dim(t) != 0; }
  // Bytes of one layer's K or V: [heads, tokens, channels].
  uint64_t TensorBytes(Tensor t, uint32_t heads, uint32_t tokens) const {
    return uint64_t{heads} * tokens * head_dim(t) * ElementBytes(dtype);
  }
  friend bool operator==(const AttentionGroup&, const AttentionGroup&) = default;
};

struct ModelDescriptor {
  std::string model_id;                // at most 256 bytes, not empty
  std::string weights_version;         // at most 256 bytes
  std::string adapter_rule;            // at most 256 bytes
  std::vector<AttentionGroup> groups;  // 1 to 16
  std::string rope_scheme = "none";
  std::string rope_scaling;
  bool k_before_rope = false;
  std::string fp8_scales;          // at most 4096 bytes
  uint32_t tokens_per_block = 64;  // 16, 32, or a multiple of 64 up to 1024

  // INVALID_ARGUMENT names the first field out of range.
  absl::Status Validate() const;
  std::string CanonicalBytes() const;
  kvcompd::Fingerprint Fingerprint() const;            // SHA-256 of CanonicalBytes
  const AttentionGroup* FindGroup(uint32_t id) const;  // null where there is none
  // Checks a shard against its group and replaces counts of 0 by "all from begin on".
  // INVALID_ARGUMENT: no such group, or out of its heads or layers.
  absl::StatusOr<ShardRange> ResolveShard(const ShardRange& shard) const;

  friend bool operator==(const ModelDescriptor&, const ModelDescriptor&) = default;
};

// Names of the fields in which two descriptors differ, "groups[0].dtype" and the like; empty where equal.
std::vector<std::string> DifferingFields(const ModelDescriptor& a, const ModelDescriptor& b);

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_MODEL_DESCRIPTOR_H_
