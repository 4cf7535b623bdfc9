#include "codec/base/profile.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
  });
}

// A newer profile says something that is not known here; anything but a name is a mistake.
absl::Status Unknown(std::string_view name, const std::string& message) {
  return IsName(name) ? absl::UnimplementedError(message) : absl::InvalidArgumentError(message);
}

// One option of a codec: how its value is read, checked and written.
struct Option {
  std::string_view name;
  absl::Status (*parse)(std::string_view name, std::string_view value, Profile* profile);
  absl::Status (*check)(std::string_view name, const Profile& profile);
  std::string (*text)(const Profile& profile);
  bool always = false;  // in the canonical text even at its default
};

template <double Profile::*kField>
absl::Status CheckRel(std::string_view name, const Profile& p) {
  if (p.*kField >= kMinRel && p.*kField <= kMaxRel) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(ToAbsl(name), " is ", NumberText(p.*kField), ", allowed: 0.005 to 0.5"));
}

template <double Profile::*kField>
absl::Status ParseRel(std::string_view name, std::string_view text, Profile* p) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), p->*kField);
  if (error != std::errc() || end != text.data() + text.size()) {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(name), "=", Quoted(text), " is no number"));
  }
  return CheckRel<kField>(name, *p);
}

template <double Profile::*kField>
constexpr Option Rel(std::string_view name) {
  return {name, ParseRel<kField>, CheckRel<kField>, [](const Profile& p) { return NumberText(p.*kField); },
          true};
}

// A value that is one of a few names, for the enumerators kFirst, kFirst + 1, ...
template <auto kField, const auto& kNames, int kFirst>
constexpr Option Named(std::string_view name, bool always = false) {
  using Enum = std::remove_cvref_t<decltype(std::declval<Profile>().*kField)>;
  return {
      name,
      [](std::string_view option, std::string_view text, Profile* p) -> absl::Status {
        for (size_t i = 0; i < kNames.size(); ++i) {
          if (text != kNames[i]) continue;
          p->*kField = static_cast<Enum>(kFirst + i);
          return absl::OkStatus();
        }
        return Unknown(text, absl::StrCat(ToAbsl(option), "=", Quoted(text),
                                          ", allowed: ", absl::StrJoin(kNames, ", ")));
      },
      [](std::string_view option, const Profile& p) -> absl::Status {
        const size_t i = static_cast<size_t>(p.*kField) - kFirst;
        if (i < kNames.size()) return absl::OkStatus();
        return absl::InvalidArgumentError(absl::StrCat(ToAbsl(option), " is ", static_cast<int>(p.*kField),
                                                       ", allowed: ", absl::StrJoin(kNames, ", ")));
      },
      [](const Profile& p) {
        const size_t i = static_cast<size_t>(p.*kField) - kFirst;
        return i < kNames.size() ? std::string(kNames[i]) : std::string("?");
      },
      always};
}

// What 0 says of a number: nothing that is allowed, that the option is not given, or its value "auto".
enum class Zero { kRefused, kAbsent, kAuto };
constexpr char kAuto[] = "auto";

template <const auto& kValues, Zero kZero>
std::string AllowedText() {
  return absl::StrCat(absl::StrJoin(kValues, ", "), kZero == Zero::kAuto ? ", auto" : "");
}

// A whole number out of a few.
template <auto kField, const auto& kValues, Zero kZero = Zero::kRefused>
constexpr Option Number(std::string_view name, bool always = false) {
  using Field = std::remove_cvref_t<decltype(std::declval<Profile>().*kField)>;
  return {name,
          [](std::string_view option, std::string_view text, Profile* p) -> absl::Status {
            for (const uint32_t value : kValues) {
              if (text != ToStd(absl::StrCat(value))) continue;
              p->*kField = static_cast<Field>(value);
              return absl::OkStatus();
            }
            if (kZero == Zero::kAuto && text == kAuto) {
              p->*kField = Field{0};
              return absl::OkStatus();
            }
            return absl::InvalidArgumentError(absl::StrCat(ToAbsl(option), "=", Quoted(text),
                                                           ", allowed: ", AllowedText<kValues, kZero>()));
          },
          [](std::string_view option, const Profile& p) -> absl::Status {
            const auto value = static_cast<uint32_t>(p.*kField);
            if (kZero != Zero::kRefused && value == 0) return absl::OkStatus();
            if (std::find(kValues.begin(), kValues.end(), value) != kValues.end()) return absl::OkStatus();
            return absl::InvalidArgumentError(
                absl::StrCat(ToAbsl(option), " is ", value, ", allowed: ", AllowedText<kValues, kZero>()));
          },
          [](const Profile& p) {
            const auto value = static_cast<uint32_t>(p.*kField);
            return kZero == Zero::kAuto && value == 0 ? std::string(kAuto) : absl::StrCat(value);
          },
          always};
}

constexpr std::array<const char*, 2> kModes = {"fast", "dense"};
constexpr std::array<const char*, 2> kKUnits = {"block", "channel"};
constexpr std::array<const char*, 2> kVUnits = {"token", "block"};
constexpr std::array<const char*, 2> kCoders = {"huffman", "rans"};
constexpr std::array<const char*, 4> kRepacks = {"none", "median", "greedy", "auto"};
constexpr std::array<uint32_t, 3> kBits = {2, 4, 8};
constexpr std::array<uint32_t, 3> kGroups = {32, 64, 128};
constexpr std::array<uint32_t, 4> kPacks = {4, 8, 16, 32};
constexpr std::array<uint32_t, 2> kSwitch = {0, 1};

constexpr Option kLosslessOptions[] = {Named<&Profile::mode, kModes, 1>("mode", true)};
constexpr Option kIntqOptions[] = {Number<&Profile::bits, kBits>("bits", true),
                                   Number<&Profile::group, kGroups>("group", true),
                                   Number<&Profile::bits_v, kBits, Zero::kAbsent>("bits_v")};
constexpr Option kKvcompOptions[] = {Rel<&Profile::rel_k>("rel_k"),
                                     Rel<&Profile::rel_v>("rel_v"),
                                     Named<&Profile::k_unit, kKUnits, 1>("k_unit"),
                                     Number<&Profile::strict, kSwitch>("strict"),
                                     Named<&Profile::v_unit, kVUnits, 1>("v_unit"),
                                     Named<&Profile::coder, kCoders, 1>("coder")};
constexpr Option kPackkvOptions[] = {Rel<&Profile::rel_k>("rel_k"), Rel<&Profile::rel_v>("rel_v"),
                                     Named<&Profile::repack, kRepacks, 0>("repack"),
                                     Number<&Profile::pack, kPacks, Zero::kAuto>("pack")};

struct Grammar {
  CodecId codec;
  const char* name;
  std::span<const Option> options;
};
constexpr Grammar kGrammars[] = {
    {CodecId::kRaw, "raw", {}},
    {CodecId::kLossless, "lossless", kLosslessOptions},
    {CodecId::kIntq, "intq", kIntqOptions},
    {CodecId::kKvcomp, "kvcomp", kKvcompOptions},
    {CodecId::kPackkv, "packkv", kPackkvOptions},
};

const Grammar* FindGrammar(CodecId codec) {
  for (const Grammar& grammar : kGrammars) {
    if (grammar.codec == codec) return &grammar;
  }
  return nullptr;
}

std::string CodecNames() {
  return absl::StrJoin(kGrammars, ", ",
                       [](std::string* out, const Grammar& grammar) { absl::StrAppend(out, grammar.name); });
}

absl::Status SetOption(const Grammar& grammar, std::string_view name, std::string_view value,
                       Profile* profile) {
  for (const Option& option : grammar.options) {
    if (option.name == name) return option.parse(name, value, profile);
  }
  const auto append = [](std::string* out, const Option& option) {
    absl::StrAppend(out, ToAbsl(option.name));
  };
  return Unknown(name, absl::StrCat(grammar.name, " has no option ", Quoted(name),
                                    ", allowed: ", absl::StrJoin(grammar.options, ", ", append)));
}

absl::Status SetOptions(const Grammar& grammar, std::string_view text, Profile* profile) {
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
    if (absl::Status s = SetOption(grammar, name, option.substr(equals + 1), profile); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view CodecName(CodecId id) {
  const Grammar* const grammar = FindGrammar(id);
  return grammar == nullptr ? "unknown" : grammar->name;
}

std::string_view RepackName(Repack repack) {
  const auto i = static_cast<size_t>(repack);
  return i < kRepacks.size() ? kRepacks[i] : "unknown";
}

Profile Profile::Of(CodecId codec) {
  Profile profile{.codec = codec};
  if (codec == CodecId::kPackkv) {
    profile.rel_k = 0.1;
    profile.rel_v = 0.2;
  }
  return profile;
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
  for (const Grammar& grammar : kGrammars) {
    if (codec != grammar.name) continue;
    Profile profile = Of(grammar.codec);
    if (colon == std::string_view::npos) return profile;
    if (grammar.options.empty())
      return absl::InvalidArgumentError(absl::StrCat("codec ", grammar.name, " takes no options"));
    if (absl::Status s = SetOptions(grammar, text.substr(colon + 1), &profile); !s.ok()) return s;
    if (profile.bits_v == profile.bits) profile.bits_v = 0;
    return profile;
  }
  if (!IsName(codec)) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec ", Quoted(codec), " is no name, allowed: ", CodecNames()));
  }
  return absl::UnimplementedError(
      absl::StrCat("codec ", Quoted(codec), " is not known here, known: ", CodecNames()));
}

absl::Status Profile::Validate() const {
  const Grammar* const grammar = FindGrammar(codec);
  if (grammar == nullptr) {
    return absl::UnimplementedError(absl::StrCat("codec ", static_cast<int>(codec), " is not known here"));
  }
  for (const Option& option : grammar->options) {
    if (absl::Status s = option.check(option.name, *this); !s.ok()) return s;
  }
  return absl::OkStatus();
}

std::string Profile::Text() const {
  const Grammar* const grammar = FindGrammar(codec);
  if (grammar == nullptr) return "unknown";
  const Profile defaults = Of(codec);
  std::string out = grammar->name;
  char separator = ':';
  for (const Option& option : grammar->options) {
    const std::string value = option.text(*this);
    if (!option.always && value == option.text(defaults)) continue;
    absl::StrAppend(&out, std::string(1, separator), ToAbsl(option.name), "=", value);
    separator = ',';
  }
  return out;
}

double Profile::ErrorBound(Tensor t) const {
  if (lossless()) return 0.0;
  if (codec == CodecId::kIntq) return 0.5 / ((1u << bits_of(t)) - 1);
  return rel(t) / 2;
}

double Profile::ErrorBound() const { return std::max(ErrorBound(Tensor::kK), ErrorBound(Tensor::kV)); }

}  // namespace kvcompd
