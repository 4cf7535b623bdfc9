// Commands that move the values of a KV sample: put, get, append.
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/ctl/command.h"

namespace kvcompd::client {

Command PutCommand();
Command GetCommand();
Command AppendCommand();

// "decoded" or "encoded"; else a usage error.
absl::StatusOr<Form> ParseForm(const std::string& text);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_COMMANDS_H_
