#include "server/service/get_reactor.h"

#include <utility>

#include "proto/bulk.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

absl::StatusOr<std::unique_ptr<GetProducer>> Begin(ServiceContext* context, grpc::CallbackServerContext* call,
                                                   const grpc::ByteBuffer& buffer) {
  v1::GetRequest request;
  BulkView no_bulk;
  if (auto status = DecodeBulk(buffer, &request, &no_bulk); !status.ok()) return status;
  auto ns = ResolveNamespace(*context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  return GetProducer::Create(context, *std::move(ns), request);
}

}  // namespace

GetReactor::GetReactor(ServiceContext* context, grpc::CallbackServerContext* call,
                       const grpc::ByteBuffer* request)
    : context_(context) {
  stream_ = context_->streams->Add(
      context_->clock->NowUs(), [call] { call->TryCancel(); }, /*may_idle=*/false);
  absl::StatusOr<std::unique_ptr<GetProducer>> producer =
      absl::ResourceExhaustedError("too many open streams; try again later");
  if (stream_ != nullptr) {
    shared_->activity = stream_->activity();
    shared_->share =
        context_->messages->Take(context_->options.get_window_bytes, context_->options.target_message_bytes);
    if (shared_->share.bytes() == 0) {
      producer = NoMessageMemory();
    } else {
      producer = Begin(context_, call, *request);
    }
  }
  MutexLock lock(&shared_->mutex);
  shared_->reactor = this;
  if (producer.ok()) {
    shared_->producer = *std::move(producer);
  } else {
    shared_->status = producer.status();
    CountRejected(*context_, shared_->status);
    shared_->exhausted = true;
  }
  Advance(*shared_);
}

void GetReactor::Produce(const Clock* clock, const std::shared_ptr<Shared>& shared, codec::Workspace& ws) {
  const uint64_t window = shared->share.bytes();
  uint64_t made = 0;
  for (;;) {
    grpc::ByteBuffer message;
    const bool more = shared->producer->Next(ws, &message);
    MutexLock lock(&shared->mutex);
    const bool over = shared->exhausted || shared->reactor == nullptr;  // cancelled meanwhile
    if (more && !over) {
      made += message.Length();
      shared->ready_bytes += message.Length();
      shared->ready.push_back(std::move(message));
    } else {
      shared->exhausted = true;
    }
    const bool stop = shared->exhausted || shared->ready_bytes >= window || made >= window;
    if (stop) {
      shared->producing = false;
      shared->activity->EndWork(clock->NowUs());
    }
    if (shared->reactor != nullptr) shared->reactor->Advance(*shared);
    if (stop) return;
  }
}

void GetReactor::Advance(Shared& shared) {
  if (shared.finished) return;
  if (!shared.exhausted && !shared.producing && shared.ready_bytes <= shared.share.bytes() / 2) {
    shared.activity->BeginWork();
    shared.producing = context_->pool->Submit(
        WorkerPool::Priority::kRead,
        [clock = context_->clock, keep = shared_](codec::Workspace& ws) { Produce(clock, keep, ws); });
    if (!shared.producing) {
      shared.activity->EndWork(context_->clock->NowUs());
      shared.exhausted = true;
      shared.status = absl::UnavailableError("the daemon is stopping; use another or try again later");
      CountRejected(*context_, shared.status);
    }
  }
  if (shared.writing) return;
  if (!shared.ready.empty()) {
    current_ = std::move(shared.ready.front());
    shared.ready.pop_front();
    shared.ready_bytes -= current_.Length();
    shared.writing = true;
    StartWrite(&current_);
  } else if (shared.exhausted && !shared.producing) {
    shared.finished = true;
    Finish(ToGrpc(shared.status));
  }
}

void GetReactor::OnWriteDone(bool ok) {
  MutexLock lock(&shared_->mutex);
  if (stream_ != nullptr) stream_->activity()->Progress(context_->clock->NowUs());
  current_.Clear();
  shared_->writing = false;
  if (!ok) {
    shared_->exhausted = true;
    shared_->ready.clear();
    shared_->ready_bytes = 0;
    if (shared_->status.ok()) shared_->status = absl::CancelledError("the reader went away");
  }
  Advance(*shared_);
}

void GetReactor::OnCancel() {
  MutexLock lock(&shared_->mutex);
  shared_->exhausted = true;
  shared_->ready.clear();
  shared_->ready_bytes = 0;
  if (shared_->status.ok()) {
    shared_->status =
        absl::CancelledError("the reader went away, or the stream stood still or was open for too long");
  }
  Advance(*shared_);
}

void GetReactor::OnDone() {
  stream_.reset();
  {
    MutexLock lock(&shared_->mutex);
    shared_->reactor = nullptr;
  }
  delete this;
}

}  // namespace kvcompd::server
