#include "server/store/block.h"

#include <algorithm>

namespace kvcompd::server {

uint64_t BlockSnapshot::encoded_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->container().size();
  return sum;
}

uint64_t BlockSnapshot::charged_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->slot.charged_bytes();
  return sum;
}

uint64_t BlockSnapshot::raw_bytes() const {
  uint64_t sum = 0;
  for (const auto& shard : shards) sum += shard->raw_bytes;
  return sum;
}

float BlockSnapshot::error_bound() const {
  float largest = 0;
  for (const auto& shard : shards) largest = std::max(largest, shard->error_bound);
  return largest;
}

}  // namespace kvcompd::server
