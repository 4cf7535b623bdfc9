#include "client/lease_guard.h"

#include <utility>

#include "client/namespace_session.h"
#include "client/unary_call.h"

namespace kvcompd::client {
namespace {

// Of a release that nobody waits for: a lease that it does not end, its TTL does.
constexpr uint32_t kBackgroundMs = 1'000;

absl::StatusOr<bool> ReleaseLease(const std::shared_ptr<NamespaceSession>& session, const std::string& id,
                                  Repeat repeat, const Deadline& deadline) {
  v1::ReleaseRequest request;
  v1::ReleaseResponse response;
  request.set_lease_id(id);
  if (auto s = CallUnary(session, &v1::KvCache::Stub::Release, "release", repeat, deadline,
                         /*cancel=*/nullptr, &request, &response);
      !s.ok()) {
    return s;
  }
  return response.released();
}

}  // namespace

LeaseGuard::LeaseGuard(std::shared_ptr<NamespaceSession> session, std::string id, uint32_t ttl_ms)
    : session_(std::move(session)), id_(std::move(id)), ttl_ms_(ttl_ms) {}

LeaseGuard::~LeaseGuard() { ReleaseInBackground(); }

LeaseGuard::LeaseGuard(LeaseGuard&& other) noexcept
    : session_(std::move(other.session_)), id_(std::exchange(other.id_, {})), ttl_ms_(other.ttl_ms_) {}

LeaseGuard& LeaseGuard::operator=(LeaseGuard&& other) noexcept {
  if (this == &other) return *this;
  ReleaseInBackground();
  session_ = std::move(other.session_);
  id_ = std::exchange(other.id_, {});
  ttl_ms_ = other.ttl_ms_;
  return *this;
}

void LeaseGuard::ReleaseInBackground() {
  if (!held()) return;
  // A queue that is full or gone is no harm: the TTL ends the lease.
  const Deadline deadline = Deadline::AfterMs(session_->core().clock(), kBackgroundMs);
  const absl::Status ignored =
      session_->core().async().Submit([session = session_, id = std::exchange(id_, {}), deadline](bool run) {
        if (run && !deadline.expired()) ReleaseLease(session, id, Repeat::kNever, deadline).IgnoreError();
      });
  ignored.IgnoreError();
}

absl::Status LeaseGuard::Renew(uint32_t ttl_ms) {
  if (!held()) return absl::FailedPreconditionError("no lease is held");
  v1::LeaseRequest request;
  v1::LeaseResponse response;
  request.set_lease_id(id_);
  request.set_ttl_ms(ttl_ms != 0 ? ttl_ms : ttl_ms_);
  const Deadline deadline = session_->core().DeadlineOf(0, session_->core().options().deadlines.lookup_ms);
  const absl::Status status =
      CallUnary(session_, &v1::KvCache::Stub::Lease, "renew lease", Repeat::kTransport, deadline,
                /*cancel=*/nullptr, &request, &response);
  if (status.ok()) ttl_ms_ = response.ttl_ms();
  if (absl::IsFailedPrecondition(status) || absl::IsNotFound(status)) id_.clear();
  return status;
}

absl::StatusOr<bool> LeaseGuard::Release() {
  if (!held()) return false;
  const Deadline deadline = session_->core().DeadlineOf(0, session_->core().options().deadlines.lookup_ms);
  return ReleaseLease(session_, std::exchange(id_, {}), Repeat::kTransport, deadline);
}

std::string LeaseGuard::Detach() { return std::exchange(id_, {}); }

}  // namespace kvcompd::client
