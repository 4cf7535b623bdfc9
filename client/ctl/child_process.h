// ChildProcess: a program started by kvcompctl or by a test, whose end is waited for with a bound.
//
// Called by LocalDaemon, the demo and the benchmarks. One thread at a time.
//
//   auto child = ChildProcess::Start({.argv = {"/usr/bin/kvcompd", "--address=127.0.0.1:0"}});
//   (*child)->Signal(SIGTERM);
//   auto code = (*child)->Wait(absl::Seconds(10));     // exit code, or 128 + signal
#ifndef KVCOMPD_CLIENT_CTL_CHILD_PROCESS_H_
#define KVCOMPD_CLIENT_CTL_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kvcompd::client {

class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> argv;  // argv[0] is the path of the program
    // Files that take the output; empty: this process's.
    std::string stdout_path;
    std::string stderr_path;
    // SIGKILL when the thread that started it ends, so that no child outlives a parent that was killed.
    bool die_with_parent = true;
  };

  // INVALID_ARGUMENT: no argv; INTERNAL: a file or process could not be made. A program that cannot be
  // executed exits with 127.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const Options& options);
  ~ChildProcess();  // SIGKILL where it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  // FAILED_PRECONDITION: it has ended.
  absl::Status Signal(int signal);
  // DEADLINE_EXCEEDED: it still runs.
  absl::StatusOr<int> Wait(absl::Duration timeout);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  void Reap(bool block);

  const pid_t pid_;
  std::optional<int> exit_code_;
};

// A folder of its own under TMPDIR or /tmp, removed with its contents.
class TemporaryFolder {
 public:
  static absl::StatusOr<std::unique_ptr<TemporaryFolder>> Create();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// Path of this program's file; empty where the system does not tell.
std::string OwnBinaryPath();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_CHILD_PROCESS_H_
