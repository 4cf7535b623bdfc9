#include "server/ops/yaml_options.h"

#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::string text(kMaxFileBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  if (text.size() > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat(path, ": longer than 1 MiB"));
  return text;
}

std::string Where(const std::string& path, const YAML::Mark& mark) {
  return mark.is_null() ? path : absl::StrCat(path, ":", mark.line + 1);
}

absl::StatusOr<std::vector<YamlEntry>> Entries(const YAML::Node& root, const std::string& path) {
  std::vector<YamlEntry> entries;
  if (root.IsNull()) return entries;  // nothing but comments
  if (!root.IsMap())
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected lines of `option: value`"));
  std::set<std::string> seen;
  for (const auto& pair : root) {
    const std::string where = Where(path, pair.first.Mark());
    if (!pair.first.IsScalar())
      return absl::InvalidArgumentError(absl::StrCat(where, ": expected an option's name"));
    const std::string key = pair.first.Scalar();
    if (!pair.second.IsScalar()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, ": expected one value"));
    }
    if (!seen.insert(key).second)
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, " stands twice"));
    entries.push_back({key, pair.second.Scalar(), where});
  }
  return entries;
}

}  // namespace

absl::StatusOr<std::vector<YamlEntry>> ReadYamlOptions(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  // yaml-cpp reports by exceptions; they end here.
  try {
    return Entries(YAML::Load(*text), path);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(Where(path, e.mark), ": ", e.msg));
  }
}

}  // namespace kvcompd::server
