// A YAML file of options: one flat map of scalars.
//
// Called by config.cc. Every key comes with its line, so that a message can say where.
//
//   auto entries = ReadYamlOptions("kvcompd.yaml");   // {{"host-memory", "8GiB", "kvcompd.yaml:3"}, ...}
#ifndef KVCOMPD_SERVER_OPS_YAML_OPTIONS_H_
#define KVCOMPD_SERVER_OPS_YAML_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd::server {

struct YamlEntry {
  std::string key;
  std::string value;
  std::string where;  // "file:line"
};

// INVALID_ARGUMENT: not readable, over 1 MiB, not YAML, not a flat map, or a key that stands twice.
absl::StatusOr<std::vector<YamlEntry>> ReadYamlOptions(const std::string& path);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_YAML_OPTIONS_H_
