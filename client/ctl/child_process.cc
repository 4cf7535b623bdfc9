#include "client/ctl/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace kvcompd::client {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(2);

absl::Status SystemError(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// -1: no path; -2: could not be opened.
int OpenOutput(const std::string& path) {
  if (path.empty()) return -1;
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  return fd < 0 ? -2 : fd;
}

// In the child: only calls that are safe after fork in a process with threads.
[[noreturn]] void Execute(char* const* argv, int out_fd, int err_fd, bool die_with_parent, pid_t parent) {
  if (die_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // it was gone before the line above
  }
  if (out_fd >= 0) dup2(out_fd, STDOUT_FILENO);
  if (err_fd >= 0) dup2(err_fd, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // a mask of the caller's thread is not the program's business
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Options& options) {
  if (options.argv.empty()) return absl::InvalidArgumentError("a process needs a program");
  std::vector<char*> argv;
  for (const std::string& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int out_fd = OpenOutput(options.stdout_path);
  const int err_fd = OpenOutput(options.stderr_path);
  absl::Status status;
  pid_t pid = -1;
  if (out_fd == -2 || err_fd == -2) {
    status =
        SystemError(absl::StrCat("cannot write ", out_fd == -2 ? options.stdout_path : options.stderr_path));
  } else {
    const pid_t parent = getpid();
    pid = fork();
    if (pid == 0) Execute(argv.data(), out_fd, err_fd, options.die_with_parent, parent);
    if (pid < 0) status = SystemError("fork");
  }
  if (out_fd >= 0) close(out_fd);
  if (err_fd >= 0) close(err_fd);
  if (!status.ok()) return status;
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid));
}

ChildProcess::~ChildProcess() {
  if (exit_code_.has_value()) return;
  kill(pid_, SIGKILL);
  Reap(/*block=*/true);
}

void ChildProcess::Reap(bool block) {
  if (exit_code_.has_value()) return;
  int state = 0;
  pid_t got = 0;
  do {
    got = waitpid(pid_, &state, block ? 0 : WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got == pid_) exit_code_ = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  if (got < 0) exit_code_ = 127;  // not our child any more
}

bool ChildProcess::Running() {
  Reap(/*block=*/false);
  return !exit_code_.has_value();
}

absl::Status ChildProcess::Signal(int signal) {
  if (!Running()) return absl::FailedPreconditionError("the process has ended");
  return kill(pid_, signal) == 0 ? absl::OkStatus() : SystemError("kill");
}

absl::StatusOr<int> ChildProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (Running()) {
    if (absl::Now() >= deadline)
      return absl::DeadlineExceededError(absl::StrCat("process ", pid_, " still runs"));
    absl::SleepFor(kPollInterval);
  }
  return *exit_code_;
}

absl::StatusOr<std::unique_ptr<TemporaryFolder>> TemporaryFolder::Create() {
  const char* const base = std::getenv("TMPDIR");
  std::string path = absl::StrCat(base != nullptr && *base != '\0' ? base : "/tmp", "/kvcompctl-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return SystemError(absl::StrCat("cannot make ", path));
  return std::unique_ptr<TemporaryFolder>(new TemporaryFolder(std::move(path)));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string OwnBinaryPath() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "" : path.string();
}

}  // namespace kvcompd::client
