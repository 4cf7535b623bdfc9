// NamespaceSession: an opened namespace as the client's calls see it: its id, which a restarted daemon has to
// be told again, and what stands around every call.
//
// Internal to the client. Thread-safe.
//
//   SessionCall call(session, Repeat::kTransport, session->core().DeadlineOf(0, 5000), options.cancel);
//   for (;;) {
//     request.set_namespace_id(call.StartAttempt());
//     ... an attempt that call.token() cancels; where it failed:
//     if (auto s = call.Next(end); !s.ok()) return s;    // OK: go again
//   }
#ifndef KVCOMPD_CLIENT_NAMESPACE_SESSION_H_
#define KVCOMPD_CLIENT_NAMESPACE_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/byte_stream.h"
#include "client/call_scope.h"
#include "client/cancellation.h"
#include "client/client_core.h"
#include "client/codebook_cache.h"
#include "client/namespace_state.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/mutex.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::client {

class NamespaceSession : public std::enable_shared_from_this<NamespaceSession> {
 public:
  static absl::StatusOr<std::shared_ptr<NamespaceSession>> Open(std::shared_ptr<ClientCore> core,
                                                                const ModelDescriptor& model,
                                                                const v1::NamespacePolicy& policy);
  // Of the namespace of this name, whose model the daemon tells.
  static absl::StatusOr<std::shared_ptr<NamespaceSession>> Attach(std::shared_ptr<ClientCore> core,
                                                                  const std::string& tenant,
                                                                  const std::string& name);

  ClientCore& core() { return *core_; }
  const ModelDescriptor& model() const { return model_; }
  const Fingerprint& fingerprint() const { return fingerprint_; }
  NamespaceState state() const;
  CodebookCache& codebooks() { return codebooks_; }

  // Opens the namespace again unless somebody has since it was open `seen_opens` times. A daemon that has
  // forgotten it is told the policy that the last one told, which may not be the one that the caller asked
  // for.
  absl::Status Reopen(uint64_t seen_opens, const Deadline& deadline,
                      const std::shared_ptr<Cancellation>& cancel);
  // The profile of the policy, as the daemon says in passing; nothing changes where it is empty.
  void LearnProfile(const std::string& profile);

  ByteStream::Options StreamOptions(std::string method, const Deadline& deadline,
                                    const std::shared_ptr<Cancellation>& cancel) const;
  absl::StatusOr<std::string> FetchCodebooks(const std::string& id, const Deadline& deadline,
                                             const std::shared_ptr<Cancellation>& cancel);

 private:
  NamespaceSession(std::shared_ptr<ClientCore> core, std::string tenant, std::string name,
                   const ModelDescriptor& model, const v1::NamespacePolicy& policy);
  absl::Status OpenOnce(const Deadline& deadline, const std::shared_ptr<Cancellation>& cancel);
  absl::Status Take(const v1::OpenNamespaceResponse& reply);

  const std::shared_ptr<ClientCore> core_;
  const std::string tenant_;
  const std::string name_;
  const ModelDescriptor model_;
  const Fingerprint fingerprint_;
  const v1::NamespacePolicy policy_;  // as the caller wants it where the first opening registers it
  CodebookCache codebooks_;

  mutable Mutex mutex_;
  CondVar cond_;
  bool opening_ ABSL_GUARDED_BY(mutex_) = false;
  NamespaceState state_ ABSL_GUARDED_BY(mutex_);
};

// One call's attempts: retries by RetryState, and the reopening of the namespace.
class SessionCall {
 public:
  SessionCall(std::shared_ptr<NamespaceSession> session, Repeat repeat, const Deadline& deadline,
              const std::shared_ptr<Cancellation>& cancel);

  const Deadline& deadline() const { return deadline_; }
  const std::shared_ptr<CallScope>& scope() const { return scope_; }
  const std::shared_ptr<Cancellation>& token() const { return scope_->token(); }
  // The namespace's id for this attempt.
  std::string StartAttempt();
  // OK: attempt again. Else what to give the caller.
  absl::Status Next(const ByteStream::End& failed);
  void Progress();

 private:
  static constexpr uint32_t kMaxReopens = 3;
  const std::shared_ptr<NamespaceSession> session_;
  const Deadline deadline_;
  const std::shared_ptr<CallScope> scope_;  // a stream that the call opened keeps it
  RetryState retry_;
  uint64_t seen_opens_ = 0;
  uint32_t reopens_ = 0;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_NAMESPACE_SESSION_H_
