#include "client/ctl/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvcompd::client {

std::string AddressOf(const Arguments& args) {
  if (args.Has("address")) return args.Text("address");
  const char* const named = std::getenv("KVCOMPD_ADDRESS");
  return named == nullptr ? "" : named;
}

absl::StatusOr<ClientOptions> ClientOptionsOf(const Arguments& args) {
  ClientOptions options;
  options.tenant = args.Text("tenant");
  options.name = args.Text("name");
  const absl::StatusOr<uint32_t> deadline = args.DurationMs("deadline");
  if (!deadline.ok()) return AsUsageError(deadline.status());
  constexpr uint32_t kDayMs = 86'400'000;
  if (*deadline > kDayMs) return UsageError("--deadline: 24h at most");
  if (*deadline != 0) {
    CallDeadlines& d = options.deadlines;
    for (uint32_t* ms :
         {&d.connect_ms, &d.open_ms, &d.lookup_ms, &d.put_ms, &d.get_ms, &d.append_ms, &d.admin_ms}) {
      *ms = *deadline;
    }
  }
  return options;
}

void SayOwnDaemon(const LocalDaemon& daemon, std::ostream& err) {
  err << "kvcompctl: no --address: a daemon of its own, empty, at " << daemon.address()
      << " until this command ends\n";
}

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const CommandContext& context, OwnDaemon own) {
  absl::StatusOr<ClientOptions> options = ClientOptionsOf(context.args);
  if (!options.ok()) return options.status();
  options->address = AddressOf(context.args);
  std::unique_ptr<LocalDaemon> daemon;
  if (options->address.empty()) {
    if (own == OwnDaemon::kRefuse) return UsageError("name the daemon by --address or KVCOMPD_ADDRESS");
    auto started = LocalDaemon::Start({});
    if (!started.ok()) return started.status();
    daemon = *std::move(started);
    SayOwnDaemon(*daemon, context.err);
    options->address = daemon->address();
  }
  auto session = OpenAt(*std::move(options));
  if (session.ok()) (*session)->daemon_ = std::move(daemon);
  return session;
}

absl::StatusOr<std::unique_ptr<Session>> Session::OpenAt(ClientOptions options) {
  std::unique_ptr<Session> session(new Session);
  auto client = Client::Connect(std::move(options));
  if (!client.ok()) return client.status();
  session->client_ = *std::move(client);
  return session;
}

absl::StatusOr<std::shared_ptr<NamespaceHandle>> Session::OpenNamespace(const KvFile& file,
                                                                        uint32_t tokens_per_block,
                                                                        const std::string& profile) {
  v1::NamespacePolicy policy;
  policy.set_profile(profile);
  return client_->OpenNamespace(file.Descriptor(tokens_per_block), policy);
}

Progress::Progress(const Arguments& args, std::ostream& err)
    : err_(err), on_(args.Switch("progress") || isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (open_) err_ << "\n";
}

void Progress::Update(const std::string& what, uint64_t done, uint64_t all) {
  if (!on_) return;
  err_ << absl::StrFormat("\r%s: %u of %u", what, done, all) << std::flush;
  open_ = true;
}

}  // namespace kvcompd::client
