#include "client/call_executor.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

namespace kvcompd::client {

CallExecutor::CallExecutor(uint32_t threads, uint32_t max_queue)
    : num_threads_(threads), max_queue_(max_queue) {
  MutexLock lock(&mutex_);
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

CallExecutor::~CallExecutor() { Shutdown(); }

absl::Status CallExecutor::Submit(Task task) {
  MutexLock lock(&mutex_);
  if (shut_down_) return absl::CancelledError("the client has been shut down");
  if (queue_.size() >= max_queue_) return absl::ResourceExhaustedError("too many calls are waiting");
  queue_.push_back(std::move(task));
  cond_.Signal();
  return absl::OkStatus();
}

void CallExecutor::Shutdown() {
  std::deque<Task> left;
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mutex_);
    shut_down_ = true;
    left.swap(queue_);
    threads.swap(threads_);
    cond_.SignalAll();
  }
  for (Task& task : left) task(false);
  for (std::thread& thread : threads) thread.join();
}

size_t CallExecutor::waiting() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

void CallExecutor::Run() {
  for (;;) {
    Task task;
    {
      MutexLock lock(&mutex_);
      while (!shut_down_ && queue_.empty()) cond_.Wait(&mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task(true);
  }
}

namespace {

// Outlives the call: a helper that starts late finds nothing left and touches only this.
struct ParallelState {
  explicit ParallelState(size_t n, const std::function<void(size_t)>* work) : n(n), work(work) {}
  const size_t n;
  const std::function<void(size_t)>* const work;  // valid while done < n
  std::atomic<size_t> next{0};
  Mutex mutex;
  CondVar cond;
  size_t done ABSL_GUARDED_BY(mutex) = 0;

  void Help() {
    size_t mine = 0;
    for (size_t i = next++; i < n; i = next++) {
      (*work)(i);
      ++mine;
    }
    if (mine == 0) return;
    MutexLock lock(&mutex);
    done += mine;
    if (done == n) cond.SignalAll();
  }
};

}  // namespace

void ParallelFor(CallExecutor* executor, size_t n, const std::function<void(size_t)>& work) {
  if (n == 0) return;
  auto state = std::make_shared<ParallelState>(n, &work);
  constexpr size_t kMaxHelpers = 64;
  // More helpers than threads would only wait in the queue, with none for ever.
  const size_t helpers = std::min({n - 1, kMaxHelpers, size_t{executor->threads()}});
  for (size_t i = 0; i < helpers; ++i) {
    if (!executor->Submit([state](bool) { state->Help(); }).ok()) break;
  }
  state->Help();
  MutexLock lock(&state->mutex);
  while (state->done < n) state->cond.Wait(&state->mutex);
}

}  // namespace kvcompd::client
