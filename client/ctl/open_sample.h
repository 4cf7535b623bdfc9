// OpenSample: what every command about a sample starts with: the file, its blocks, the daemon and the
// namespace.
//
//   auto sample = OpenSample(context);                  // operand 0 is the sample
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
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd::client {

struct OpenedSample {
  KvFile file;
  std::vector<SampleBlock> blocks;
  std::string salt;
  std::unique_ptr<Session> session;
  std::shared_ptr<NamespaceHandle> ns;
};

// Reads --block-tokens and --tail, too.
absl::StatusOr<std::unique_ptr<OpenedSample>> OpenSample(const CommandContext& context);
// `more`, then the flags that OpenSample reads.
std::vector<FlagSpec> WithSampleFlags(std::vector<FlagSpec> more);

// "NOT_STORED" for REASON_NOT_STORED; "" for none.
std::string ReasonText(v1::Reason reason);
// "ok", or code, reason and message.
std::string OutcomeText(const absl::Status& status, v1::Reason reason);
// The first characters of a key, enough for a table.
std::string ShortKey(const BlockKey& key);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_OPEN_SAMPLE_H_
