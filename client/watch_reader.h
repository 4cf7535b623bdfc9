// WatchReader: hears what is stored and what goes, on a thread of its own, for as long as it lives.
//
//   auto watch = ns->Watch({.snapshot = true}, [](const WatchUpdate& u) { index.Apply(u); });
//   watch->reset();                             // ends it, and waits for the callback to return
//
// A connection that breaks is made again. What happened in between is lost: the first update after it says
// `reconnected`, and with `snapshot` the daemon reports all it holds again.
#ifndef KVCOMPD_CLIENT_WATCH_READER_H_
#define KVCOMPD_CLIENT_WATCH_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
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
};

class WatchReader {
 public:
  using Callback =
      std::function<void(const WatchUpdate&)>;  // never two at a time; must not destroy the reader

  static absl::StatusOr<std::unique_ptr<WatchReader>> Start(std::shared_ptr<NamespaceSession> session,
                                                            WatchOptions options, Callback callback);
  ~WatchReader();

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
