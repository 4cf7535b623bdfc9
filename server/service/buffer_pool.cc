#include "server/service/buffer_pool.h"

#include <utility>

namespace kvcompd::server {
namespace {

constexpr uint64_t kRoundBytes = 256 * 1024;  // so that buffers of like sizes serve one another
constexpr uint64_t kSmallRoundBytes = 4 * 1024;

// A small buffer is not rounded up far: a window counts what a message says, not what its buffers take.
uint64_t Capacity(uint64_t min_bytes) {
  const uint64_t round = min_bytes < kRoundBytes / 2 ? kSmallRoundBytes : kRoundBytes;
  return (min_bytes + round - 1) / round * round;
}

}  // namespace

BufferPool::BufferPool(uint64_t keep_bytes) : shelf_(new Shelf{.keep_bytes = keep_bytes}) {}

std::shared_ptr<BufferPool::Buffer> BufferPool::Take(uint64_t min_bytes) {
  std::unique_ptr<Buffer> buffer;
  {
    MutexLock lock(&shelf_->mutex);
    auto& free = shelf_->free;
    for (size_t i = free.size(); i-- > 0;) {  // the last one back is the warmest
      if (free[i]->bytes().size() < min_bytes || free[i]->bytes().size() > 2 * Capacity(min_bytes)) continue;
      buffer = std::move(free[i]);
      free.erase(free.begin() + static_cast<ptrdiff_t>(i));
      shelf_->kept_bytes -= buffer->bytes().size();
      break;
    }
  }
  if (buffer == nullptr) {
    buffer = std::make_unique<Buffer>(Capacity(min_bytes));
  }
  {
    MutexLock lock(&shelf_->mutex);
    shelf_->lent_bytes += buffer->bytes().size();
  }
  return std::shared_ptr<Buffer>(buffer.release(), [shelf = shelf_](Buffer* raw) {
    std::unique_ptr<Buffer> back(raw);
    MutexLock lock(&shelf->mutex);
    shelf->lent_bytes -= back->bytes().size();
    if (shelf->kept_bytes + back->bytes().size() > shelf->keep_bytes) return;
    shelf->kept_bytes += back->bytes().size();
    shelf->free.push_back(std::move(back));
  });
}

uint64_t BufferPool::lent_bytes() const {
  MutexLock lock(&shelf_->mutex);
  return shelf_->lent_bytes;
}

uint64_t BufferPool::kept_bytes() const {
  MutexLock lock(&shelf_->mutex);
  return shelf_->kept_bytes;
}

}  // namespace kvcompd::server
