#include "client/client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client_core.h"
#include "client/namespace_session.h"

namespace kvcompd::client {

Client::Client(std::shared_ptr<ClientCore> core) : core_(std::move(core)), admin_(core_) {}

Client::~Client() { core_->Shutdown(); }

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  if (auto s = options.Validate(); !s.ok()) return s;
  auto core = std::make_shared<ClientCore>(std::move(options));
  if (const uint32_t wait_ms = core->options().deadlines.connect_ms; wait_ms > 0) {
    const absl::Status s = core->channels().WaitConnected(Deadline::AfterMs(core->clock(), wait_ms));
    if (!s.ok()) return absl::Status(s.code(), absl::StrCat(core->options().address, ": ", s.message()));
  }
  return std::unique_ptr<Client>(new Client(std::move(core)));
}

absl::StatusOr<std::shared_ptr<NamespaceHandle>> Client::OpenNamespace(const ModelDescriptor& model,
                                                                       const v1::NamespacePolicy& policy) {
  auto session = NamespaceSession::Open(core_, model, policy);
  if (!session.ok()) return session.status();
  return std::make_shared<NamespaceHandle>(*std::move(session));
}

absl::StatusOr<std::shared_ptr<NamespaceHandle>> Client::AttachNamespace(const std::string& tenant,
                                                                         const std::string& name) {
  auto session = NamespaceSession::Attach(core_, tenant, name);
  if (!session.ok()) return session.status();
  return std::make_shared<NamespaceHandle>(*std::move(session));
}

AdminClient& Client::admin() { return admin_; }
const ClientOptions& Client::options() const { return core_->options(); }

}  // namespace kvcompd::client
