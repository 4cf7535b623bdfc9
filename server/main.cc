// kvcompd: the daemon's process. Reads flags and environment, runs a Daemon until a signal or Admin.Drain
// ends it, and drains it: SIGTERM or SIGINT once lets running calls end, twice ends at once.
//
// Exit codes: 0 all well; 1 could not run (the port is taken, say), or ended before the drain was done; 2 the
// configuration is wrong.
#include <malloc.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "codec/base/types.h"
#include "server/ops/config.h"
#include "server/ops/logging.h"
#include "server/service/daemon.h"
#include "server/service/namespace_calls.h"

extern char** environ;

namespace kvcompd::server {
namespace {

// Message-sized memory comes and goes all the time. By default glibc gives it back to the system and takes it
// again, a page fault every 4 KiB: measured, a fifth of the time of a raw Get.
void KeepMessageMemory() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

constexpr int kExitFailed = 1;
constexpr int kExitBadConfiguration = 2;

// Admin.Drain asks by this signal, so that it is told from an operator's; the first one counts.
constexpr int kDrainSignal = SIGUSR2;
std::atomic<bool> g_drain_asked{false};
std::atomic<uint32_t> g_drain_grace_ms{0};

// A daemon that is not down so long after its grace does not go by itself any more.
constexpr absl::Duration kStuckAfterGrace = absl::Seconds(15);

std::map<std::string, std::string> Environment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) out.emplace(std::string(*entry, equals - *entry), equals + 1);
  }
  return out;
}

// The signals that end the process, blocked in every thread (call before the first one starts) and taken by
// Wait. SIGUSR1 ends a Wait of our own.
class Signals {
 public:
  Signals() {
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set_);
    for (int number : {SIGTERM, SIGINT, SIGUSR1, kDrainSignal}) sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  int Wait() const {
    int number = 0;
    while (sigwait(&set_, &number) != 0) {
    }
    return number;
  }
  // 0 at the deadline.
  int WaitUntil(absl::Time deadline) const {
    for (;;) {
      const timespec left = absl::ToTimespec(std::max(deadline - absl::Now(), absl::ZeroDuration()));
      const int number = sigtimedwait(&set_, nullptr, &left);
      if (number > 0) return number;
      if (errno == EAGAIN) return 0;
    }
  }

 private:
  sigset_t set_;
};

// While it lives, the operator's second signal ends the process (Admin.Drain's is not one of them), and so
// does the deadline.
class ImpatientExit {
 public:
  ImpatientExit(const Signals* signals, int first_signal, absl::Time deadline)
      : thread_([=] { Watch(signals, first_signal == kDrainSignal ? 0 : 1, deadline); }) {}
  ~ImpatientExit() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  static void Watch(const Signals* signals, int operator_signals, absl::Time deadline) {
    for (;;) {
      const int number = signals->WaitUntil(deadline);
      if (number == SIGUSR1) return;
      if (number == kDrainSignal) continue;
      if (number != 0 && ++operator_signals < 2) continue;
      spdlog::warn("{}, leaving at once signal={}", number != 0 ? "second signal" : "the drain is stuck",
                   number);
      _exit(kExitFailed);
    }
  }

  std::thread thread_;
};

// The file that tells where the daemon listens, from then on until it ends (but for a crash); without a path,
// nothing. Written by rename, so that who waits for it never reads half of it.
class PortFile {
 public:
  explicit PortFile(const std::string& path) : path_(path) {}
  ~PortFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  absl::Status Write(const std::string& address) const {
    if (path_.empty()) return absl::OkStatus();
    const std::string temporary = path_ + "." + std::to_string(getpid());
    std::FILE* file = std::fopen(temporary.c_str(), "w");
    bool ok = file != nullptr && std::fprintf(file, "%s\n", address.c_str()) > 0;
    if (file != nullptr) ok = std::fclose(file) == 0 && ok;
    ok = ok && std::rename(temporary.c_str(), path_.c_str()) == 0;
    if (ok) return absl::OkStatus();
    const absl::Status status = absl::UnavailableError("port-file " + path_ + ": " + std::strerror(errno));
    unlink(temporary.c_str());
    return status;
  }

 private:
  const std::string path_;
};

void LogConfig(const Config& config) {
  for (const Config::Value& value : config.values) {
    spdlog::info("option {}={} origin={}", value.name, LogValue(value.text), LogValue(value.origin));
  }
  for (const std::string& name : config.unknown_variables) {
    spdlog::warn("environment variable is no option name={}", LogValue(name));
  }
}

int CannotStart(const absl::Status& status) {
  spdlog::error("cannot start error={}", LogValue(ToStd(status.message())));
  return kExitFailed;
}

int Run(const Settings& settings, const Signals& signals) {
  auto daemon = Daemon::Start(settings.daemon, /*clock=*/nullptr, [](uint32_t grace_ms) {
    if (g_drain_asked.exchange(true)) return;
    g_drain_grace_ms = grace_ms;
    kill(getpid(), kDrainSignal);
  });
  if (!daemon.ok()) return CannotStart(daemon.status());
  const PortFile port_file(settings.port_file);
  if (absl::Status status = port_file.Write((*daemon)->address()); !status.ok()) return CannotStart(status);
  spdlog::info("listening address={}", (*daemon)->address());
  int number = signals.Wait();
  while (number == SIGUSR1) number = signals.Wait();
  const absl::Duration grace = absl::Milliseconds(
      number == kDrainSignal ? g_drain_grace_ms.load() : settings.daemon.service.drain_grace_ms);
  spdlog::info("stopping signal={} grace_ms={}", number, absl::ToInt64Milliseconds(grace));
  {
    const ImpatientExit impatient(&signals, number, absl::Now() + grace + kStuckAfterGrace);
    (*daemon)->Drain(grace);
    daemon->reset();
  }
  spdlog::info("stopped");
  return 0;
}

int Main(const std::vector<std::string>& args) {
  const auto config = LoadConfig(args, Environment());
  if (!config.ok()) {
    std::fprintf(stderr, "kvcompd: %s\n", std::string(config.status().message()).c_str());
    return kExitBadConfiguration;
  }
  switch (config->action) {
    case Action::kHelp:
      std::fputs(HelpText().c_str(), stdout);
      return 0;
    case Action::kVersion:
      std::puts(kSoftware);
      return 0;
    case Action::kPrintTable:
      std::fputs(OptionMarkdown().c_str(), stdout);
      return 0;
    case Action::kCheck:
      for (const Config::Value& value : config->values) {
        std::printf("%s=%s # %s\n", value.name.c_str(), value.text.c_str(), value.origin.c_str());
      }
      return 0;
    case Action::kRun:
      break;
  }
  KeepMessageMemory();
  const Signals signals;
  InitLogging(config->settings.log);
  LogConfig(*config);
  return Run(config->settings, signals);
}

}  // namespace
}  // namespace kvcompd::server

int main(int argc, char** argv) { return kvcompd::server::Main({argv + 1, argv + argc}); }
