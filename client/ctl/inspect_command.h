// `kvcompctl inspect`: explains an encoded file. Needs no daemon.
#ifndef KVCOMPD_CLIENT_CTL_INSPECT_COMMAND_H_
#define KVCOMPD_CLIENT_CTL_INSPECT_COMMAND_H_

#include "client/ctl/command.h"

namespace kvcompd::client {

Command InspectCommand();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_INSPECT_COMMAND_H_
