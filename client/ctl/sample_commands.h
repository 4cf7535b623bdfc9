// Commands that move the values of a KV sample: put, get, append.
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/ctl/command.h"
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd::client {

Command PutCommand();
Command GetCommand();
Command AppendCommand();

// Why a command about `all` blocks fails: the code and the reason of the first block that did. did: "stored".
absl::Status FailedBlocks(uint64_t failed, uint64_t all, const char* did, const absl::Status& first,
                          v1::Reason reason);
// "decoded" or "encoded"; else a usage error.
absl::StatusOr<Form> ParseForm(const std::string& text);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_
