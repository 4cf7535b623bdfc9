// WorkerPool: the threads that encode and decode, with a queue each for reads (decode) and writes (prefill).
// Reads go first, because a decode worker waits for them; of any eight jobs taken while both queues have
// some, one is a write, so that writes go on. The jobs of single calls are bounded here; those of streams by
// the number of streams, of which each has only a few in a queue: so calls cannot push streams out.
//
// Called by the RPC handlers. Thread-safe. Every thread has a codec workspace of its own, handed to its jobs.
//
//   WorkerPool pool({.threads = 8});
//   if (!pool.TrySubmit(WorkerPool::Priority::kWrite, [=](codec::Workspace& ws) { Encode(ws); })) HoldBack();
//   pool.Shutdown();   // runs what is queued
#ifndef KVCOMPD_SERVER_SERVICE_WORKER_POOL_H_
#define KVCOMPD_SERVER_SERVICE_WORKER_POOL_H_

#include <cstdint>
#include <deque>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "codec/base/mutex.h"
#include "codec/codec.h"

namespace kvcompd::server {

class WorkerPool {
 public:
  enum class Priority { kRead, kWrite };
  using Job = absl::AnyInvocable<void(codec::Workspace&)>;

  struct Options {
    uint32_t threads = 0;           // 0: one a core
    uint32_t max_queued = 1024;     // by TrySubmit, in each queue
    absl::Status Validate() const;  // at most 1024 threads; at least 1 queued
  };
  struct Stats {
    uint32_t threads = 0;
    uint64_t queued_reads = 0;
    uint64_t queued_writes = 0;
    uint32_t running = 0;
    uint64_t done = 0;
    uint64_t rejected = 0;
  };

  explicit WorkerPool(const Options& options);
  ~WorkerPool();  // Shutdown
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // For a single call. False: max_queued wait already, or the pool is shutting down; the job is then left as
  // it was.
  bool TrySubmit(Priority priority, Job&& job);
  // For a stream, which has at most a few jobs waiting. False: the pool is shutting down.
  bool Submit(Priority priority, Job&& job);
  // For help with a job that is running, which goes on without it. False: no thread would have nothing else
  // to do, or the pool is shutting down. Such a refusal is not counted.
  bool SubmitWhereIdle(Priority priority, Job&& job);
  // Whether reads are queued: for helpers, which leave their thread to them.
  bool ReadsWait() const;
  // Takes nothing new, runs what is queued, joins the threads. Idempotent; not from a job.
  void Shutdown();
  Stats stats() const;

 private:
  static constexpr uint32_t kWriteEvery = 8;

  struct Queue {
    struct Entry {
      Job job;
      bool limited;
    };
    std::deque<Entry> jobs;
    uint32_t limited = 0;  // those that max_queued counts
    bool empty() const { return jobs.empty(); }
  };

  void Work();
  Queue& QueueOf(Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return priority == Priority::kRead ? reads_ : writes_;
  }
  bool Enqueue(Priority priority, Job&& job, bool limited);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return reads_.empty() && writes_.empty(); }
  Job TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  Queue reads_ ABSL_GUARDED_BY(mutex_);
  Queue writes_ ABSL_GUARDED_BY(mutex_);
  uint32_t reads_since_write_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t rejected_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Mutex join_mutex_;  // taken before mutex_
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(join_mutex_);
  const uint32_t num_threads_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_WORKER_POOL_H_
