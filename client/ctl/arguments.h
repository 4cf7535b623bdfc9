// Flags and positional arguments of one kvcompctl command.
//
// Called by command.cc, read by every command. Immutable once parsed, so const use from any thread.
//
//   auto args = Arguments::Parse(flags, words);        // --name=value, --name value, --switch; else
//   positional auto count = args->Whole("count", 1, 1000);        // INVALID_ARGUMENT names flag and range
//   for (const std::string& key : args->List("key")) ...
#ifndef KVCOMPD_CLIENT_CTL_ARGUMENTS_H_
#define KVCOMPD_CLIENT_CTL_ARGUMENTS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvcompd::client {

struct FlagSpec {
  std::string name;   // without dashes
  std::string value;  // what stands for the value in the help, "FILE"; empty: a switch
  std::string help;
  std::string default_value;  // "" is no value; shown in the help
};

class Arguments {
 public:
  Arguments() = default;
  // "--" ends the flags. INVALID_ARGUMENT: an unknown flag, a value that is missing or too much.
  static absl::StatusOr<Arguments> Parse(std::span<const FlagSpec> flags, std::span<const std::string> words);

  const std::vector<std::string>& positionals() const { return positionals_; }
  // Given on the command line. The name must be one of the specs, here and below.
  bool Has(std::string_view name) const;
  // The last value given, or the default.
  std::string Text(std::string_view name) const;
  bool Switch(std::string_view name) const;
  // Every value given, cut at commas; the default's where none was.
  std::vector<std::string> List(std::string_view name) const;
  // INVALID_ARGUMENT: not a number, or out of range.
  absl::StatusOr<uint64_t> Whole(std::string_view name, uint64_t min, uint64_t max) const;
  absl::StatusOr<uint64_t> Size(std::string_view name, uint64_t min, uint64_t max) const;  // "1MiB"
  absl::StatusOr<uint32_t> DurationMs(std::string_view name) const;  // "500ms", "10s"; "" is 0

 private:
  struct Flag {
    std::string default_value;
    std::vector<std::string> values;
  };
  const Flag& Find(std::string_view name) const;

  std::map<std::string, Flag, std::less<>> flags_;
  std::vector<std::string> positionals_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_ARGUMENTS_H_
