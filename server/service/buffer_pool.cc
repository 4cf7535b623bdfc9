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
    auto fit = shelf_->free.lower_bound(min_bytes);
    if (fit != shelf_->free.end() && fit->first <= 2 * Capacity(min_bytes)) {
      buffer = std::move(fit->second.back());  // the last one back is the warmest
      fit->second.pop_back();
      shelf_->kept_bytes -= fit->first;
      if (fit->second.empty()) shelf_->free.erase(fit);
    }
    shelf_->lent_bytes += buffer != nullptr ? buffer->bytes().size() : Capacity(min_bytes);
  }
  if (buffer == nullptr) buffer = std::make_unique<Buffer>(Capacity(min_bytes));
  return std::shared_ptr<Buffer>(
      buffer.release(), [shelf = shelf_](Buffer* raw) { shelf->Keep(std::unique_ptr<Buffer>(raw)); });
}

// Where there is no room, smaller ones go: they cost least to make anew.
void BufferPool::Shelf::Keep(std::unique_ptr<Buffer> buffer) {
  const uint64_t bytes = buffer->bytes().size();
  std::vector<std::unique_ptr<Buffer>> dropped;  // after the lock
  MutexLock lock(&mutex);
  lent_bytes -= bytes;
  while (kept_bytes + bytes > keep_bytes && !free.empty() && free.begin()->first < bytes) {
    auto smallest = free.begin();
    kept_bytes -= smallest->first;
    dropped.push_back(std::move(smallest->second.back()));
    smallest->second.pop_back();
    if (smallest->second.empty()) free.erase(smallest);
  }
  if (kept_bytes + bytes > keep_bytes) return;
  kept_bytes += bytes;
  free[bytes].push_back(std::move(buffer));
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
