#include "client/ctl/arguments.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "codec/base/human_size.h"
#include "codec/base/types.h"

namespace kvcompd::client {
namespace {

absl::Status FlagError(std::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("--", ToAbsl(name), ": ", what));
}

}  // namespace

absl::StatusOr<Arguments> Arguments::Parse(std::span<const FlagSpec> flags,
                                           std::span<const std::string> words) {
  Arguments out;
  std::map<std::string, bool, std::less<>> takes_value;
  for (const FlagSpec& flag : flags) {
    out.flags_[flag.name].default_value = flag.default_value;
    takes_value[flag.name] = !flag.value.empty();
  }
  bool flags_over = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (flags_over || !word.starts_with("--")) {
      if (!flags_over && word.size() > 1 && word.front() == '-') {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", word));
      }
      out.positionals_.push_back(word);
      continue;
    }
    if (word == "--") {
      flags_over = true;
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    const auto known = takes_value.find(name);
    if (known == takes_value.end()) return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
    std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (known->second && equals == std::string::npos) {
      // The next word, unless it looks like a flag, which more likely means that the value was forgotten.
      if (i + 1 == words.size() || words[i + 1].starts_with("--")) {
        return FlagError(name, absl::StrCat("needs a value: --", name, "=VALUE"));
      }
      value = words[++i];
    }
    if (!known->second) {
      if (equals == std::string::npos) value = "true";
      if (value != "true" && value != "false") return FlagError(name, "expected true or false");
    }
    out.flags_[name].values.push_back(std::move(value));
  }
  return out;
}

const Arguments::Flag& Arguments::Find(std::string_view name) const {
  static const Flag none;
  const auto it = flags_.find(name);
  return it == flags_.end() ? none : it->second;
}

bool Arguments::Has(std::string_view name) const { return !Find(name).values.empty(); }

std::string Arguments::Text(std::string_view name) const {
  const Flag& flag = Find(name);
  return flag.values.empty() ? flag.default_value : flag.values.back();
}

bool Arguments::Switch(std::string_view name) const { return Text(name) == "true"; }

std::vector<std::string> Arguments::List(std::string_view name) const {
  const Flag& flag = Find(name);
  std::vector<std::string> out;
  auto add = [&out](const std::string& value) {
    for (absl::string_view part : absl::StrSplit(value, ',', absl::SkipEmpty())) out.emplace_back(part);
  };
  for (const std::string& value : flag.values) add(value);
  if (flag.values.empty()) add(flag.default_value);
  return out;
}

absl::StatusOr<uint64_t> Arguments::Whole(std::string_view name, uint64_t min, uint64_t max) const {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(Text(name), &value) || value < min || value > max) {
    return FlagError(
        name, absl::StrCat("expected a whole number from ", min, " to ", max, ", not \"", Text(name), "\""));
  }
  return value;
}

absl::StatusOr<uint64_t> Arguments::Size(std::string_view name, uint64_t min, uint64_t max) const {
  const absl::StatusOr<uint64_t> value = ParseHumanSize(Text(name));
  if (!value.ok()) return FlagError(name, value.status().message());
  if (*value < min || *value > max) {
    return FlagError(name, absl::StrCat("expected a size from ", HumanSize(min), " to ", HumanSize(max)));
  }
  return *value;
}

absl::StatusOr<uint32_t> Arguments::DurationMs(std::string_view name) const {
  const std::string text = Text(name);
  if (text.empty()) return 0;
  absl::Duration duration;
  const bool parsed = absl::ParseDuration(text, &duration);
  const int64_t ms = parsed ? absl::ToInt64Milliseconds(duration) : 0;
  if (!parsed || ms < 1 || ms > std::numeric_limits<int32_t>::max()) {
    return FlagError(name, absl::StrCat("expected a duration such as 500ms or 10s, not \"", text, "\""));
  }
  return static_cast<uint32_t>(ms);
}

}  // namespace kvcompd::client
