#include "server/service/watch_reactor.h"

#include <iterator>
#include <string>
#include <utility>

#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

static_assert(static_cast<int>(Event::Kind::kStored) == v1::Event::STORED);
static_assert(static_cast<int>(Event::Kind::kRemoved) == v1::Event::REMOVED);
static_assert(static_cast<int>(Event::Kind::kSnapshotEnd) == v1::Event::SNAPSHOT_END);

void Fill(const Event& event, v1::Event* out) {
  out->set_kind(static_cast<v1::Event::Kind>(event.kind));
  if (event.kind == Event::Kind::kSnapshotEnd) return;
  out->set_key(std::string(event.key.view()));
  out->set_parent_key(std::string(event.parent.view()));
  *out->mutable_generation() = ToProto(event.generation);
  out->set_tier(v1::TIER_HOST);
  out->set_reason(static_cast<v1::Reason>(event.reason));
  out->set_tokens(event.tokens);
}

}  // namespace

void WatchReactor::Turn::Wake() {
  {
    MutexLock lock(&mutex);
    woken = true;
    if (held) return;
    held = true;
  }
  reactor->Advance();
}

void WatchReactor::Turn::End(const absl::Status& status) {
  {
    MutexLock lock(&mutex);
    if (end.ok()) end = status;
    if (held) return;
    held = true;
  }
  reactor->Advance();
}

WatchReactor::WatchReactor(ServiceContext* context, grpc::CallbackServerContext* call,
                           const v1::WatchRequest& request)
    : context_(context) {
  turn_->reactor = this;
  const absl::Status status = Begin(call, request);
  if (!status.ok()) {
    CountRejected(*context_, status);
    MutexLock lock(&turn_->mutex);
    turn_->end = status;
  }
  Advance();
}

absl::Status WatchReactor::Begin(grpc::CallbackServerContext* call, const v1::WatchRequest& request) {
  auto ns = ResolveNamespace(*context_, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  ns_ = *ns;  // which keeps it from being dropped
  // A drain ends the call with a status that sends the watcher elsewhere; where a reader holds up a write,
  // the server's shutdown cancels it.
  const auto cancel = [turn = turn_] {
    turn->End(absl::UnavailableError("the daemon is draining; watch another"));
  };
  stream_ = context_->streams->Add(context_->clock->NowUs(), cancel, /*may_idle=*/true);
  if (stream_ == nullptr) {
    return absl::ResourceExhaustedError("too many open streams; try again later");
  }
  // After Add: a drain either finds this stream and cancels it, or is seen here.
  if (absl::Status status = CheckNotDraining(*context_, call); !status.ok()) return status;
  watcher_ = context_->store->watch().Subscribe(ns_->id(), [turn = turn_] { turn->Wake(); });
  snapshot_ = request.snapshot();
  return absl::OkStatus();
}

void WatchReactor::FillBacklog() {
  std::vector<Event> events;
  if (snapshot_) {
    while (events.empty() && snapshot_part_ < context_->store->snapshot_parts()) {
      events = context_->store->SnapshotEvents(ns_, snapshot_part_++);
    }
    snapshot_ = !events.empty();
    if (events.empty()) events.push_back({.kind = Event::Kind::kSnapshotEnd});
  } else {
    uint64_t lost = 0;
    events = watcher_->Take(&lost);
    lost_ += lost;
  }
  backlog_.assign(std::make_move_iterator(events.begin()), std::make_move_iterator(events.end()));
}

bool WatchReactor::FillMessage() {
  message_.Clear();
  while (message_.events_size() < kMaxEvents) {
    if (backlog_.empty()) FillBacklog();
    if (backlog_.empty()) break;
    Fill(backlog_.front(), message_.add_events());
    backlog_.pop_front();
  }
  message_.set_lost_events(std::exchange(lost_, 0));
  const bool first = !std::exchange(subscribed_told_, true);
  return first || message_.events_size() > 0 || message_.lost_events() > 0;
}

void WatchReactor::Advance() {
  const std::shared_ptr<Turn> turn = turn_;  // Finish may end this reactor
  for (;;) {
    absl::Status end;
    {
      MutexLock lock(&turn->mutex);
      turn->woken = false;
      end = turn->end;
    }
    if (!end.ok()) {
      Finish(ToGrpc(end));  // the turn stays held: nobody comes after this
      return;
    }
    if (FillMessage()) {
      StartWrite(&message_);  // the turn is OnWriteDone's from here on
      return;
    }
    MutexLock lock(&turn->mutex);
    if (turn->woken || !turn->end.ok()) continue;
    turn->held = false;
    return;
  }
}

void WatchReactor::OnWriteDone(bool ok) {
  if (!ok) {
    MutexLock lock(&turn_->mutex);
    if (turn_->end.ok()) turn_->end = absl::CancelledError("the watcher went away");
  }
  Advance();
}

void WatchReactor::OnCancel() { turn_->End(absl::CancelledError("the watcher went away")); }

void WatchReactor::OnDone() {
  stream_.reset();  // waits for a cancel under way
  if (watcher_ != nullptr) context_->store->watch().Unsubscribe(watcher_);
  delete this;
}

grpc::ServerWriteReactor<v1::WatchResponse>* StartWatch(ServiceContext* context,
                                                        grpc::CallbackServerContext* call,
                                                        const v1::WatchRequest* request) {
  return new WatchReactor(context, call, *request);
}

}  // namespace kvcompd::server
