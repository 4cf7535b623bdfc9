// Command: one verb of kvcompctl, and the table by which main and tests run it.
//
// Called by main.cc. Commands run on the calling thread; a table is immutable, so const use from any thread.
//
//   Command PutCommand() { return {.name = "put", .operands = "FILE", .help = "stores a KV sample",
//                                  .flags = WithDaemonFlags({...}), .min_operands = 1, .max_operands = 1,
//                                  .run = Put}; }
//   return RunCommandLine(AllCommands(), words, std::cout, std::cerr);
//
// Exit codes: 0 done, 1 the operation failed or its results could not be written, 2 wrong usage. Results go
// to `out`, everything else to `err`.
#ifndef KVCOMPD_CLIENT_CTL_COMMAND_H_
#define KVCOMPD_CLIENT_CTL_COMMAND_H_

#include <cstddef>
#include <functional>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/ctl/arguments.h"

namespace kvcompd::client {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct CommandContext {
  Arguments args;
  std::ostream& out;
  std::ostream& err;
};

struct Command {
  std::string name;      // one or two words: "put", "bench serve"
  std::string operands;  // for the help: "FILE [OUT]"
  std::string help;      // one line
  std::vector<FlagSpec> flags;
  size_t min_operands = 0;
  size_t max_operands = 0;
  bool hidden = false;  // not in the list of commands
  std::function<absl::Status(const CommandContext&)> run;
};

// A status that ends the program with kExitUsage and the command's help.
absl::Status UsageError(absl::string_view text);
// The same status marked as above, if it is an error; for what Arguments gives.
absl::Status AsUsageError(const absl::Status& status);

// A command has the flags that it reads and no others. `more` stand first.
std::vector<FlagSpec> WithJsonFlag(std::vector<FlagSpec> more);
// json and progress.
std::vector<FlagSpec> WithOutputFlags(std::vector<FlagSpec> more);
// Of a command that talks to a daemon: address, deadline and json.
std::vector<FlagSpec> WithDaemonFlags(std::vector<FlagSpec> more);
// And of one about a namespace: tenant and name.
std::vector<FlagSpec> WithNamespaceFlags(std::vector<FlagSpec> more);
FlagSpec ProgressFlag();

// words: the program's arguments without its name.
int RunCommandLine(std::span<const Command> commands, std::span<const std::string> words, std::ostream& out,
                   std::ostream& err);

std::string CommandHelp(const Command& command);
std::string ProgramHelp(std::span<const Command> commands);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_COMMAND_H_
