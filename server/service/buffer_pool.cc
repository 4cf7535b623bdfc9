#include "server/service/buffer_pool.h"

#include <utility>

namespace kvcompd::server {
namespace {

constexpr uint64_t kRoundBytes = 256 * 1024;  // so that buffers of like sizes serve one another

}  // namespace

BufferPool::BufferPool(uint64_t keep_bytes) : shelf_(new Shelf{.keep_bytes = keep_bytes}) {}

std::shared_ptr<BufferPool::Buffer> BufferPool::Take(uint64_t min_bytes) {
  std::unique_ptr<Buffer> buffer;
  {
    MutexLock lock(&shelf_->mutex);
    auto& free = shelf_->free;
    for (size_t i = free.size(); i-- > 0;) {  // the last one back is the warmest
      if (free[i]->bytes().size() < min_bytes) continue;
      buffer = std::move(free[i]);
      free.erase(free.begin() + static_cast<ptrdiff_t>(i));
      shelf_->kept_bytes -= buffer->bytes().size();
      break;
    }
  }
  if (buffer == nullptr) {
    buffer = std::make_unique<Buffer>((min_bytes + kRoundBytes - 1) / kRoundBytes * kRoundBytes);
  }
  return std::shared_ptr<Buffer>(buffer.release(), [shelf = shelf_](Buffer* raw) {
    std::unique_ptr<Buffer> back(raw);
    MutexLock lock(&shelf->mutex);
    if (shelf->kept_bytes + back->bytes().size() > shelf->keep_bytes) return;
    shelf->kept_bytes += back->bytes().size();
    shelf->free.push_back(std::move(back));
  });
}

uint64_t BufferPool::kept_bytes() const {
  MutexLock lock(&shelf_->mutex);
  return shelf_->kept_bytes;
}

}  // namespace kvcompd::server
