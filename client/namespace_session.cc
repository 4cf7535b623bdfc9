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

v1::OpenNamespaceRequest RequestOf(const ClientCore& core, const std::string& tenant,
                                   const std::string& name) {
  v1::OpenNamespaceRequest request;
  *request.mutable_hello() = MakeHello(core.options().software, kFeatures, /*required_features=*/0);
  request.set_tenant(tenant);
  request.set_name(name);
  return request;
}

absl::Status CallOpen(ClientCore& core, const Deadline& deadline, const std::shared_ptr<Cancellation>& cancel,
                      const v1::OpenNamespaceRequest& request, v1::OpenNamespaceResponse* reply) {
  return CallPlain(core, &Lane::kv, &v1::KvCache::Stub::OpenNamespace, "open namespace", Repeat::kTransport,
                   deadline, cancel, request, reply);
}

absl::Status CheckReply(const v1::OpenNamespaceResponse& reply, const Fingerprint& fingerprint) {
  if (auto status = CheckHello(reply.hello(), kFeatures); !status.ok()) return status;
  if (reply.fingerprint() != fingerprint.view()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the daemon computes fingerprint ", HexOf(reply.fingerprint()),
                     " for this model, the client ", fingerprint.Hex(), "; use matching releases"));
  }
  if (reply.namespace_id().size() != 16)
    return absl::InternalError("the daemon's namespace_id is not 16 bytes");
  return absl::OkStatus();
}

}  // namespace

NamespaceSession::NamespaceSession(std::shared_ptr<ClientCore> core, std::string tenant, std::string name,
                                   const ModelDescriptor& model, const v1::NamespacePolicy& policy)
    : core_(std::move(core)),
      tenant_(std::move(tenant)),
      name_(std::move(name)),
      model_(model),
      fingerprint_(model.Fingerprint()),
      policy_(policy),
      codebooks_(fingerprint_, core_->clock(), int64_t{core_->options().codebook_refresh_ms} * 1000,
                 [this](const std::string& id, const Deadline& deadline,
                        const std::shared_ptr<Cancellation>& cancel) {
                   return FetchCodebooks(id, deadline, cancel);
                 }) {}

absl::StatusOr<std::shared_ptr<NamespaceSession>> NamespaceSession::Open(std::shared_ptr<ClientCore> core,
                                                                         const ModelDescriptor& model,
                                                                         const v1::NamespacePolicy& policy) {
  if (auto status = model.Validate(); !status.ok()) return status;
  const Deadline deadline = core->DeadlineOf(0, core->options().deadlines.open_ms);
  const std::string tenant = core->options().tenant, name = core->options().name;
  std::shared_ptr<NamespaceSession> session(
      new NamespaceSession(std::move(core), tenant, name, model, policy));
  if (auto status = session->Reopen(/*seen_opens=*/0, deadline, nullptr); !status.ok()) return status;
  return session;
}

absl::StatusOr<std::shared_ptr<NamespaceSession>> NamespaceSession::Attach(std::shared_ptr<ClientCore> core,
                                                                           const std::string& tenant,
                                                                           const std::string& name) {
  if (name.empty()) return absl::InvalidArgumentError("attach: the namespace's name is empty");
  const Deadline deadline = core->DeadlineOf(0, core->options().deadlines.open_ms);
  v1::OpenNamespaceResponse reply;
  if (auto s = CallOpen(*core, deadline, nullptr, RequestOf(*core, tenant, name), &reply); !s.ok()) return s;
  if (!reply.has_model()) {
    return absl::UnimplementedError(
        "open namespace: the daemon does not tell the model of a namespace that is named; upgrade it");
  }
  auto model = ModelFromProto(reply.model());
  if (!model.ok()) {
    return absl::InternalError(
        absl::StrCat("open namespace: the daemon's model: ", model.status().message()));
  }
  std::shared_ptr<NamespaceSession> session(
      new NamespaceSession(std::move(core), tenant, name, *model, reply.policy()));
  if (auto status = session->Take(reply); !status.ok()) return status;
  return session;
}

NamespaceState NamespaceSession::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

void NamespaceSession::LearnProfile(const std::string& profile) {
  if (profile.empty()) return;
  MutexLock lock(&mutex_);
  if (state_.policy.profile() != profile) state_.policy.set_profile(profile);
}

absl::Status NamespaceSession::Reopen(uint64_t seen_opens, const Deadline& deadline,
                                      const std::shared_ptr<Cancellation>& cancel) {
  {
    const Cancellation::Link wakes(cancel, [this] {
      MutexLock lock(&mutex_);
      cond_.SignalAll();
    });
    MutexLock lock(&mutex_);
    while (opening_ && state_.opens == seen_opens) {
      if (cancel != nullptr && cancel->cancelled()) return absl::CancelledError("the call was cancelled");
      const int64_t left_us = deadline.RemainingUs();
      if (left_us <= 0) return absl::DeadlineExceededError("the namespace is being opened by another thread");
      cond_.WaitFor(&mutex_, absl::Microseconds(left_us));
    }
    if (state_.opens != seen_opens) return absl::OkStatus();
    opening_ = true;
  }
  const absl::Status status = OpenOnce(deadline, cancel);
  MutexLock lock(&mutex_);
  opening_ = false;
  cond_.SignalAll();
  return status;
}

absl::Status NamespaceSession::OpenOnce(const Deadline& deadline,
                                        const std::shared_ptr<Cancellation>& cancel) {
  v1::OpenNamespaceRequest request = RequestOf(*core_, tenant_, name_);
  *request.mutable_model() = ToProto(model_);
  {
    MutexLock lock(&mutex_);
    *request.mutable_policy() = state_.opens > 0 ? state_.policy : policy_;
  }
  v1::OpenNamespaceResponse reply;
  if (auto status = CallOpen(*core_, deadline, cancel, request, &reply); !status.ok()) return status;
  return Take(reply);
}

absl::Status NamespaceSession::Take(const v1::OpenNamespaceResponse& reply) {
  if (auto status = CheckReply(reply, fingerprint_); !status.ok()) return WithVerb("open namespace", status);
  bool another_store = false;
  {
    MutexLock lock(&mutex_);
    another_store = state_.opens > 0 && state_.epoch != reply.epoch();
    if (state_.opens == 0) state_.created = reply.created();
    state_.id = reply.namespace_id();
    state_.fingerprint = fingerprint_;
    state_.epoch = reply.epoch();
    state_.policy = reply.policy();
    state_.limits = reply.limits();
    state_.codebook_set = reply.codebook_set();
    ++state_.opens;
  }
  if (another_store) codebooks_.ForgetCurrent();
  return absl::OkStatus();
}

ByteStream::Options NamespaceSession::StreamOptions(std::string method, const Deadline& deadline,
                                                    const std::shared_ptr<Cancellation>& cancel) const {
  return {.method = absl::StrCat("/kvcompd.v1.KvCache/", method),
          .deadline = deadline,
          .read_ahead = core_->options().read_ahead_messages,
          .write_ahead = core_->options().write_ahead_messages,
          .cancel = cancel};
}

absl::StatusOr<std::string> NamespaceSession::FetchCodebooks(const std::string& id, const Deadline& deadline,
                                                             const std::shared_ptr<Cancellation>& cancel) {
  v1::GetCodebooksRequest request;
  v1::GetCodebooksResponse response;
  request.set_set_id(id);
  if (auto status = CallUnary(shared_from_this(), &v1::KvCache::Stub::GetCodebooks, "get codebooks",
                              Repeat::kContention, deadline, cancel, &request, &response);
      !status.ok()) {
    return status;
  }
  return std::move(*response.mutable_set());
}

SessionCall::SessionCall(std::shared_ptr<NamespaceSession> session, Repeat repeat, const Deadline& deadline,
                         const std::shared_ptr<Cancellation>& cancel)
    : session_(std::move(session)),
      deadline_(deadline),
      scope_(std::make_shared<CallScope>(&session_->core(), cancel)),
      retry_(session_->core().Retry(repeat, deadline, scope_->waiter())) {}

std::string SessionCall::StartAttempt() {
  const NamespaceState state = session_->state();
  seen_opens_ = state.opens;
  return state.id;
}

absl::Status SessionCall::Next(const ByteStream::End& failed) {
  if (failed.reopen && absl::IsFailedPrecondition(failed.status) && reopens_ < kMaxReopens &&
      !scope_->cancelled()) {
    ++reopens_;
    return session_->Reopen(seen_opens_, deadline_, token());
  }
  return scope_->Next(&retry_, failed);
}

void SessionCall::Progress() {
  reopens_ = 0;
  retry_.Progress();
}

}  // namespace kvcompd::client
