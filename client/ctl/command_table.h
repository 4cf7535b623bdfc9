// All commands of kvcompctl. Immutable values; any thread.
//
//   return RunCommandLine(AllCommands(), words, std::cout, std::cerr);
#ifndef KVCOMPD_CLIENT_CTL_COMMAND_TABLE_H_
#define KVCOMPD_CLIENT_CTL_COMMAND_TABLE_H_

#include <vector>

#include "client/ctl/command.h"

namespace kvcompd::client {

std::vector<Command> AllCommands();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_COMMAND_TABLE_H_
