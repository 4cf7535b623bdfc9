// The house's Mutex: absl::Mutex, or a std::mutex under KVCOMPD_STD_MUTEX (thread sanitizer: the system's
// Abseil is not instrumented, so its locks would be invisible there).
//
//   Mutex mutex_;
//   int n_ ABSL_GUARDED_BY(mutex_) = 0;
//   { MutexLock lock(&mutex_); ++n_; cond_.SignalAll(); }
//
// Lock order stands in ARCHITECTURE.md.
#ifndef KVCOMPD_CODEC_BASE_MUTEX_H_
#define KVCOMPD_CODEC_BASE_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#ifdef KVCOMPD_STD_MUTEX
#include <chrono>
#include <condition_variable>
#include <mutex>
#else
#include "absl/synchronization/mutex.h"
#endif

namespace kvcompd {

class CondVar;

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { impl_lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { impl_unlock(); }

 private:
  friend class CondVar;
#ifdef KVCOMPD_STD_MUTEX
  void impl_lock() { mutex_.lock(); }
  void impl_unlock() { mutex_.unlock(); }
  std::mutex mutex_;
#else
  void impl_lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Lock(); }
  void impl_unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Unlock(); }
  absl::Mutex mutex_;
#endif
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

class CondVar {
 public:
  // The caller holds *mutex. May wake without cause: wait in a loop.
  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // True where the time ran out.
  bool WaitFor(Mutex* mutex, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Signal();
  void SignalAll();

 private:
#ifdef KVCOMPD_STD_MUTEX
  std::condition_variable cond_;
#else
  absl::CondVar cond_;
#endif
};

#ifdef KVCOMPD_STD_MUTEX
inline void CondVar::Wait(Mutex* mutex) {
  std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
  cond_.wait(lock);
  lock.release();
}
inline bool CondVar::WaitFor(Mutex* mutex, absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
  const bool late =
      cond_.wait_until(lock, std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout)) ==
      std::cv_status::timeout;
  lock.release();
  return late;
}
inline void CondVar::Signal() { cond_.notify_one(); }
inline void CondVar::SignalAll() { cond_.notify_all(); }
#else
inline void CondVar::Wait(Mutex* mutex) { cond_.Wait(&mutex->mutex_); }
inline bool CondVar::WaitFor(Mutex* mutex, absl::Duration timeout) {
  return cond_.WaitWithTimeout(&mutex->mutex_, timeout);
}
inline void CondVar::Signal() { cond_.Signal(); }
inline void CondVar::SignalAll() { cond_.SignalAll(); }
#endif

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_MUTEX_H_
