#include "client/watch_reader.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/call_scope.h"
#include "client/namespace_session.h"
#include "client/unary_call.h"
#include "proto/bulk.h"
#include "proto/convert.h"

namespace kvcompd::client {
namespace {

BlockKey KeyOrEmpty(const std::string& bytes) {
  auto key = BlockKey::FromBytes(bytes);
  return key.ok() ? *key : BlockKey();
}

WatchUpdate UpdateOf(const v1::WatchResponse& response) {
  WatchUpdate update;
  update.lost_events = response.lost_events();
  for (const v1::Event& e : response.events()) {
    update.events.push_back({.kind = e.kind(),
                             .key = KeyOrEmpty(e.key()),
                             .parent = KeyOrEmpty(e.parent_key()),
                             .generation = FromProto(e.generation()),
                             .tier = e.tier(),
                             .reason = e.reason(),
                             .tokens = e.tokens()});
  }
  return update;
}

}  // namespace

struct WatchReader::Impl {
  std::shared_ptr<NamespaceSession> session;
  WatchOptions options;
  Callback callback;
  const std::shared_ptr<Cancellation> ended = std::make_shared<Cancellation>();  // by the reader's owner
  std::atomic<uint64_t> lost_events{0};
  std::atomic<uint64_t> reconnects{0};
  mutable Mutex mutex;
  mutable CondVar cond;  // what is below changed
  bool ready ABSL_GUARDED_BY(mutex) = false;
  absl::Status status ABSL_GUARDED_BY(mutex);
  std::thread thread;

  void Run();
  absl::Status RunUntilOver();
  void Ready();
  ByteStream::End ReadStream(const CallScope& scope, const std::string& namespace_id, bool reconnected,
                             bool* progressed);
};

// Reads one stream to its end.
ByteStream::End WatchReader::Impl::ReadStream(const CallScope& scope, const std::string& namespace_id,
                                              bool reconnected, bool* progressed) {
  v1::WatchRequest request;
  request.set_namespace_id(namespace_id);
  request.set_snapshot(options.snapshot);
  // No deadline: keepalive finds a peer that is gone.
  const auto stream = ByteStream::Start(
      session->core().channels().Next(),
      session->StreamOptions("Watch", Deadline::Never(session->core().clock()), scope.token()));
  stream->Write(EncodeBulk(request, {}));
  stream->WritesDone();
  grpc::ByteBuffer buffer;
  while (stream->Read(&buffer) && !scope.cancelled()) {
    v1::WatchResponse response;
    BulkView no_bulk;
    if (auto s = DecodeBulk(buffer, &response, &no_bulk); !s.ok()) {
      return {.status = absl::InternalError(absl::StrCat("the daemon's message: ", s.message()))};
    }
    WatchUpdate update = UpdateOf(response);
    update.reconnected = reconnected && !*progressed;
    *progressed = true;
    Ready();
    lost_events += update.lost_events;
    // The daemon's first word may be that it listens, and no more.
    if (update.reconnected || update.lost_events > 0 || !update.events.empty()) callback(update);
  }
  return stream->Finish();
}

void WatchReader::Impl::Ready() {
  MutexLock lock(&mutex);
  ready = true;
  cond.SignalAll();
}

void WatchReader::Impl::Run() {
  const absl::Status last = WithVerb("watch", RunUntilOver());
  if (ended->cancelled()) return;
  {
    MutexLock lock(&mutex);
    status = last;
    cond.SignalAll();
  }
  callback({.status = last});
}

// Reads one stream after the other; why there is no further one.
absl::Status WatchReader::Impl::RunUntilOver() {
  CallScope scope(&session->core(), ended);
  const Deadline never = Deadline::Never(session->core().clock());
  RetryOptions retry_options = session->core().options().retry;
  retry_options.max_attempts = UINT32_MAX;  // a watcher waits for its daemon
  RetryState retry(
      retry_options, Repeat::kTransport, never, [this] { return session->core().Random(); }, scope.waiter());
  bool reconnected = false;
  for (;;) {
    const NamespaceState state = session->state();
    bool progressed = false;
    const ByteStream::End end = ReadStream(scope, state.id, reconnected, &progressed);
    if (progressed) retry.Progress();
    absl::Status last = end.status;
    if (end.reopen) {
      const Deadline deadline = session->core().DeadlineOf(0, session->core().options().deadlines.open_ms);
      last = session->Reopen(state.opens, deadline, scope.token());
    }
    // Opened again; or a daemon that shut down ended its streams in good order.
    if (last.ok()) last = absl::UnavailableError("the daemon ended the stream");
    // Its daemon may be slow to come up, or full for now.
    if (absl::IsResourceExhausted(last) || absl::IsDeadlineExceeded(last) || absl::IsAborted(last)) {
      last = absl::UnavailableError(last.message());
    }
    // Without the hint that it drains: the daemon that comes after it is waited for.
    if (last = scope.Next(&retry, {.status = last}); !last.ok()) return last;
    reconnected = true;
    ++reconnects;
  }
}

WatchReader::WatchReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<WatchReader>> WatchReader::Start(std::shared_ptr<NamespaceSession> session,
                                                                WatchOptions options, Callback callback) {
  if (callback == nullptr) return absl::InvalidArgumentError("watch: there is no callback");
  auto impl = std::make_unique<Impl>();
  impl->session = std::move(session);
  impl->options = options;
  impl->callback = std::move(callback);
  impl->thread = std::thread([impl = impl.get()] { impl->Run(); });
  return std::unique_ptr<WatchReader>(new WatchReader(std::move(impl)));
}

WatchReader::~WatchReader() {
  impl_->ended->Cancel();
  impl_->thread.join();
}

absl::Status WatchReader::WaitReady(absl::Duration timeout) const {
  const absl::Time limit = absl::Now() + timeout;
  MutexLock lock(&impl_->mutex);
  while (!impl_->ready) {
    if (!impl_->status.ok()) return impl_->status;
    const absl::Duration left = limit - absl::Now();
    if (left <= absl::ZeroDuration())
      return absl::DeadlineExceededError("watch: the daemon has not answered yet");
    impl_->cond.WaitFor(&impl_->mutex, left);
  }
  return absl::OkStatus();
}

uint64_t WatchReader::lost_events() const { return impl_->lost_events; }
uint64_t WatchReader::reconnects() const { return impl_->reconnects; }
absl::Status WatchReader::status() const {
  MutexLock lock(&impl_->mutex);
  return impl_->status;
}

}  // namespace kvcompd::client
