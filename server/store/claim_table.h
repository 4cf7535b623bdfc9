// ClaimTable: the puts under way in one index shard. A claim stands for one shard of one block and is known
// by its number; whoever lost it (taken over, timed out, flushed) can no longer commit.
//
// Called by the store under the index shard's lock. Not thread-safe.
//
//   if (claims.Begin(ns, key, range, put_id, number, now) == ClaimTable::Outcome::kInProgress) ...
//   bool mine = claims.End(ns, key, number);
#ifndef KVCOMPD_SERVER_STORE_CLAIM_TABLE_H_
#define KVCOMPD_SERVER_STORE_CLAIM_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "codec/base/types.h"

namespace kvcompd::server {

class Namespace;

class ClaimTable {
 public:
  enum class Outcome {
    kClaimed,
    kTakenOver,   // of the same put_id and range; the old number ends
    kInProgress,  // another put's claim contains this range
  };
  // `number` is never used again. An empty put_id takes over nothing.
  Outcome Begin(const Namespace* ns, const BlockKey& key, const ShardRange& range, const std::string& put_id,
                uint64_t number, int64_t now_us);
  // Whether Begin would answer kInProgress.
  bool Claimed(const Namespace* ns, const BlockKey& key, const ShardRange& range,
               const std::string& put_id) const;
  // Both false where the claim is gone.
  bool Touch(const Namespace* ns, const BlockKey& key, uint64_t number, int64_t now_us);
  bool End(const Namespace* ns, const BlockKey& key, uint64_t number);

  // Each returns how many went.
  size_t DropAllOf(const Namespace* ns);
  size_t DropUntouchedSince(int64_t cutoff_us);  // last touched at or before

  bool empty() const { return claims_.empty(); }

 private:
  struct Claim {
    uint64_t number;
    int64_t touched_us;
    ShardRange range;
    std::string put_id;
  };
  using Block = std::pair<const Namespace*, BlockKey>;
  using Claims = absl::InlinedVector<Claim, 1>;
  template <typename Pred>
  size_t DropIf(Pred pred);

  absl::flat_hash_map<Block, Claims> claims_;  // no list is empty
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_CLAIM_TABLE_H_
