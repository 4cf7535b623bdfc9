// Unary calls with retry. Internal to the client. Thread-safe.
//
//   v1::MatchRequest request; v1::MatchResponse response;
//   auto status = CallUnary(session, &v1::KvCache::Stub::Match, "match", Repeat::kContention, deadline,
//                           options.cancel, &request, &response);
#ifndef KVCOMPD_CLIENT_UNARY_CALL_H_
#define KVCOMPD_CLIENT_UNARY_CALL_H_

#include <grpcpp/client_context.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/byte_stream.h"
#include "client/call_scope.h"
#include "client/cancellation.h"
#include "client/namespace_session.h"

namespace kvcompd::client {

inline absl::Status WithVerb(absl::string_view verb, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(verb, ": ", status.message()));
}

// request: its namespace_id is set anew for each attempt.
template <typename Request, typename Response>
absl::Status CallUnary(const std::shared_ptr<NamespaceSession>& session,
                       grpc::Status (v1::KvCache::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                 Response*),
                       absl::string_view verb, Repeat repeat, const Deadline& deadline,
                       const std::shared_ptr<Cancellation>& cancel, Request* request, Response* response) {
  SessionCall call(session, repeat, deadline, cancel);
  for (;;) {
    request->set_namespace_id(call.StartAttempt());
    response->Clear();
    grpc::ClientContext context;
    context.set_deadline(deadline.SystemTime());
    const Cancellation::Link link(call.token(), [&context] { context.TryCancel(); });
    const std::shared_ptr<Lane> lane = session->core().channels().Next();
    const absl::Status status = FromPeer((lane->kv.get()->*method)(&context, *request, response));
    if (status.ok()) return status;
    if (auto next = call.Next(EndOf(context, status)); !next.ok()) return WithVerb(verb, next);
  }
}

// The same for calls that belong to no namespace.
template <typename Stub, typename Request, typename Response>
absl::Status CallPlain(ClientCore& core, std::unique_ptr<Stub> Lane::*stub,
                       grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                       absl::string_view verb, Repeat repeat, const Deadline& deadline,
                       const std::shared_ptr<Cancellation>& cancel, const Request& request,
                       Response* response) {
  CallScope scope(&core, cancel);
  RetryState retry = core.Retry(repeat, deadline, scope.waiter());
  for (;;) {
    response->Clear();
    grpc::ClientContext context;
    context.set_deadline(deadline.SystemTime());
    const Cancellation::Link link(scope.token(), [&context] { context.TryCancel(); });
    const std::shared_ptr<Lane> lane = core.channels().Next();
    const absl::Status status = FromPeer(((*lane.*stub).get()->*method)(&context, request, response));
    if (status.ok()) return status;
    if (auto next = scope.Next(&retry, EndOf(context, status)); !next.ok()) return WithVerb(verb, next);
  }
}

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_UNARY_CALL_H_
