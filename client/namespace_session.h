// NamespaceSession: an opened namespace as the client's calls see it: its id, which a restarted daemon has to
// be told again, and what stands around every call.
//
// Internal to the client. Thread-safe.
//
//   SessionCall call(session, Repeat::kTransport, session->core().DeadlineOf(0, 5000));
//   for (;;) {
//     request.set_namespace_id(call.StartAttempt());
//     ... attempt; where it failed:
//     if (auto s = call.Next(status, reopen); !s.ok()) return s;    // OK: go again
//   }
#ifndef KVCOMPD_CLIENT_NAMESPACE_SESSION_H_
#define KVCOMPD_CLIENT_NAMESPACE_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/byte_stream.h"
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

  ClientCore& core() { return *core_; }
  const std::shared_ptr<ClientCore>& core_ptr() { return core_; }
  const ModelDescriptor& model() const { return model_; }
  const Fingerprint& fingerprint() const { return fingerprint_; }
  NamespaceState state() const;
  CodebookCache& codebooks() { return codebooks_; }

  // Opens the namespace again unless somebody has since it was open `seen_opens` times.
  absl::Status Reopen(uint64_t seen_opens, const Deadline& deadline);

  ByteStream::Options StreamOptions(std::string method, const Deadline& deadline) const;
  absl::StatusOr<std::string> FetchCodebooks(const std::string& id, const Deadline& deadline);

 private:
  NamespaceSession(std::shared_ptr<ClientCore> core, const ModelDescriptor& model,
                   const v1::NamespacePolicy& policy);
  absl::Status OpenOnce(const Deadline& deadline);
  absl::Status CheckReply(const v1::OpenNamespaceResponse& reply) const;

  const std::shared_ptr<ClientCore> core_;
  const ModelDescriptor model_;
  const Fingerprint fingerprint_;
  const v1::NamespacePolicy policy_;  // as the caller wants it where this registers the namespace
  CodebookCache codebooks_;

  mutable Mutex mutex_;
  CondVar cond_;
  bool opening_ ABSL_GUARDED_BY(mutex_) = false;
  NamespaceState state_ ABSL_GUARDED_BY(mutex_);
};

// One call's attempts: retries by RetryState, and the reopening of the namespace.
class SessionCall {
 public:
  SessionCall(std::shared_ptr<NamespaceSession> session, Repeat repeat, const Deadline& deadline);

  const Deadline& deadline() const { return deadline_; }
  // The namespace's id for this attempt.
  std::string StartAttempt();
  // OK: attempt again. Else what to give the caller.
  absl::Status Next(const absl::Status& failed, bool reopen);
  void Progress();

 private:
  static constexpr uint32_t kMaxReopens = 3;
  const std::shared_ptr<NamespaceSession> session_;
  const Deadline deadline_;
  RetryState retry_;
  uint64_t seen_opens_ = 0;
  uint32_t reopens_ = 0;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_NAMESPACE_SESSION_H_
