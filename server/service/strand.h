// Strand: jobs that run on a WorkerPool one after the other, in order, whichever thread takes them. At most
// one job of a strand stands in the pool's queue.
//
// Thread-safe. Jobs keep alive what they need, and the strand while they wait.
#ifndef KVCOMPD_SERVER_SERVICE_STRAND_H_
#define KVCOMPD_SERVER_SERVICE_STRAND_H_

#include <deque>
#include <memory>

#include "codec/base/mutex.h"
#include "server/service/worker_pool.h"

namespace kvcompd::server {

class Strand : public std::enable_shared_from_this<Strand> {
 public:
  Strand(WorkerPool* pool, WorkerPool::Priority priority) : pool_(pool), priority_(priority) {}

  // False: the pool is shutting down; the job was not taken.
  bool Submit(WorkerPool::Job job);

 private:
  bool Schedule();
  void RunOne(codec::Workspace& ws);

  WorkerPool* const pool_;
  const WorkerPool::Priority priority_;
  Mutex mutex_;
  std::deque<WorkerPool::Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_STRAND_H_
