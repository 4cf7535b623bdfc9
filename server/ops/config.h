// The daemon's configuration: flags over environment over YAML file over defaults. See option_table.h for the
// options themselves.
//
// Called by main, which is the only one to read arguments and environment. Pure but for reading the file.
//
//   auto config = LoadConfig({"--address=127.0.0.1:0"}, {{"KVCOMPD_HOST_MEMORY", "8GiB"}});
//   if (!config.ok()) -> print the message, exit with 2
//   auto daemon = Daemon::Start(config->settings.daemon);
#ifndef KVCOMPD_SERVER_OPS_CONFIG_H_
#define KVCOMPD_SERVER_OPS_CONFIG_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/ops/option_table.h"

namespace kvcompd::server {

enum class Action { kRun, kHelp, kVersion, kPrintTable, kCheck };

struct Config {
  Action action = Action::kRun;  // for all but kRun and kCheck the rest stays at its defaults
  Settings settings;
  struct Value {
    std::string name;
    std::string text;
    std::string origin;  // "default", "kvcompd.yaml:3", "environment", "flag"
  };
  std::vector<Value> values;  // of every option, in the table's order
  // Variables of the environment that look like options and are none; worth a warning, no more: Kubernetes
  // sets KVCOMPD_SERVICE_HOST and the like for a service of this name (those are left out here).
  std::vector<std::string> unknown_variables;
};

// args: without the program's name. An empty variable counts as not set. INVALID_ARGUMENT names the source of
// what is wrong: "--host-memory=8Gb: ...", "KVCOMPD_HOST_MEMORY=...", "kvcompd.yaml:3: ...".
absl::StatusOr<Config> LoadConfig(const std::vector<std::string>& args,
                                  const std::map<std::string, std::string>& environment);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_CONFIG_H_
