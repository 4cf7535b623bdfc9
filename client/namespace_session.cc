#include "client/namespace_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/unary_call.h"
#include "proto/convert.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kFeatures = FeatureBit(v1::FEATURE_ENCODED_FORM) | FeatureBit(v1::FEATURE_SEQUENCES) |
                               FeatureBit(v1::FEATURE_WATCH) | FeatureBit(v1::FEATURE_LEASES);

}  // namespace

NamespaceSession::NamespaceSession(std::shared_ptr<ClientCore> core, const ModelDescriptor& model,
                                   const v1::NamespacePolicy& policy)
    : core_(std::move(core)),
      model_(model),
      fingerprint_(model.Fingerprint()),
      policy_(policy),
      codebooks_(
          fingerprint_, core_->clock(), int64_t{core_->options().codebook_refresh_ms} * 1000,
          [this](const std::string& id, const Deadline& deadline) { return FetchCodebooks(id, deadline); }) {}

absl::StatusOr<std::shared_ptr<NamespaceSession>> NamespaceSession::Open(std::shared_ptr<ClientCore> core,
                                                                         const ModelDescriptor& model,
                                                                         const v1::NamespacePolicy& policy) {
  if (auto status = model.Validate(); !status.ok()) return status;
  const Deadline deadline = core->DeadlineOf(0, core->options().deadlines.open_ms);
  std::shared_ptr<NamespaceSession> session(new NamespaceSession(std::move(core), model, policy));
  if (auto status = session->Reopen(/*seen_opens=*/0, deadline); !status.ok()) return status;
  return session;
}

NamespaceState NamespaceSession::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

absl::Status NamespaceSession::Reopen(uint64_t seen_opens, const Deadline& deadline) {
  {
    MutexLock lock(&mutex_);
    while (opening_ && state_.opens == seen_opens) {
      const int64_t left_us = deadline.RemainingUs();
      if (left_us <= 0) return absl::DeadlineExceededError("the namespace is being opened by another thread");
      cond_.WaitFor(&mutex_, absl::Microseconds(left_us));
    }
    if (state_.opens != seen_opens) return absl::OkStatus();
    opening_ = true;
  }
  const absl::Status status = OpenOnce(deadline);
  MutexLock lock(&mutex_);
  opening_ = false;
  cond_.SignalAll();
  return status;
}

absl::Status NamespaceSession::OpenOnce(const Deadline& deadline) {
  v1::OpenNamespaceRequest request;
  *request.mutable_hello() = MakeHello(core_->options().software, kFeatures, /*required_features=*/0);
  request.set_tenant(core_->options().tenant);
  request.set_name(core_->options().name);
  *request.mutable_model() = ToProto(model_);
  *request.mutable_policy() = policy_;
  v1::OpenNamespaceResponse reply;
  if (auto status = CallPlain(*core_, &Lane::kv, &v1::KvCache::Stub::OpenNamespace, "open namespace",
                              Repeat::kTransport, deadline, request, &reply);
      !status.ok()) {
    return status;
  }
  if (auto status = CheckReply(reply); !status.ok()) return WithVerb("open namespace", status);
  MutexLock lock(&mutex_);
  if (state_.opens == 0) state_.created = reply.created();
  state_.id = reply.namespace_id();
  state_.fingerprint = fingerprint_;
  state_.epoch = reply.epoch();
  state_.policy = reply.policy();
  state_.limits = reply.limits();
  state_.codebook_set = reply.codebook_set();
  ++state_.opens;
  return absl::OkStatus();
}

absl::Status NamespaceSession::CheckReply(const v1::OpenNamespaceResponse& reply) const {
  if (auto status = CheckHello(reply.hello(), kFeatures); !status.ok()) return status;
  if (reply.fingerprint() != fingerprint_.view()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the daemon computes fingerprint ", HexOf(reply.fingerprint()),
                     " for this model, the client ", fingerprint_.Hex(), "; use matching releases"));
  }
  if (reply.namespace_id().size() != 16)
    return absl::InternalError("the daemon's namespace_id is not 16 bytes");
  return absl::OkStatus();
}

ByteStream::Options NamespaceSession::StreamOptions(std::string method, const Deadline& deadline) const {
  return {.method = absl::StrCat("/kvcompd.v1.KvCache/", method),
          .deadline = deadline,
          .read_ahead = core_->options().read_ahead_messages,
          .write_ahead = core_->options().write_ahead_messages};
}

absl::StatusOr<std::string> NamespaceSession::FetchCodebooks(const std::string& id,
                                                             const Deadline& deadline) {
  v1::GetCodebooksRequest request;
  v1::GetCodebooksResponse response;
  request.set_set_id(id);
  if (auto status = CallUnary(shared_from_this(), &v1::KvCache::Stub::GetCodebooks, "get codebooks",
                              Repeat::kContention, deadline, &request, &response);
      !status.ok()) {
    return status;
  }
  return std::move(*response.mutable_set());
}

SessionCall::SessionCall(std::shared_ptr<NamespaceSession> session, Repeat repeat, const Deadline& deadline)
    : session_(std::move(session)), deadline_(deadline), retry_(session_->core().Retry(repeat, deadline)) {}

std::string SessionCall::StartAttempt() {
  const NamespaceState state = session_->state();
  seen_opens_ = state.opens;
  return state.id;
}

absl::Status SessionCall::Next(const absl::Status& failed, bool reopen) {
  if (reopen && absl::IsFailedPrecondition(failed) && reopens_ < kMaxReopens) {
    ++reopens_;
    return session_->Reopen(seen_opens_, deadline_);
  }
  return retry_.Next(failed);
}

void SessionCall::Progress() {
  reopens_ = 0;
  retry_.Progress();
}

}  // namespace kvcompd::client
