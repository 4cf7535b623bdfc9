// The commands `kvcompctl bench serve` and `kvcompctl bench kvdata`: flags to options, reports to `out`.
//
// Called by the command table (main.cc).
//
//   commands.push_back(BenchServeCommand());
//   commands.push_back(BenchKvdataCommand());
#ifndef KVCOMPD_CLIENT_CTL_BENCH_COMMAND_H_
#define KVCOMPD_CLIENT_CTL_BENCH_COMMAND_H_

#include "client/ctl/command.h"

namespace kvcompd::client {

// Starts a daemon of its own unless --address or KVCOMPD_ADDRESS names one.
Command BenchServeCommand();
// Needs no daemon. Fails where any decoded value is outside the error bound.
Command BenchKvdataCommand();
Command BenchCodecsCommand();
Command BenchPerplexityCommand();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_COMMAND_H_
