#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/ctl/key_commands.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/table.h"
#include "client/watch_reader.h"
#include "codec/base/mutex.h"

namespace kvcompd::client {
namespace {

constexpr long kSignalPollNs = 50'000'000;

// Holds SIGINT and SIGTERM back in this thread and those it starts, so that the end of a watch is an orderly
// one.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  // Whether one came, after a short wait for it.
  bool Arrived() const {
    const timespec wait{.tv_sec = 0, .tv_nsec = kSignalPollNs};
    return sigtimedwait(&signals_, nullptr, &wait) > 0;
  }

 private:
  sigset_t signals_;
  sigset_t before_;
};

std::string KindText(const WatchEvent& event) {
  return event.kind == v1::Event::KIND_UNSPECIFIED ? "" : v1::Event::Kind_Name(event.kind);
}

// Prints events as they come, each whole, on the reader's thread.
class EventPrinter {
 public:
  EventPrinter(std::ostream& out, bool json, uint64_t limit) : out_(out), json_(json), limit_(limit) {}

  void Print(const WatchUpdate& update) {
    MutexLock lock(&mutex_);
    if (!update.status.ok()) return;  // the main thread says it
    if (update.reconnected) Note("reconnected", 0);
    if (update.lost_events > 0) Note("lost", update.lost_events);
    for (const WatchEvent& event : update.events) {
      if (Done()) return;
      PrintEvent(event);
      if (++printed_ == limit_) done_ = true;
    }
    out_.flush();
    if (!out_.good()) done_ = true;
  }
  // All that was asked for has come, or nothing more can be written.
  bool Done() const { return done_; }

 private:
  void Note(const char* what, uint64_t count) {
    if (json_) {
      out_ << Json({{"note", what}, {"events", count}}).dump() << "\n";
    } else {
      out_ << "# " << what << " " << count << "\n";
    }
  }
  void PrintEvent(const WatchEvent& event) {
    if (json_) {
      out_ << Json({{"kind", KindText(event)},
                    {"key", event.key.Hex()},
                    {"parent", event.parent.Hex()},
                    {"tokens", event.tokens},
                    {"reason", ReasonText(event.reason)},
                    {"epoch", Id64Text(event.generation.epoch)},
                    {"counter", event.generation.counter}})
                  .dump()
           << "\n";
      return;
    }
    out_ << KindText(event) << " " << event.key.Hex() << " tokens=" << event.tokens;
    if (event.reason != v1::REASON_UNSPECIFIED) out_ << " reason=" << ReasonText(event.reason);
    out_ << "\n";
  }

  Mutex mutex_;
  std::ostream& out_;
  const bool json_;
  const uint64_t limit_;  // 0: none
  uint64_t printed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> done_{false};
};

// Whether whoever read this program's output has gone; a watch may have nothing to write for hours.
bool ReaderHasGone(const std::ostream& out) {
  if (&out != &std::cout) return false;
  pollfd output{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

absl::Status Watch(const CommandContext& context) {
  const auto count = context.args.Whole("count", 0, uint64_t{1} << 40);
  if (!count.ok()) return AsUsageError(count.status());
  const HeldSignals signals;  // before there are threads
  auto sample = OpenTarget(context, OwnDaemon::kRefuse);
  if (!sample.ok()) return sample.status();
  EventPrinter printer(context.out, context.args.Switch("json"), *count);
  auto watch = (*sample)->ns->Watch({.snapshot = context.args.Switch("snapshot")},
                                    [&printer](const WatchUpdate& update) { printer.Print(update); });
  if (!watch.ok()) return watch.status();
  while (!printer.Done() && (*watch)->status().ok() && !signals.Arrived()) {
    if (ReaderHasGone(context.out)) return absl::UnavailableError("nobody reads the output any more");
  }
  const absl::Status status = (*watch)->status();
  return printer.Done() ? absl::OkStatus() : status;
}

}  // namespace

Command WatchCommand() {
  return {
      .name = "watch",
      .operands = "[SAMPLE]",
      .help =
          "prints what is stored and what goes in the namespace of a sample's model, or of --name (--json: "
          "an object a line)",
      .flags = WithNamespaceFlags({{"count", "N", "end after so many events; 0: at SIGINT", "0"},
                                   {"snapshot", "", "first what is stored already"},
                                   BlockTokensFlag(),
                                   ProfileFlag()}),
      .max_operands = 1,
      .run = Watch};
}

}  // namespace kvcompd::client
