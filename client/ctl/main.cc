// kvcompctl: the command-line client of kvcompd. See `kvcompctl help`.

#include <signal.h>

#include <iostream>
#include <string>
#include <vector>

#include "client/ctl/command.h"
#include "client/ctl/command_table.h"

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of a write
  const std::vector<std::string> words(argv + 1, argv + argc);
  return kvcompd::client::RunCommandLine(kvcompd::client::AllCommands(), words, std::cout, std::cerr);
}
