#include "client/ctl/local_daemon.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace kvcompd::client {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(2);
constexpr size_t kLogTailBytes = 4096;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

bool IsProgram(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

std::string PortFile(const TemporaryFolder& folder) { return folder.path() + "/port"; }
std::string LogFile(const TemporaryFolder& folder) { return folder.path() + "/log"; }

}  // namespace

absl::StatusOr<std::string> FindDaemonBinary() {
  if (const char* const named = std::getenv("KVCOMPD_BINARY"); named != nullptr && *named != '\0') {
    if (IsProgram(named)) return std::string(named);
    return absl::NotFoundError(absl::StrCat("KVCOMPD_BINARY=", named, " is no program"));
  }
  std::vector<std::string> candidates;
  const std::filesystem::path own = OwnBinaryPath();
  if (!own.empty()) {
    candidates.push_back((own.parent_path() / "kvcompd").string());
    candidates.push_back((own.parent_path().parent_path() / "server" / "kvcompd").string());
  }
  if (const char* const path = std::getenv("PATH"); path != nullptr) {
    for (absl::string_view folder : absl::StrSplit(path, ':', absl::SkipEmpty())) {
      candidates.push_back(absl::StrCat(folder, "/kvcompd"));
    }
  }
  for (const std::string& candidate : candidates) {
    if (IsProgram(candidate)) return candidate;
  }
  return absl::NotFoundError(
      "no kvcompd beside this program or on PATH; set KVCOMPD_BINARY, or --address of a daemon");
}

absl::StatusOr<std::unique_ptr<LocalDaemon>> LocalDaemon::Start(Options options) {
  std::unique_ptr<LocalDaemon> daemon(new LocalDaemon);
  if (options.binary.empty()) {
    absl::StatusOr<std::string> found = FindDaemonBinary();
    if (!found.ok()) return found.status();
    options.binary = *std::move(found);
  }
  auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  daemon->folder_ = *std::move(folder);
  daemon->options_ = std::move(options);

  ChildProcess::Options process;
  process.argv = {daemon->options_.binary, absl::StrCat("--address=", daemon->options_.address),
                  absl::StrCat("--port-file=", PortFile(*daemon->folder_))};
  for (const std::string& word : daemon->options_.extra_args) process.argv.push_back(word);
  process.stdout_path = daemon->folder_->path() + "/out";
  process.stderr_path = LogFile(*daemon->folder_);
  auto child = ChildProcess::Start(process);
  if (!child.ok()) return child.status();
  daemon->child_ = *std::move(child);
  absl::Status status = daemon->WaitUntilListening();
  if (!status.ok()) return status;
  return daemon;
}

absl::Status LocalDaemon::WaitUntilListening() {
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  for (;;) {
    // The file appears whole, by a rename.
    const std::string text(absl::StripAsciiWhitespace(ReadText(PortFile(*folder_))));
    if (!text.empty()) {
      const bool only_port = text.find_first_not_of("0123456789") == std::string::npos;
      address_ = only_port ? absl::StrCat("127.0.0.1:", text) : text;
      return absl::OkStatus();
    }
    if (!child_->Running()) {
      const absl::StatusOr<int> code = child_->Wait(absl::ZeroDuration());
      return absl::UnavailableError(absl::StrCat(options_.binary, " ended with code ", code.value_or(-1),
                                                 " at its start:\n", LogTail()));
    }
    if (absl::Now() >= deadline) {
      return absl::UnavailableError(absl::StrCat(options_.binary, " does not listen after ",
                                                 absl::FormatDuration(options_.start_timeout), ":\n",
                                                 LogTail()));
    }
    absl::SleepFor(kPollInterval);
  }
}

LocalDaemon::~LocalDaemon() {
  if (child_ != nullptr) Stop().IgnoreError();
}

absl::Status LocalDaemon::Stop() {
  if (stopped_) return absl::OkStatus();
  stopped_ = true;
  child_->Signal(SIGTERM).IgnoreError();  // it may have ended by itself
  absl::StatusOr<int> code = child_->Wait(options_.stop_timeout);
  if (!code.ok()) {
    child_->Signal(SIGKILL).IgnoreError();
    child_->Wait(options_.stop_timeout).status().IgnoreError();
    return absl::DeadlineExceededError(absl::StrCat(
        "kvcompd did not end within ", absl::FormatDuration(options_.stop_timeout), " of SIGTERM"));
  }
  if (*code != 0)
    return absl::InternalError(absl::StrCat("kvcompd ended with code ", *code, ":\n", LogTail()));
  return absl::OkStatus();
}

absl::Status LocalDaemon::Kill() {
  stopped_ = true;
  child_->Signal(SIGKILL).IgnoreError();
  return child_->Wait(options_.stop_timeout).status();
}

std::string LocalDaemon::LogTail() const {
  // The daemon logs to one of the two.
  std::string text = ReadText(folder_->path() + "/out") + ReadText(LogFile(*folder_));
  return text.size() <= kLogTailBytes ? text : text.substr(text.size() - kLogTailBytes);
}

}  // namespace kvcompd::client
