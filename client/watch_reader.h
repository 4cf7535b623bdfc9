// WatchReader: hears what is stored and what goes, on a thread of its own, for as long as it lives.
//
//   auto watch = ns->Watch({.snapshot = true}, [](const WatchUpdate& u) { index.Apply(u); });
//   auto status = (*watch)->WaitReady(timeout);    // from here on nothing is missed
//   watch->reset();                                // ends it, and waits for the callback to return
//
// A connection that breaks is made again, also to a daemon that is draining. What happened in between is
// lost: an update says `reconnected` as soon as the daemon has subscribed this end anew, and with `snapshot`
// the daemon reports all it holds again. Where the watch ends for good (PERMISSION_DENIED, UNIMPLEMENTED,
// CANCELLED where the Client went and the like), a last update says why.
#ifndef KVCOMPD_CLIENT_WATCH_READER_H_
#define KVCOMPD_CLIENT_WATCH_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "codec/base/types.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::client {

class NamespaceSession;

struct WatchOptions {
  bool snapshot = false;  // first what is stored already
};

struct WatchEvent {
  v1::Event::Kind kind = v1::Event::KIND_UNSPECIFIED;
  BlockKey key;  // as stored, the salt mixed in; empty for SNAPSHOT_END
  BlockKey parent;
  Generation generation;
  v1::Tier tier = v1::TIER_UNSPECIFIED;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  uint32_t tokens = 0;
};

struct WatchUpdate {
  std::vector<WatchEvent> events;
  uint64_t lost_events = 0;  // dropped by the daemon because this end was slow
  bool reconnected = false;  // an unknown number of events before this one is lost
  absl::Status status;       // not OK: the watch has ended, and this is the last update
};

class WatchReader {
 public:
  using Callback =
      std::function<void(const WatchUpdate&)>;  // never two at a time; must not destroy the reader

  static absl::StatusOr<std::unique_ptr<WatchReader>> Start(std::shared_ptr<NamespaceSession> session,
                                                            WatchOptions options, Callback callback);
  ~WatchReader();

  // Waits for the daemon's first word: what is stored from then on is reported. DEADLINE_EXCEEDED: it has not
  // come yet (a daemon of an earlier release says it with the first event); else what ended the watch. Stays
  // OK once it was. Any thread.
  absl::Status WaitReady(absl::Duration timeout) const;
  // Totals since the start; thread-safe.
  uint64_t lost_events() const;
  uint64_t reconnects() const;
  // OK while it runs; why it stopped where it did (PERMISSION_DENIED, UNIMPLEMENTED and the like).
  absl::Status status() const;

 private:
  struct Impl;
  explicit WatchReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_WATCH_READER_H_
