// Which heads x layers of a block a set of shards covers.
//
// Called by the store's put, read and index code. Pure functions over resolved shards (no count is 0).
//
//   bool stored = Covers(ranges_stored, wanted);          // wanted is within the union
//   bool visible = CoversBlock(ns->descriptor(), ranges_stored);
#ifndef KVCOMPD_SERVER_STORE_COVERAGE_H_
#define KVCOMPD_SERVER_STORE_COVERAGE_H_

#include <span>

#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"

namespace kvcompd::server {

// Whether every head and layer of `inner` is in `outer`.
bool Contains(const ShardRange& outer, const ShardRange& inner);
// Whether every head and layer of `wanted` is in one of `stored`.
bool Covers(std::span<const ShardRange> stored, const ShardRange& wanted);
// Whether all heads and layers of all non-optional groups are.
bool CoversBlock(const ModelDescriptor& descriptor, std::span<const ShardRange> stored);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_COVERAGE_H_
