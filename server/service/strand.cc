#include "server/service/strand.h"

#include <utility>

namespace kvcompd::server {

bool Strand::Submit(WorkerPool::Job job) {
  MutexLock lock(&mutex_);
  if (!scheduled_) {
    if (!Schedule()) return false;
    scheduled_ = true;
  }
  jobs_.push_back(std::move(job));
  return true;
}

bool Strand::Schedule() {
  return pool_->Submit(priority_, [self = shared_from_this()](codec::Workspace& ws) { self->RunOne(ws); });
}

void Strand::RunOne(codec::Workspace& ws) {
  for (;;) {
    WorkerPool::Job job;
    {
      MutexLock lock(&mutex_);
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job(ws);
    job = nullptr;  // what it kept alive goes before the next one runs
    MutexLock lock(&mutex_);
    if (jobs_.empty()) {
      scheduled_ = false;
      return;
    }
    // Behind what others have queued meanwhile; where the queue is full, carry on here.
    if (Schedule()) return;
  }
}

}  // namespace kvcompd::server
