#include "server/service/worker_pool.h"

#include <algorithm>
#include <utility>

namespace kvcompd::server {
namespace {

constexpr uint32_t kMaxThreads = 1024;

uint32_t NumThreads(uint32_t asked) {
  return std::min(asked != 0 ? asked : std::max(std::thread::hardware_concurrency(), 1u), kMaxThreads);
}

}  // namespace

absl::Status WorkerPool::Options::Validate() const {
  if (threads > kMaxThreads) return absl::InvalidArgumentError("more than 1024 worker threads");
  if (max_queued == 0) return absl::InvalidArgumentError("max_queued is 0");
  return absl::OkStatus();
}

WorkerPool::WorkerPool(const Options& options)
    : options_(options), num_threads_(NumThreads(options.threads)) {
  MutexLock lock(&join_mutex_);
  for (uint32_t i = 0; i < num_threads_; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() { Shutdown(); }

bool WorkerPool::TrySubmit(Priority priority, Job&& job) {
  return Enqueue(priority, std::move(job), /*limited=*/true);
}

bool WorkerPool::Submit(Priority priority, Job&& job) {
  return Enqueue(priority, std::move(job), /*limited=*/false);
}

bool WorkerPool::Enqueue(Priority priority, Job&& job, bool limited) {
  {
    MutexLock lock(&mutex_);
    Queue& queue = QueueOf(priority);
    if (stopping_ || (limited && queue.limited >= options_.max_queued)) {
      ++rejected_;
      return false;
    }
    queue.jobs.push_back({std::move(job), limited});
    queue.limited += limited ? 1 : 0;
  }
  changed_.Signal();
  return true;
}

bool WorkerPool::SubmitWhereIdle(Priority priority, Job&& job) {
  {
    MutexLock lock(&mutex_);
    // What is queued will take idle threads, too.
    if (stopping_ || running_ + reads_.jobs.size() + writes_.jobs.size() >= num_threads_) return false;
    QueueOf(priority).jobs.push_back({std::move(job), /*limited=*/false});
  }
  changed_.Signal();
  return true;
}

bool WorkerPool::ReadsWait() const {
  MutexLock lock(&mutex_);
  return !reads_.empty();
}

WorkerPool::Job WorkerPool::TakeNext() {
  const bool write = reads_.empty() || (!writes_.empty() && reads_since_write_ >= kWriteEvery - 1);
  Queue& queue = write ? writes_ : reads_;
  // Only reads that made a write wait count.
  reads_since_write_ = write || writes_.empty() ? 0 : reads_since_write_ + 1;
  Job job = std::move(queue.jobs.front().job);
  queue.limited -= queue.jobs.front().limited ? 1 : 0;
  queue.jobs.pop_front();
  return job;
}

void WorkerPool::Work() {
  codec::Workspace workspace;
  while (true) {
    Job job;
    {
      MutexLock lock(&mutex_);
      while (Idle() && !stopping_) changed_.Wait(&mutex_);
      if (Idle()) return;
      job = TakeNext();
      ++running_;
    }
    job(workspace);
    job = nullptr;  // what it holds goes before it counts as done
    MutexLock lock(&mutex_);
    --running_;
    ++done_;
  }
}

void WorkerPool::Shutdown() {
  MutexLock join_lock(&join_mutex_);
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

WorkerPool::Stats WorkerPool::stats() const {
  MutexLock lock(&mutex_);
  Stats stats;
  stats.threads = num_threads_;
  stats.queued_reads = reads_.jobs.size();
  stats.queued_writes = writes_.jobs.size();
  stats.running = running_;
  stats.done = done_;
  stats.rejected = rejected_;
  return stats;
}

}  // namespace kvcompd::server
