// Session: a command's connection, to the daemon it names or to one of its own.
//
// Called by every command that talks to a daemon. One thread at a time.
//
//   auto session = Session::Open(context, OwnDaemon::kStart);   // --address, KVCOMPD_ADDRESS, or a
//   LocalDaemon auto ns = (*session)->OpenNamespace(file, 64);
//   (*ns)->PutBlocks(...);
#ifndef KVCOMPD_CLIENT_CTL_SESSION_H_
#define KVCOMPD_CLIENT_CTL_SESSION_H_

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/client_options.h"
#include "client/ctl/arguments.h"
#include "client/ctl/command.h"
#include "client/ctl/local_daemon.h"
#include "client/kv_file.h"

namespace kvcompd::client {

// --address or KVCOMPD_ADDRESS; empty where neither is given.
std::string AddressOf(const Arguments& args);
// What the common flags say, without the address. A usage error where a flag is out of range.
absl::StatusOr<ClientOptions> ClientOptionsOf(const Arguments& args);

// What a command without an address does.
enum class OwnDaemon {
  kStart,   // starts a daemon for itself, and says so on stderr
  kRefuse,  // a usage error: a daemon that is new and empty has nothing to show or to remove
};
// A line on stderr, for a daemon that was started without being asked for.
void SayOwnDaemon(const LocalDaemon& daemon, std::ostream& err);

class Session {
 public:
  static absl::StatusOr<std::unique_ptr<Session>> Open(const CommandContext& context, OwnDaemon own);
  // At an address, with one tenant; for commands that need several.
  static absl::StatusOr<std::unique_ptr<Session>> OpenAt(ClientOptions options);

  Client& client() { return *client_; }
  // The namespace of a sample's model; --profile counts where this registers it.
  absl::StatusOr<std::shared_ptr<NamespaceHandle>> OpenNamespace(const KvFile& file,
                                                                 uint32_t tokens_per_block,
                                                                 const std::string& profile);

 private:
  Session() = default;
  std::unique_ptr<LocalDaemon> daemon_;  // outlives the client
  std::unique_ptr<Client> client_;
};

// Lines of progress on stderr, only where a person looks or --progress asks.
class Progress {
 public:
  Progress(const Arguments& args, std::ostream& err);
  ~Progress();  // ends the line
  void Update(const std::string& what, uint64_t done, uint64_t all);

 private:
  std::ostream& err_;
  bool on_ = false;
  bool open_ = false;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SESSION_H_
