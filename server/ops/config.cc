#include "server/ops/config.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codec/base/types.h"
#include "server/ops/yaml_options.h"

namespace kvcompd::server {
namespace {

constexpr std::string_view kEnvPrefix = "KVCOMPD_";
constexpr char kConfigVariable[] = "KVCOMPD_CONFIG";

struct Assignment {
  const Option* option;
  std::string text;
  std::string source;  // for messages: "--host-memory=8Gb"
  std::string origin;  // for the dump
};

struct CommandLine {
  Action action = Action::kRun;
  std::string config_file;
  std::vector<Assignment> assignments;
};

absl::Status Wrong(const std::string& source, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(absl::CHexEscape(source), ": ", why));
}

bool IsAction(std::string_view name, Action* action) {
  static const auto* const actions =
      new std::map<std::string_view, Action>{{"help", Action::kHelp},
                                             {"version", Action::kVersion},
                                             {"print-config-table", Action::kPrintTable},
                                             {"check-config", Action::kCheck}};
  const auto it = actions->find(name);
  if (it == actions->end()) return false;
  *action = it->second;
  return true;
}

// --name=value, --name value; for flags also --name and --noname.
absl::StatusOr<CommandLine> ParseArgs(const std::vector<std::string>& args) {
  CommandLine out;
  for (size_t i = 0; i < args.size(); ++i) {
    std::string_view arg = args[i];
    if (!arg.starts_with("--") || arg.size() == 2) {
      return Wrong(args[i], "not an option; see kvcompd --help");
    }
    arg.remove_prefix(2);
    const size_t equals = arg.find('=');
    const std::string_view name = arg.substr(0, equals);
    bool has_value = equals != std::string_view::npos;
    std::string value(has_value ? arg.substr(equals + 1) : "");
    if (!has_value && IsAction(name, &out.action)) continue;
    const Option* option = FindOption(name);
    if (option == nullptr && !has_value && name.starts_with("no")) {
      option = FindOption(name.substr(2));
      if (option != nullptr && !option->is_flag()) option = nullptr;
      if (option != nullptr) {
        value = "false";
        has_value = true;
      }
    }
    if (option == nullptr && name != kConfigOption)
      return Wrong(args[i], "unknown option; see kvcompd --help");
    if (!has_value && option != nullptr && option->is_flag()) {
      value = "true";
      has_value = true;
    }
    if (!has_value) {
      if (i + 1 == args.size()) return Wrong(args[i], "needs a value");
      value = args[++i];
    }
    if (option == nullptr) {
      out.config_file = value;
    } else {
      out.assignments.push_back({option, value, absl::StrCat("--", option->name, "=", value), "flag"});
    }
  }
  return out;
}

// As Kubernetes sets them for a service called kvcompd.
bool IsServiceVariable(std::string_view name) {
  return name.starts_with("KVCOMPD_SERVICE_") || name == "KVCOMPD_PORT" || name.starts_with("KVCOMPD_PORT_");
}

std::vector<Assignment> FromEnvironment(const std::map<std::string, std::string>& environment,
                                        std::vector<std::string>* unknown) {
  std::map<std::string, const Option*> by_variable;
  for (const Option& option : OptionTable()) by_variable[option.EnvName()] = &option;
  std::vector<Assignment> out;
  for (const auto& [name, value] : environment) {
    if (!std::string_view(name).starts_with(kEnvPrefix) || name == kConfigVariable) continue;
    const auto it = by_variable.find(name);
    if (it == by_variable.end()) {
      if (!IsServiceVariable(name)) unknown->push_back(name);
    } else if (!value.empty()) {
      out.push_back({it->second, value, absl::StrCat(name, "=", value), "environment"});
    }
  }
  return out;
}

absl::StatusOr<std::vector<Assignment>> FromFile(const std::string& path) {
  std::vector<Assignment> out;
  if (path.empty()) return out;
  const auto entries = ReadYamlOptions(path);
  if (!entries.ok()) return entries.status();
  for (const YamlEntry& entry : *entries) {
    const Option* option = FindOption(entry.key);
    if (option == nullptr) {
      return Wrong(entry.where, absl::StrCat("unknown option \"", absl::CHexEscape(entry.key), "\""));
    }
    out.push_back(
        {option, entry.value, absl::StrCat(entry.where, ": ", entry.key, ": ", entry.value), entry.where});
  }
  return out;
}

absl::Status Apply(const std::vector<Assignment>& assignments, Config* config) {
  for (const Assignment& assignment : assignments) {
    const absl::Status status = assignment.option->set(assignment.text, &config->settings);
    if (!status.ok()) return Wrong(assignment.source, status.message());
    for (Config::Value& value : config->values) {
      if (value.name == assignment.option->name) value.origin = assignment.origin;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Config> LoadConfig(const std::vector<std::string>& args,
                                  const std::map<std::string, std::string>& environment) {
  Config config;
  auto command_line = ParseArgs(args);
  if (!command_line.ok()) return command_line.status();
  config.action = command_line->action;
  if (config.action != Action::kRun && config.action != Action::kCheck) return config;

  for (const Option& option : OptionTable()) config.values.push_back({option.name, "", "default"});
  std::string file = command_line->config_file;
  if (const auto it = environment.find(kConfigVariable); file.empty() && it != environment.end())
    file = it->second;
  const auto from_file = FromFile(file);
  if (!from_file.ok()) return from_file.status();
  const auto from_environment = FromEnvironment(environment, &config.unknown_variables);
  // Each source is checked wholly, also where a later one overrides it: a wrong value is never silent.
  for (const auto* source : std::initializer_list<const std::vector<Assignment>*>{
           &*from_file, &from_environment, &command_line->assignments}) {
    const absl::Status status = Apply(*source, &config);
    if (!status.ok()) return status;
  }
  for (Config::Value& value : config.values) value.text = FindOption(value.name)->text(config.settings);
  const absl::Status valid = config.settings.daemon.Validate();
  if (!valid.ok()) return valid;
  return config;
}

}  // namespace kvcompd::server
