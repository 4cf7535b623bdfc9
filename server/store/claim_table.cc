#include "server/store/claim_table.h"

#include <algorithm>

#include "server/store/coverage.h"

namespace kvcompd::server {

ClaimTable::Outcome ClaimTable::Begin(const Namespace* ns, const BlockKey& key, const ShardRange& range,
                                      const std::string& put_id, uint64_t number, int64_t now_us) {
  Claims& claims = claims_[Block(ns, key)];
  for (Claim& claim : claims) {
    const bool own = !put_id.empty() && claim.put_id == put_id;
    if (own && claim.range == range) {
      claim.number = number;
      claim.touched_us = now_us;
      return Outcome::kTakenOver;
    }
    if (!own && Contains(claim.range, range)) return Outcome::kInProgress;
  }
  claims.push_back({number, now_us, range, put_id});
  return Outcome::kClaimed;
}

bool ClaimTable::Claimed(const Namespace* ns, const BlockKey& key, const ShardRange& range,
                         const std::string& put_id) const {
  auto it = claims_.find(Block(ns, key));
  if (it == claims_.end()) return false;
  return std::any_of(it->second.begin(), it->second.end(), [&](const Claim& claim) {
    return (put_id.empty() || claim.put_id != put_id) && Contains(claim.range, range);
  });
}

bool ClaimTable::Touch(const Namespace* ns, const BlockKey& key, uint64_t number, int64_t now_us) {
  auto it = claims_.find(Block(ns, key));
  if (it == claims_.end()) return false;
  for (Claim& claim : it->second) {
    if (claim.number != number) continue;
    claim.touched_us = now_us;
    return true;
  }
  return false;
}

bool ClaimTable::End(const Namespace* ns, const BlockKey& key, uint64_t number) {
  auto it = claims_.find(Block(ns, key));
  if (it == claims_.end()) return false;
  Claims& claims = it->second;
  auto claim = std::find_if(claims.begin(), claims.end(), [&](const Claim& c) { return c.number == number; });
  if (claim == claims.end()) return false;
  claims.erase(claim);
  if (claims.empty()) claims_.erase(it);
  return true;
}

template <typename Pred>
size_t ClaimTable::DropIf(Pred pred) {
  size_t dropped = 0;
  for (auto it = claims_.begin(); it != claims_.end();) {
    Claims& claims = it->second;
    const size_t before = claims.size();
    auto rest = std::remove_if(claims.begin(), claims.end(),
                               [&](const Claim& claim) { return pred(it->first, claim); });
    claims.erase(rest, claims.end());
    dropped += before - claims.size();
    if (claims.empty()) {
      claims_.erase(it++);
    } else {
      ++it;
    }
  }
  return dropped;
}

size_t ClaimTable::DropAllOf(const Namespace* ns) {
  return DropIf([ns](const Block& block, const Claim&) { return block.first == ns; });
}

size_t ClaimTable::DropUntouchedSince(int64_t cutoff_us) {
  return DropIf([cutoff_us](const Block&, const Claim& claim) { return claim.touched_us <= cutoff_us; });
}

}  // namespace kvcompd::server
