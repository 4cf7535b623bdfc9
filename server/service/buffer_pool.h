// BufferPool: message-sized buffers that are used again, because fresh ones of this size cost a page fault
// every 4 KiB. Thread-safe; a buffer goes back when its last owner drops it and may outlive the pool.
//
//   std::shared_ptr<BufferPool::Buffer> buffer = pool.Take(n);
//   fill(buffer->bytes());
#ifndef KVCOMPD_SERVER_SERVICE_BUFFER_POOL_H_
#define KVCOMPD_SERVER_SERVICE_BUFFER_POOL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "codec/base/mutex.h"
#include "codec/base/types.h"

namespace kvcompd::server {

class BufferPool {
 public:
  // Keeps up to keep_bytes of buffers that nobody uses.
  explicit BufferPool(uint64_t keep_bytes);

  class Buffer {
   public:
    explicit Buffer(uint64_t capacity) : memory_(new std::byte[capacity]), capacity_(capacity) {}
    MutableByteSpan bytes() const { return {memory_.get(), capacity_}; }

   private:
    std::unique_ptr<std::byte[]> memory_;
    uint64_t capacity_;
  };

  // At least min_bytes long; what it held before is not cleared.
  std::shared_ptr<Buffer> Take(uint64_t min_bytes);
  uint64_t kept_bytes() const;
  uint64_t lent_bytes() const;  // of buffers that somebody has

 private:
  // Shared with the buffers that are out, so that they may come back late.
  struct Shelf {
    const uint64_t keep_bytes;
    Mutex mutex;
    uint64_t kept_bytes ABSL_GUARDED_BY(mutex) = 0;
    uint64_t lent_bytes ABSL_GUARDED_BY(mutex) = 0;
    std::map<uint64_t, std::vector<std::unique_ptr<Buffer>>> free ABSL_GUARDED_BY(mutex);  // by capacity
    void Keep(std::unique_ptr<Buffer> buffer);
  };
  std::shared_ptr<Shelf> shelf_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_BUFFER_POOL_H_
