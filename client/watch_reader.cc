#include "client/watch_reader.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
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
  InterruptibleWaiter waiter;  // of this reader alone, so that its end interrupts it
  std::atomic<uint64_t> lost_events{0};
  std::atomic<uint64_t> reconnects{0};
  mutable Mutex mutex;
  bool stop ABSL_GUARDED_BY(mutex) = false;
  std::shared_ptr<ByteStream> stream ABSL_GUARDED_BY(mutex);
  absl::Status status ABSL_GUARDED_BY(mutex);
  std::thread thread;

  bool Stopped() const {
    MutexLock lock(&mutex);
    return stop;
  }
  void Run();
  ByteStream::End ReadStream(const std::string& namespace_id, bool reconnected, bool* progressed);
};

// Reads one stream to its end.
ByteStream::End WatchReader::Impl::ReadStream(const std::string& namespace_id, bool reconnected,
                                              bool* progressed) {
  v1::WatchRequest request;
  request.set_namespace_id(namespace_id);
  request.set_snapshot(options.snapshot);
  // No deadline: keepalive finds a peer that is gone.
  std::shared_ptr<ByteStream> reader =
      ByteStream::Start(session->core().channels().Next(),
                        session->StreamOptions("Watch", Deadline::Never(session->core().clock())));
  {
    MutexLock lock(&mutex);
    if (stop) return {absl::CancelledError("stopped"), false};
    stream = reader;
  }
  reader->Write(EncodeBulk(request, {}));
  reader->WritesDone();
  grpc::ByteBuffer buffer;
  while (reader->Read(&buffer)) {
    v1::WatchResponse response;
    BulkView no_bulk;
    if (auto s = DecodeBulk(buffer, &response, &no_bulk); !s.ok()) {
      reader->Cancel();
      return {absl::InternalError(absl::StrCat("watch: the daemon's message: ", s.message())), false};
    }
    WatchUpdate update = UpdateOf(response);
    update.reconnected = reconnected && !*progressed;
    *progressed = true;
    lost_events += update.lost_events;
    callback(update);
    if (Stopped()) break;
  }
  if (Stopped()) reader->Cancel();
  return reader->Finish();
}

void WatchReader::Impl::Run() {
  const Deadline never = Deadline::Never(session->core().clock());
  RetryOptions retry_options = session->core().options().retry;
  retry_options.max_attempts = UINT32_MAX;  // a watcher waits for its daemon
  RetryState retry(
      retry_options, Repeat::kTransport, never, [this] { return session->core().Random(); }, &waiter);
  absl::Status last;
  bool reconnected = false;
  while (!Stopped()) {
    const NamespaceState state = session->state();
    bool progressed = false;
    const ByteStream::End end = ReadStream(state.id, reconnected, &progressed);
    if (Stopped()) break;
    if (progressed) retry.Progress();
    last = end.status;
    if (end.reopen) {
      last = session->Reopen(state.opens,
                             session->core().DeadlineOf(0, session->core().options().deadlines.open_ms));
    }
    // Opened again; or a daemon that shut down ended its streams in good order.
    if (last.ok()) last = absl::UnavailableError("watch: the daemon ended the stream");
    // Its daemon may be slow to come up, or full for now.
    if (absl::IsResourceExhausted(last) || absl::IsDeadlineExceeded(last) || absl::IsAborted(last)) {
      last = absl::UnavailableError(last.message());
    }
    if (last = retry.Next(last); !last.ok()) break;
    reconnected = true;
    ++reconnects;
  }
  MutexLock lock(&mutex);
  if (!stop) status = WithVerb("watch", last);
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
  {
    MutexLock lock(&impl_->mutex);
    impl_->stop = true;
    if (impl_->stream != nullptr) impl_->stream->Cancel();
  }
  impl_->waiter.Interrupt();
  impl_->thread.join();
}

uint64_t WatchReader::lost_events() const { return impl_->lost_events; }
uint64_t WatchReader::reconnects() const { return impl_->reconnects; }
absl::Status WatchReader::status() const {
  MutexLock lock(&impl_->mutex);
  return impl_->status;
}

}  // namespace kvcompd::client
