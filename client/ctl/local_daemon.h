// LocalDaemon: a kvcompd of one's own on a free port, for as long as the object lives.
//
// Called by kvcompctl where no address is given, by the demo, the benchmarks and tests. One thread at a time;
// the thread that starts it must outlive it (the daemon is killed when that thread ends).
//
//   auto daemon = LocalDaemon::Start({.extra_args = {"--host-memory=1GiB"}});
//   auto client = Client::Connect({.address = (*daemon)->address()});
//   (*daemon)->Stop();                                  // SIGTERM; or let it go out of scope
#ifndef KVCOMPD_CLIENT_CTL_LOCAL_DAEMON_H_
#define KVCOMPD_CLIENT_CTL_LOCAL_DAEMON_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/ctl/child_process.h"

namespace kvcompd::client {

class LocalDaemon {
 public:
  struct Options {
    std::string binary;                   // empty: FindDaemonBinary
    std::string address = "127.0.0.1:0";  // a fixed port starts it again where it was
    std::vector<std::string> extra_args;  // further flags of kvcompd
    absl::Duration start_timeout = absl::Seconds(30);
    absl::Duration stop_timeout = absl::Seconds(15);
  };

  // Returns when it accepts calls. NOT_FOUND: no binary; UNAVAILABLE: it ended or did not listen in time,
  // with the last lines of its log.
  static absl::StatusOr<std::unique_ptr<LocalDaemon>> Start(Options options);
  ~LocalDaemon();  // Stop

  const std::string& address() const { return address_; }  // "127.0.0.1:43210"
  pid_t pid() const { return child_->pid(); }
  bool Running() { return child_->Running(); }
  // SIGTERM, and SIGKILL where it does not end in time (DEADLINE_EXCEEDED then). INTERNAL: its exit code was
  // not 0. OK where it was stopped or killed before.
  absl::Status Stop();
  // SIGKILL, and waits.
  absl::Status Kill();
  // The end of what it wrote to its log.
  std::string LogTail() const;

 private:
  LocalDaemon() = default;
  absl::Status WaitUntilListening();

  Options options_;
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<ChildProcess> child_;
  std::string address_;
  bool stopped_ = false;
};

// KVCOMPD_BINARY; else kvcompd beside this program or in the build tree's server/; else on PATH. NOT_FOUND.
absl::StatusOr<std::string> FindDaemonBinary();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_LOCAL_DAEMON_H_
