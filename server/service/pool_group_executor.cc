#include "server/service/pool_group_executor.h"

#include <memory>
#include <optional>

#include "codec/base/mutex.h"

namespace kvcompd::server {
namespace {

// The jobs of one Run(). Its helpers share it, because the pool may come to one when the call is over: that
// one finds no job left, and job_, which is gone by then, is not touched.
class Batch : public std::enable_shared_from_this<Batch> {
 public:
  Batch(WorkerPool* pool, uint32_t n, codec::TileGroupExecutor::Job job) : pool_(pool), n_(n), job_(job) {}

  void RunAll(codec::Workspace& ws) {
    while (const std::optional<uint32_t> i = Take()) RunOne(*i, ws);
    MutexLock lock(&mutex_);
    while (done_ < n_) all_done_.Wait(&mutex_);  // for jobs that are running
  }

 private:
  std::optional<uint32_t> Take() {
    MutexLock lock(&mutex_);
    if (next_ == n_) return std::nullopt;
    return next_++;
  }

  void RunOne(uint32_t i, codec::Workspace& ws) {
    CallHelper();
    job_(i, ws);
    MutexLock lock(&mutex_);
    if (++done_ == n_) all_done_.Signal();
  }

  // One for a job that nobody is on the way to. Whoever comes calls the next, because waking a thread takes
  // time.
  void CallHelper() {
    {
      MutexLock lock(&mutex_);
      if (coming_ >= n_ - next_) return;
      ++coming_;
    }
    if (!pool_->SubmitWhereIdle(WorkerPool::Priority::kWrite,
                                [self = shared_from_this()](codec::Workspace& ws) { self->Help(ws); })) {
      HelperCame();
    }
  }
  void HelperCame() {
    MutexLock lock(&mutex_);
    --coming_;
  }

  void Help(codec::Workspace& ws) {
    HelperCame();
    while (!pool_->ReadsWait()) {
      const std::optional<uint32_t> i = Take();
      if (!i.has_value()) break;
      RunOne(*i, ws);
    }
  }

  WorkerPool* const pool_;
  const uint32_t n_;
  const codec::TileGroupExecutor::Job job_;  // to be called for jobs that were taken only
  Mutex mutex_;
  CondVar all_done_;
  uint32_t next_ ABSL_GUARDED_BY(mutex_) = 0;    // jobs under it were taken
  uint32_t done_ ABSL_GUARDED_BY(mutex_) = 0;    // of these, how many have ended
  uint32_t coming_ ABSL_GUARDED_BY(mutex_) = 0;  // helpers that are called and not yet there
};

}  // namespace

void PoolGroupExecutor::Run(uint32_t n, codec::Workspace* ws, Job job) {
  std::make_shared<Batch>(pool_, n, job)->RunAll(*ws);
}

}  // namespace kvcompd::server
