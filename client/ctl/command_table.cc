#include "client/ctl/command_table.h"

#include <utility>

#include "client/ctl/admin_commands.h"
#include "client/ctl/bench_command.h"
#include "client/ctl/demo_case.h"
#include "client/ctl/demo_command.h"
#include "client/ctl/inspect_command.h"
#include "client/ctl/key_commands.h"
#include "client/ctl/sample_commands.h"

namespace kvcompd::client {

std::vector<Command> AllCommands() {
  std::vector<Command> commands = {PutCommand(),   GetCommand(),    AppendCommand(),
                                   MatchCommand(), ExistsCommand(), RemoveCommand(),
                                   PinCommand(),   UnpinCommand(),  WatchCommand()};
  for (Command& command : AdminCommands()) commands.push_back(std::move(command));
  commands.push_back(InspectCommand());
  commands.push_back(DemoCommand());
  commands.push_back(DemoPrefillCommand());
  commands.push_back(DemoDecodeCommand());
  commands.push_back(BenchServeCommand());
  commands.push_back(BenchKvdataCommand());
  commands.push_back(BenchCodecsCommand());
  commands.push_back(BenchPerplexityCommand());
  return commands;
}

}  // namespace kvcompd::client
