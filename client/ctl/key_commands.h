// Commands about keys, of a KV sample or of a namespace by its name: match, exists, rm, pin, unpin, watch.
#ifndef KVCOMPD_CLIENT_CTL_KEY_COMMANDS_H_
#define KVCOMPD_CLIENT_CTL_KEY_COMMANDS_H_

#include "client/ctl/command.h"

namespace kvcompd::client {

Command MatchCommand();
Command ExistsCommand();
Command RemoveCommand();
Command PinCommand();
Command UnpinCommand();
Command WatchCommand();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_KEY_COMMANDS_H_
