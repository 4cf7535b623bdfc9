#include "codec/base/profile.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvcompd {
namespace {

constexpr double kMinRel = 0.005;
constexpr double kMaxRel = 0.5;

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(ToAbsl(text.substr(0, 64))), "\"");
}

std::string NumberText(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

absl::Status CheckRel(std::string_view name, double value) {
  if (value >= kMinRel && value <= kMaxRel) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(ToAbsl(name), " is ", NumberText(value), ", allowed: 0.005 to 0.5"));
}

absl::Status ParseRel(std::string_view name, std::string_view text, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(name), "=", Quoted(text), " is no number"));
  }
  return CheckRel(name, *value);
}

bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
  });
}

// A newer profile says something that is not known here; anything but a name is a mistake.
absl::Status Unknown(std::string_view name, const std::string& message) {
  return IsName(name) ? absl::UnimplementedError(message) : absl::InvalidArgumentError(message);
}

absl::Status SetOption(std::string_view name, std::string_view value, Profile* profile) {
  if (name == "rel_k") return ParseRel(name, value, &profile->rel_k);
  if (name == "rel_v") return ParseRel(name, value, &profile->rel_v);
  if (name == "k_unit") {
    if (value != "block" && value != "channel") {
      return Unknown(value, absl::StrCat("k_unit=", Quoted(value), ", allowed: block, channel"));
    }
    profile->k_unit = value == "block" ? KUnit::kBlock : KUnit::kChannel;
    return absl::OkStatus();
  }
  if (name == "strict") {
    if (value != "0" && value != "1") {
      return absl::InvalidArgumentError(absl::StrCat("strict=", Quoted(value), ", allowed: 0, 1"));
    }
    profile->strict = value == "1";
    return absl::OkStatus();
  }
  return Unknown(
      name, absl::StrCat("kvcomp has no option ", Quoted(name), ", allowed: rel_k, rel_v, k_unit, strict"));
}

absl::Status SetOptions(std::string_view text, Profile* profile) {
  std::vector<std::string_view> seen;
  for (absl::string_view piece : absl::StrSplit(ToAbsl(text), ',')) {
    const std::string_view option = ToStd(piece);
    const size_t equals = option.find('=');
    if (equals == std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("option ", Quoted(option), " is not name=value"));
    }
    const std::string_view name = option.substr(0, equals);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      return absl::InvalidArgumentError(absl::StrCat("option ", Quoted(name), " stands twice"));
    }
    seen.push_back(name);
    if (absl::Status s = SetOption(name, option.substr(equals + 1), profile); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view CodecName(CodecId id) {
  switch (id) {
    case CodecId::kRaw:
      return "raw";
    case CodecId::kKvcomp:
      return "kvcomp";
  }
  return "unknown";
}

absl::StatusOr<Profile> Profile::Parse(std::string_view text) {
  if (text.empty())
    return absl::InvalidArgumentError("the profile is empty, expected codec[:option=value,...]");
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the profile has ", text.size(), " bytes, at most ", kMaxTextBytes, " are allowed"));
  }
  const size_t colon = text.find(':');
  const std::string_view codec = text.substr(0, colon);
  const bool has_options = colon != std::string_view::npos;
  Profile profile;
  if (codec == "raw") {
    if (has_options) return absl::InvalidArgumentError("codec raw takes no options");
    return profile;
  }
  if (codec == "kvcomp") {
    profile.codec = CodecId::kKvcomp;
    if (has_options) {
      if (absl::Status s = SetOptions(text.substr(colon + 1), &profile); !s.ok()) return s;
    }
    return profile;
  }
  if (!IsName(codec)) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec ", Quoted(codec), " is no name, allowed: raw, kvcomp"));
  }
  return absl::UnimplementedError(
      absl::StrCat("codec ", Quoted(codec), " is not known here, known: raw, kvcomp"));
}

absl::Status Profile::Validate() const {
  if (codec == CodecId::kRaw) return absl::OkStatus();
  if (codec != CodecId::kKvcomp) {
    return absl::UnimplementedError(absl::StrCat("codec ", static_cast<int>(codec), " is not known here"));
  }
  if (k_unit != KUnit::kBlock && k_unit != KUnit::kChannel) {
    return absl::InvalidArgumentError(
        absl::StrCat("k_unit is ", static_cast<int>(k_unit), ", allowed: block, channel"));
  }
  if (absl::Status s = CheckRel("rel_k", rel_k); !s.ok()) return s;
  return CheckRel("rel_v", rel_v);
}

std::string Profile::Text() const {
  if (codec != CodecId::kKvcomp) return std::string(CodecName(codec));
  return absl::StrCat("kvcomp:rel_k=", NumberText(rel_k), ",rel_v=", NumberText(rel_v),
                      k_unit == KUnit::kChannel ? ",k_unit=channel" : "", strict ? ",strict=1" : "");
}

double Profile::ErrorBound() const { return std::max(ErrorBound(Tensor::kK), ErrorBound(Tensor::kV)); }

}  // namespace kvcompd
