// The daemon's options, one table: it makes --help, the names of environment variables and YAML keys, the
// dump at start and the table in the README.
//
// Used by config.cc and main.cc. Immutable; const use from any thread.
//
//   const Option* option = FindOption("host-memory");
//   absl::Status status = option->set("8GiB", &settings);   // INVALID_ARGUMENT says what is expected
//   option->text(settings) == "8GiB"
//
// Value types:
//   text      as it is                        flag      true or false (also 1/0, yes/no, on/off)
//   size      "8GiB", "64KiB", "1048576"      count     "4096"
//   duration  "10s", "500ms", "1h30m"         fraction  "0.95"
#ifndef KVCOMPD_SERVER_OPS_OPTION_TABLE_H_
#define KVCOMPD_SERVER_OPS_OPTION_TABLE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/ops/daemon_options.h"
#include "server/ops/logging.h"

namespace kvcompd::server {

// What options set: the daemon's, and those of the process around it.
struct Settings {
  DaemonOptions daemon;
  LogOptions log;
  std::string port_file;  // the address listened on is written here; empty: nowhere
};

struct Option {
  std::string name;   // "host-memory": the flag without its dashes, and the YAML key
  std::string type;   // "size"
  std::string range;  // "1MiB to 16TiB"; empty where there is none
  std::string help;
  std::function<absl::Status(std::string_view text, Settings* settings)> set;
  std::function<std::string(const Settings& settings)> text;  // parses back to the same value

  bool is_flag() const { return type == "flag"; }
  std::string EnvName() const;  // "KVCOMPD_HOST_MEMORY"
};

const std::vector<Option>& OptionTable();
const Option* FindOption(std::string_view name);   // null where there is none
inline constexpr char kConfigOption[] = "config";  // names the YAML file; not a key of it

std::string HelpText();        // for --help
std::string OptionMarkdown();  // for the README: | option | environment | default | range | meaning |

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_OPTION_TABLE_H_
