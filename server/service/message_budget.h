// MessageBudget: the memory that messages under way may take, over all connections. A stream takes its share
// when it starts (credit of a Put, window of a Get) and keeps to it; a single call takes what its message
// holds. Thread-safe; a share gives back what it has when it goes, and must not outlive the budget.
//
//   MessageBudget budget(1 << 30);
//   MessageBudget::Share share = budget.Take(/*want=*/16 << 20, /*least=*/4 << 20);
//   if (share.bytes() == 0) -> RESOURCE_EXHAUSTED, try again later
#ifndef KVCOMPD_SERVER_SERVICE_MESSAGE_BUDGET_H_
#define KVCOMPD_SERVER_SERVICE_MESSAGE_BUDGET_H_

#include <cstdint>
#include <utility>

#include "codec/base/mutex.h"

namespace kvcompd::server {

class MessageBudget {
 public:
  explicit MessageBudget(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      if (this != &other) {
        Release();
        owner_ = std::exchange(other.owner_, nullptr);
        bytes_ = std::exchange(other.bytes_, 0);
      }
      return *this;
    }
    ~Share() { Release(); }
    uint64_t bytes() const { return bytes_; }

   private:
    friend class MessageBudget;
    Share(MessageBudget* owner, uint64_t bytes) : owner_(owner), bytes_(bytes) {}
    void Release();
    MessageBudget* owner_ = nullptr;
    uint64_t bytes_ = 0;
  };

  // `want` while there is plenty; then an eighth of what is there, but no less than `least`; 0 where not even
  // that is. What is `leave`d is not there.
  Share Take(uint64_t want, uint64_t least, uint64_t leave = 0);
  uint64_t used_bytes() const;
  uint64_t capacity_bytes() const { return capacity_bytes_; }

 private:
  const uint64_t capacity_bytes_;
  mutable Mutex mutex_;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_MESSAGE_BUDGET_H_
