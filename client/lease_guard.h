// LeaseGuard: keeps leased blocks until it goes; Lease and Match give it. One thread at a time; movable.
//
//   auto match = ns->Match(keys, {.lease = true});
//   ns->GetBlocks(blocks, {.lease_id = match->lease.id()});
//   match->lease.Release();                       // or let it go out of scope
#ifndef KVCOMPD_CLIENT_LEASE_GUARD_H_
#define KVCOMPD_CLIENT_LEASE_GUARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"

namespace kvcompd::client {

class NamespaceSession;

class LeaseGuard {
 public:
  LeaseGuard() = default;  // holds nothing
  LeaseGuard(std::shared_ptr<NamespaceSession> session, std::string id, uint32_t ttl_ms);
  // Releases in the background: one attempt of a second at most; where that is lost, the TTL ends the lease.
  ~LeaseGuard();
  LeaseGuard(LeaseGuard&& other) noexcept;
  LeaseGuard& operator=(LeaseGuard&& other) noexcept;

  bool held() const { return !id_.empty(); }
  const std::string& id() const { return id_; }
  uint32_t ttl_ms() const { return ttl_ms_; }

  // Starts the TTL anew. FAILED_PRECONDITION: it had ended; the guard then holds nothing.
  absl::Status Renew(uint32_t ttl_ms = 0);
  // False: it had ended already.
  absl::StatusOr<bool> Release();
  // Gives up the duty to release.
  std::string Detach();

 private:
  void ReleaseInBackground();
  std::shared_ptr<NamespaceSession> session_;
  std::string id_;
  uint32_t ttl_ms_ = 0;
};

struct MatchResult {
  uint32_t matched_blocks = 0;
  uint64_t matched_tokens = 0;
  std::vector<BlockInfo> blocks;  // [matched_blocks]
  LeaseGuard lease;               // where it was asked for and something matched
  struct Window {
    uint32_t group = 0;
    std::vector<bool> present;  // [keys]
  };
  std::vector<Window> windows;
};

struct LeaseResult {
  LeaseGuard lease;
  std::vector<BlockOutcome> blocks;  // a key that is not stored is NOT_FOUND and not leased
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_LEASE_GUARD_H_
