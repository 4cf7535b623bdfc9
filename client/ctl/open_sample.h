// OpenSample: what every command about a sample starts with: the file, its blocks, the daemon and the
// namespace. OpenTarget: the same, or a namespace that is there, by its name.
//
//   auto sample = OpenSample(context, OwnDaemon::kStart);      // operand 0 is the sample
//   (*sample)->ns->Match(KeysOf((*sample)->blocks));
#ifndef KVCOMPD_CLIENT_CTL_OPEN_SAMPLE_H_
#define KVCOMPD_CLIENT_CTL_OPEN_SAMPLE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/command.h"
#include "client/ctl/sample.h"
#include "client/ctl/session.h"
#include "client/kv_file.h"
#include "client/namespace_handle.h"

namespace kvcompd::client {

struct OpenedSample {
  KvFile file;  // empty where there is no sample, here and below
  std::vector<SampleBlock> blocks;
  std::string salt;
  std::unique_ptr<Session> session;
  std::shared_ptr<NamespaceHandle> ns;
};

// Reads --block-tokens and --tail, too.
absl::StatusOr<std::unique_ptr<OpenedSample>> OpenSample(const CommandContext& context, OwnDaemon own);
// Without an operand: attaches to the namespace of --tenant and --name. A usage error where there is no name,
// or flags that are about a sample.
absl::StatusOr<std::unique_ptr<OpenedSample>> OpenTarget(const CommandContext& context, OwnDaemon own);
absl::StatusOr<std::unique_ptr<OpenedSample>> AttachNamed(const CommandContext& context);
// `more`, then the flags that OpenSample reads: --profile, --salt, --block-tokens, --tail and the
// namespace's.
std::vector<FlagSpec> WithSampleFlags(std::vector<FlagSpec> more);
FlagSpec ProfileFlag();
FlagSpec SaltFlag();
FlagSpec BlockTokensFlag();

// The first characters of a key, enough for a table.
std::string ShortKey(const BlockKey& key);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_OPEN_SAMPLE_H_
