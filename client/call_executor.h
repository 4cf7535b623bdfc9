// CallExecutor: a few threads and a bounded queue, for Async calls and codec work. Thread-safe.
//
//   auto status = executor.Submit([](bool run) { run ? Work() : CallBackWith(cancelled); });
//   ParallelFor(&executor, n, [&](size_t i) { Encode(i); });   // the caller works, too
#ifndef KVCOMPD_CLIENT_CALL_EXECUTOR_H_
#define KVCOMPD_CLIENT_CALL_EXECUTOR_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/mutex.h"

namespace kvcompd::client {

class CallExecutor {
 public:
  using Task = std::function<void(bool run)>;

  CallExecutor(uint32_t threads, uint32_t max_queue);
  ~CallExecutor();  // Shutdown

  // RESOURCE_EXHAUSTED: the queue is full; CANCELLED: shut down. The task is then not called. Without threads
  // it waits for Shutdown.
  absl::Status Submit(Task task);
  // Calls what still waits with run = false, and waits for what runs. Not from a task. Idempotent.
  void Shutdown();
  uint32_t threads() const { return num_threads_; }
  size_t waiting() const;

 private:
  void Run();

  const uint32_t num_threads_;
  const uint32_t max_queue_;
  mutable Mutex mutex_;
  CondVar cond_;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

// Calls work(i) once for each i below n on the caller's thread and the executor's; returns when all are done.
void ParallelFor(CallExecutor* executor, size_t n, const std::function<void(size_t)>& work);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CALL_EXECUTOR_H_
