#include "client/ctl/command.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvcompd::client {
namespace {

// Marks a status as the caller's mistake on the command line; a daemon's INVALID_ARGUMENT is not.
constexpr char kUsagePayload[] = "kvcompctl/usage";

bool IsUsageError(const absl::Status& status) { return status.GetPayload(kUsagePayload).has_value(); }

bool IsHelp(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

// The command whose name the words start with, the longer name first; null where there is none.
const Command* FindCommand(std::span<const Command> commands, std::span<const std::string> words,
                           size_t* used) {
  for (size_t count : {size_t{2}, size_t{1}}) {
    if (words.size() < count) continue;
    const std::string name = count == 2 ? absl::StrCat(words[0], " ", words[1]) : words[0];
    for (const Command& command : commands) {
      if (command.name != name) continue;
      *used = count;
      return &command;
    }
  }
  return nullptr;
}

absl::Status RunParsed(const Command& command, std::span<const std::string> words, std::ostream& out,
                       std::ostream& err) {
  absl::StatusOr<Arguments> args = Arguments::Parse(command.flags, words);
  if (!args.ok()) return AsUsageError(args.status());
  const size_t operands = args->positionals().size();
  if (operands < command.min_operands)
    return UsageError(absl::StrCat("an operand is missing: ", command.operands));
  if (operands > command.max_operands) {
    return UsageError(absl::StrCat("unexpected operand ", args->positionals()[command.max_operands]));
  }
  return command.run({.args = *std::move(args), .out = out, .err = err});
}

}  // namespace

absl::Status UsageError(absl::string_view text) { return AsUsageError(absl::InvalidArgumentError(text)); }

absl::Status AsUsageError(const absl::Status& status) {
  absl::Status marked = status;
  if (!marked.ok()) marked.SetPayload(kUsagePayload, absl::Cord("1"));
  return marked;
}

FlagSpec ProgressFlag() { return {"progress", "", "report progress on stderr also where it is no terminal"}; }

std::vector<FlagSpec> WithJsonFlag(std::vector<FlagSpec> more) {
  more.push_back({"json", "", "print one JSON object instead of a table"});
  return more;
}

std::vector<FlagSpec> WithOutputFlags(std::vector<FlagSpec> more) {
  more = WithJsonFlag(std::move(more));
  more.push_back(ProgressFlag());
  return more;
}

std::vector<FlagSpec> WithDaemonFlags(std::vector<FlagSpec> more) {
  more.push_back({"address", "ADDRESS", "the daemon's, HOST:PORT or unix:PATH; else KVCOMPD_ADDRESS"});
  more.push_back({"deadline", "DURATION", "of one call, such as 500ms or 10s; 24h at most"});
  return WithJsonFlag(std::move(more));
}

std::vector<FlagSpec> WithNamespaceFlags(std::vector<FlagSpec> more) {
  more.push_back({"tenant", "TENANT", "tenant of the namespace; none is the daemon's \"default\""});
  more.push_back({"name", "NAME", "name of the namespace within the tenant"});
  return WithDaemonFlags(std::move(more));
}

std::string CommandHelp(const Command& command) {
  std::string out =
      absl::StrCat("usage: kvcompctl ", command.name, command.operands.empty() ? "" : " ", command.operands,
                   command.flags.empty() ? "" : " [flags]", "\n  ", command.help, "\n");
  if (!command.flags.empty()) out += "\nflags:\n";
  for (const FlagSpec& flag : command.flags) {
    const std::string left = absl::StrCat("--", flag.name, flag.value.empty() ? "" : "=", flag.value);
    const std::string right = flag.default_value.empty()
                                  ? flag.help
                                  : absl::StrCat(flag.help, " (default ", flag.default_value, ")");
    absl::StrAppendFormat(&out, "  %-24s  %s\n", left, right);
  }
  return out;
}

std::string ProgramHelp(std::span<const Command> commands) {
  std::string out = "usage: kvcompctl COMMAND [operands] [flags]\n\ncommands:\n";
  for (const Command& command : commands) {
    if (!command.hidden) absl::StrAppendFormat(&out, "  %-16s  %s\n", command.name, command.help);
  }
  out +=
      "\nThe daemon is the one that --address or KVCOMPD_ADDRESS names. Without either, put, get, append, "
      "match, "
      "exists,\ndemo and bench serve start one of their own, empty, until they end.\n";
  out += "\n`kvcompctl help COMMAND` lists the flags of a command.\n";
  return out;
}

namespace {

// What was not written did not happen, as far as the reader knows.
int EndOutput(int code, std::ostream& out, std::ostream& err) {
  out.flush();
  if (out.good()) return code;
  err << "kvcompctl: the output could not be written\n";
  return code == kExitOk ? kExitFailed : code;
}

int RunWords(std::span<const Command> commands, std::span<const std::string> words, std::ostream& out,
             std::ostream& err) {
  size_t used = 0;
  if (words.empty()) {
    err << ProgramHelp(commands);
    return kExitUsage;
  }
  if (IsHelp(words[0])) {
    const auto about = words.subspan(1);
    if (about.empty()) {
      out << ProgramHelp(commands);
      return kExitOk;
    }
    if (const Command* const command = FindCommand(commands, about, &used); command != nullptr) {
      out << CommandHelp(*command);
      return kExitOk;
    }
    err << "kvcompctl: unknown command " << about[0] << "\n" << ProgramHelp(commands);
    return kExitUsage;
  }
  const Command* const command = FindCommand(commands, words, &used);
  if (command == nullptr) {
    err << "kvcompctl: unknown command " << words[0] << "\n" << ProgramHelp(commands);
    return kExitUsage;
  }
  const auto rest = words.subspan(used);
  if (std::any_of(rest.begin(), rest.end(),
                  [](const std::string& word) { return word == "--help" || word == "-h"; })) {
    out << CommandHelp(*command);
    return kExitOk;
  }
  const absl::Status status = RunParsed(*command, rest, out, err);
  if (status.ok()) return kExitOk;
  if (IsUsageError(status)) {
    err << "kvcompctl " << command->name << ": " << status.message() << "\n" << CommandHelp(*command);
    return kExitUsage;
  }
  err << "kvcompctl " << command->name << ": " << absl::StatusCodeToString(status.code()) << ": "
      << status.message() << "\n";
  return kExitFailed;
}

}  // namespace

int RunCommandLine(std::span<const Command> commands, std::span<const std::string> words, std::ostream& out,
                   std::ostream& err) {
  const int code = RunWords(commands, words, out, err);
  return EndOutput(code, out, err);
}

}  // namespace kvcompd::client
