// WatchReactor: one Watch call. Subscribes to the store's hub, sends what is stored already where asked, then
// what happens, up to kMaxEvents a message. A reader that is slower than the events loses the oldest and is
// told how many in the next message.
//
// A snapshot is taken after the subscription, a part of the index at a time as the reader takes it: an event
// may therefore be told twice (once by the snapshot, once as it happened, with the same generation), but none
// is missed. The first message comes at once, events or not.
//
// Made by KvCacheService::Watch through StartWatch; deletes itself in OnDone. The hub's wake may come from
// any thread and also late: it holds the state that both share, not the reactor.
#ifndef KVCOMPD_SERVER_SERVICE_WATCH_REACTOR_H_
#define KVCOMPD_SERVER_SERVICE_WATCH_REACTOR_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>

#include "codec/base/mutex.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

class WatchReactor final : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  static constexpr int kMaxEvents = 256;  // of one message

  WatchReactor(ServiceContext* context, grpc::CallbackServerContext* call, const v1::WatchRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Who holds the turn is the only one to touch the reactor, to write and to finish; a turn ends by a write
  // (OnWriteDone has it then), by going idle, or by Finish (and nobody has it any more).
  struct Turn {
    Mutex mutex;
    bool held ABSL_GUARDED_BY(mutex) = true;  // the constructor's
    bool woken ABSL_GUARDED_BY(mutex) = false;
    absl::Status end ABSL_GUARDED_BY(mutex);  // not OK: to finish with
    WatchReactor* reactor = nullptr;          // touched by the holder only

    void Wake();
    // Where somebody else has the turn, that one ends the call, when a write under way is done.
    void End(const absl::Status& status);
  };

  absl::Status Begin(grpc::CallbackServerContext* call, const v1::WatchRequest& request);
  // The holder's: writes what there is, or finishes, or gives the turn up.
  void Advance();
  bool FillMessage();
  void FillBacklog();

  ServiceContext* const context_;
  const std::shared_ptr<Turn> turn_ = std::make_shared<Turn>();
  std::shared_ptr<Namespace> ns_;
  bool subscribed_told_ = false;
  bool snapshot_ = false;  // not told to its end
  uint32_t snapshot_part_ = 0;
  std::unique_ptr<ActiveStreams::Entry> stream_;
  std::shared_ptr<WatchHub::Watcher> watcher_;
  std::deque<Event> backlog_;  // taken from the watcher, not sent yet
  uint64_t lost_ = 0;          // not told yet
  v1::WatchResponse message_;
};

// For KvCacheService: the reactor of one Watch call.
grpc::ServerWriteReactor<v1::WatchResponse>* StartWatch(ServiceContext* context,
                                                        grpc::CallbackServerContext* call,
                                                        const v1::WatchRequest* request);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_WATCH_REACTOR_H_
