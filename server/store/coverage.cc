#include "server/store/coverage.h"

#include <algorithm>
#include <vector>

namespace kvcompd::server {
namespace {

uint32_t HeadEnd(const ShardRange& r) { return r.head_begin + r.head_count; }
uint32_t LayerEnd(const ShardRange& r) { return r.layer_begin + r.layer_count; }

// Appends what is left of `from` without `cut`: up to four rectangles, those before and after it in layers,
// then, between these, those before and after it in heads.
void Subtract(const ShardRange& from, const ShardRange& cut, std::vector<ShardRange>* left) {
  const uint32_t head_begin = std::max(from.head_begin, cut.head_begin);
  const uint32_t head_end = std::min(HeadEnd(from), HeadEnd(cut));
  const uint32_t layer_begin = std::max(from.layer_begin, cut.layer_begin);
  const uint32_t layer_end = std::min(LayerEnd(from), LayerEnd(cut));
  if (head_begin >= head_end || layer_begin >= layer_end) {
    left->push_back(from);
    return;
  }
  auto add = [&](uint32_t heads_from, uint32_t heads_to, uint32_t layers_from, uint32_t layers_to) {
    if (heads_from >= heads_to || layers_from >= layers_to) return;
    left->push_back({from.group, heads_from, heads_to - heads_from, layers_from, layers_to - layers_from});
  };
  add(from.head_begin, HeadEnd(from), from.layer_begin, layer_begin);
  add(from.head_begin, HeadEnd(from), layer_end, LayerEnd(from));
  add(from.head_begin, head_begin, layer_begin, layer_end);
  add(head_end, HeadEnd(from), layer_begin, layer_end);
}

}  // namespace

bool Contains(const ShardRange& outer, const ShardRange& inner) {
  return outer.group == inner.group && outer.head_begin <= inner.head_begin &&
         HeadEnd(inner) <= HeadEnd(outer) && outer.layer_begin <= inner.layer_begin &&
         LayerEnd(inner) <= LayerEnd(outer);
}

bool Covers(std::span<const ShardRange> stored, const ShardRange& wanted) {
  std::vector<ShardRange> missing = {wanted};
  std::vector<ShardRange> next;
  for (const ShardRange& shard : stored) {
    if (shard.group != wanted.group) continue;
    next.clear();
    for (const ShardRange& part : missing) Subtract(part, shard, &next);
    missing.swap(next);
    if (missing.empty()) return true;
  }
  return false;
}

bool CoversBlock(const ModelDescriptor& descriptor, std::span<const ShardRange> stored) {
  for (const AttentionGroup& group : descriptor.groups) {
    if (group.optional) continue;
    const ShardRange all{group.id, 0, group.kv_heads, 0, static_cast<uint32_t>(group.layers.size())};
    if (!Covers(stored, all)) return false;
  }
  return true;
}

}  // namespace kvcompd::server
