#include "server/service/put_reactor.h"

#include <utility>

#include "proto/bulk.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

// Above either, the next message waits: a client cannot make work or answers faster than they are taken.
constexpr uint64_t kMaxJobs = 512;
constexpr size_t kMaxOutgoing = 64;

}  // namespace

PutReactor* PutReactor::Start(ServiceContext* context, grpc::CallbackServerContext* call) {
  std::shared_ptr<PutReactor> self(new PutReactor(context));
  self->self_ = self;
  self->stream_ = context->streams->Add(
      context->clock->NowUs(), [call] { call->TryCancel(); }, /*may_idle=*/false);
  if (self->stream_ == nullptr) {
    CountRejected(*context, Reason::kMemory);
    self->FinishWith(absl::ResourceExhaustedError("too many open streams; try again later"));
    return self.get();
  }
  self->session_ = PutSession::Create(
      context, call, self->stream_->activity(),
      [self](const v1::PutResponse& response) { self->Send(response); },
      [self](const absl::Status& status) { self->FinishWith(status); });
  self->session_->set_on_job_done([self] { self->MaybeRead(); });
  // The session outlives every job that calls back, and every reaction.
  self->session_jobs_ = [session = self->session_.get()] { return session->jobs(); };
  self->StartRead(&self->incoming_);
  return self.get();
}

void PutReactor::TakeHeader() {
  {
    MutexLock lock(&mutex_);
    header_running_ = true;
  }
  const auto activity = stream_->activity();
  activity->BeginWork();
  const bool taken = context_->pool->Submit(WorkerPool::Priority::kWrite,
                                            [self = self_, session = session_, activity](codec::Workspace&) {
                                              self->RunHeader(*session);
                                              activity->EndWork(self->context_->clock->NowUs());
                                            });
  if (taken) return;
  activity->EndWork(context_->clock->NowUs());
  FinishWith(absl::UnavailableError("the daemon is stopping; use another or try again later"));
}

void PutReactor::RunHeader(PutSession& session) {
  bool cancelled = false;
  {
    MutexLock lock(&session_mutex_);
    session.OnMessage(incoming_);
    incoming_.Clear();
    {
      MutexLock state_lock(&mutex_);
      header_running_ = false;
      cancelled = cancelled_;
      read_due_ = true;
    }
    if (cancelled) session.OnCancel();
  }
  if (cancelled) {
    FinishCancelled();
  } else {
    MaybeRead();
  }
}

void PutReactor::OnReadDone(bool ok) {
  if (ok && !header_taken_) {
    header_taken_ = true;
    TakeHeader();
    return;
  }
  {
    MutexLock lock(&session_mutex_);
    if (!ok) {
      session_->OnHalfClose();
      return;
    }
    session_->OnMessage(incoming_);
    incoming_.Clear();
  }
  {
    MutexLock lock(&mutex_);
    read_due_ = true;
  }
  MaybeRead();
}

void PutReactor::MaybeRead() {
  MutexLock lock(&mutex_);
  if (!read_due_ || finished_ || session_jobs_() > kMaxJobs || outgoing_.size() > kMaxOutgoing) return;
  read_due_ = false;
  StartRead(&incoming_);
}

void PutReactor::Send(const v1::PutResponse& response) {
  MutexLock lock(&mutex_);
  if (last_.has_value()) return;
  outgoing_.push_back(EncodeBulk(response, {}));
  Advance();
}

void PutReactor::FinishWith(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (last_.has_value()) return;
  last_ = status;
  Advance();
}

void PutReactor::Advance() {
  if (writing_ || finished_) return;
  if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
    return;
  }
  if (!last_.has_value()) return;
  finished_ = true;
  Finish(ToGrpc(*last_));
}

void PutReactor::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    outgoing_.pop_front();
    if (!ok) outgoing_.clear();  // the peer is gone; OnCancel ends it
    Advance();
  }
  MaybeRead();
}

void PutReactor::OnCancel() {
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    if (header_running_) return;  // RunHeader uses the call, and ends it
  }
  if (session_ != nullptr) {
    MutexLock lock(&session_mutex_);
    session_->OnCancel();
  }
  FinishCancelled();
}

void PutReactor::FinishCancelled() {
  FinishWith(
      absl::CancelledError("the client went away, or the stream stood still or was open for too long"));
}

void PutReactor::OnDone() {
  stream_.reset();
  session_.reset();  // it refers back to this
  self_.reset();     // the last line: this may be gone now
}

}  // namespace kvcompd::server
