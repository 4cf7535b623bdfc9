// Client: the way to a kvcompd daemon from C++. Made once in a process and shared by its threads.
//
// Thread-safe.
//
//   auto client = Client::Connect({.address = "127.0.0.1:7600", .tenant = "team-a"});
//   auto ns = (*client)->OpenNamespace(model, policy);
//   auto match = (*ns)->Match(keys);
//
// Threads: gRPC's own carry the bytes; async_threads of the client run the Async calls; a WatchReader has one
// of its own; everything else runs on the caller's thread.
#ifndef KVCOMPD_CLIENT_CLIENT_H_
#define KVCOMPD_CLIENT_CLIENT_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/admin_client.h"
#include "client/client_options.h"
#include "client/namespace_handle.h"
#include "codec/base/model_descriptor.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::client {

class ClientCore;

class Client {
 public:
  // INVALID_ARGUMENT: options; UNAVAILABLE: no connection within deadlines.connect_ms (0: not waited for).
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);
  // Ends live calls of all threads, streams and watches included, and what waits in the queue of the Async
  // ones, with CANCELLED, and waits for the callbacks under way.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Attaches to the namespace of options().tenant and this model, or registers it with the policy (an absent
  // profile is the daemon's default). FAILED_PRECONDITION names the fields that differ where options().name
  // stands for another model.
  absl::StatusOr<std::shared_ptr<NamespaceHandle>> OpenNamespace(const ModelDescriptor& model,
                                                                 const v1::NamespacePolicy& policy = {});

  // Attaches to the namespace of this tenant ("" is the daemon's default) and name, whatever its model, which
  // the daemon tells. NOT_FOUND: there is none; UNIMPLEMENTED: the daemon is too old to tell.
  absl::StatusOr<std::shared_ptr<NamespaceHandle>> AttachNamespace(const std::string& tenant,
                                                                   const std::string& name);

  AdminClient& admin();
  const ClientOptions& options() const;

 private:
  explicit Client(std::shared_ptr<ClientCore> core);
  std::shared_ptr<ClientCore> core_;
  AdminClient admin_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CLIENT_H_
