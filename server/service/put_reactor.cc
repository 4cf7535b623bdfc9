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
      context, call, [self](const v1::PutResponse& response) { self->Send(response); },
      [self](const absl::Status& status) { self->FinishWith(status); });
  self->session_->set_on_job_done([self] { self->MaybeRead(); });
  // The session outlives every job that calls back, and every reaction.
  self->session_jobs_ = [session = self->session_.get()] { return session->jobs(); };
  self->StartRead(&self->incoming_);
  return self.get();
}

void PutReactor::OnReadDone(bool ok) {
  {
    MutexLock lock(&session_mutex_);
    if (!ok) {
      session_->OnHalfClose();
      return;
    }
    if (session_->OnMessage(incoming_)) stream_->Progress(context_->clock->NowUs());
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
    if (stream_ != nullptr) stream_->Progress(context_->clock->NowUs());
    writing_ = false;
    outgoing_.pop_front();
    if (!ok) outgoing_.clear();  // the peer is gone; OnCancel ends it
    Advance();
  }
  MaybeRead();
}

void PutReactor::OnCancel() {
  {
    MutexLock lock(&session_mutex_);
    if (session_ != nullptr) session_->OnCancel();
  }
  FinishWith(absl::CancelledError("the client went away, or the stream stood still for too long"));
}

void PutReactor::OnDone() {
  stream_.reset();
  session_.reset();  // it refers back to this
  self_.reset();     // the last line: this may be gone now
}

}  // namespace kvcompd::server
