// `kvcompctl demo`: a daemon, a prefill process and a decode process on real KV, every value and byte
// checked.
#ifndef KVCOMPD_CLIENT_CTL_DEMO_COMMAND_H_
#define KVCOMPD_CLIENT_CTL_DEMO_COMMAND_H_

#include "client/ctl/command.h"

namespace kvcompd::client {

Command DemoCommand();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_DEMO_COMMAND_H_
