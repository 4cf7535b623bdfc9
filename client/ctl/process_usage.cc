#include "client/ctl/process_usage.h"

#include <dirent.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "codec/base/types.h"

namespace kvcompd::client {
namespace {

std::string Folder(pid_t pid) { return pid == 0 ? "/proc/self" : absl::StrCat("/proc/", pid); }

absl::StatusOr<std::string> ReadProcFile(pid_t pid, const char* name) {
  const std::string path = absl::StrCat(Folder(pid), "/", name);
  std::ifstream in(path);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.empty()) return absl::NotFoundError(absl::StrCat(path, ": nothing to read"));
  return text;
}

absl::Status NoFields(absl::string_view file) {
  return absl::InvalidArgumentError(absl::StrCat(file, " without the fields that are needed"));
}

}  // namespace

absl::StatusOr<uint64_t> CpuTicksOfStat(std::string_view stat) {
  // proc(5): pid (comm) state ...; utime and stime are fields 14 and 15, so 11 and 12 after the bracket.
  const size_t bracket = stat.rfind(") ");
  if (bracket == std::string_view::npos) return NoFields("stat");
  const std::vector<absl::string_view> fields =
      absl::StrSplit(ToAbsl(stat.substr(bracket + 2)), ' ', absl::SkipEmpty());
  constexpr size_t kUserTime = 11;
  uint64_t user = 0;
  uint64_t system = 0;
  if (fields.size() <= kUserTime + 1 || !absl::SimpleAtoi(fields[kUserTime], &user) ||
      !absl::SimpleAtoi(fields[kUserTime + 1], &system)) {
    return NoFields("stat");
  }
  return user + system;
}

absl::StatusOr<double> CpuSeconds(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadProcFile(pid, "stat");
  if (!text.ok()) return text.status();
  const absl::StatusOr<uint64_t> ticks = CpuTicksOfStat(*text);
  if (!ticks.ok()) return ticks.status();
  return static_cast<double>(*ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

absl::StatusOr<uint64_t> ResidentBytes(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadProcFile(pid, "statm");
  if (!text.ok()) return text.status();
  const std::vector<absl::string_view> fields = absl::StrSplit(*text, ' ');
  uint64_t pages = 0;
  if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &pages)) return NoFields("statm");
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

absl::StatusOr<uint32_t> OpenDescriptors(pid_t pid) {
  const std::string path = Folder(pid) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), &closedir);
  if (folder == nullptr) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  uint32_t count = 0;
  while (const dirent* entry = readdir(folder.get())) {
    if (entry->d_name[0] != '.') ++count;
  }
  const bool own = pid == 0 || pid == getpid();
  return count - (own ? 1 : 0);
}

}  // namespace kvcompd::client
