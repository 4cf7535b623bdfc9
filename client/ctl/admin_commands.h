// Commands for operators: stat, ns, ns flush, ns set-profile, drain, trim.
#ifndef KVCOMPD_CLIENT_CTL_ADMIN_COMMANDS_H_
#define KVCOMPD_CLIENT_CTL_ADMIN_COMMANDS_H_

#include <vector>

#include "client/ctl/command.h"

namespace kvcompd::client {

std::vector<Command> AdminCommands();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_ADMIN_COMMANDS_H_
