// kvcompctl: the command-line client of kvcompd. See `kvcompctl help`.

#include <malloc.h>
#include <signal.h>

#include <iostream>
#include <string>
#include <vector>

#include "client/ctl/command.h"
#include "client/ctl/command_table.h"

int main(int argc, char** argv) {
  // As README advises workers: message-sized memory is kept and not given back to the system each time.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of a write
  const std::vector<std::string> words(argv + 1, argv + argc);
  return kvcompd::client::RunCommandLine(kvcompd::client::AllCommands(), words, std::cout, std::cerr);
}
