#include "server/store/slab_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codec/base/mutex.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace kvcompd::server {
namespace {

constexpr uint64_t kMinCapacityBytes = uint64_t{1} << 20;
constexpr uint64_t kMinSlabBytes = uint64_t{64} << 10;

uint64_t RoundDown(uint64_t bytes) { return bytes / SlabArena::kAlignBytes * SlabArena::kAlignBytes; }

}  // namespace

// Ranges are offsets from the start of the reserved address space; slab i is [i * slab, (i + 1) * slab).
struct SlabArena::Impl {
  const uint64_t capacity;
  const uint64_t slab;
  std::byte* base = nullptr;
  std::atomic<uint64_t> used{0};

  Mutex mutex;
  absl::btree_map<uint64_t, uint64_t> free_by_offset ABSL_GUARDED_BY(mutex);           // offset -> bytes
  absl::btree_set<std::pair<uint64_t, uint64_t>> free_by_size ABSL_GUARDED_BY(mutex);  // {bytes, offset}
  uint64_t mapped ABSL_GUARDED_BY(mutex) = 0;  // usable from offset 0 on, whole slabs
  uint64_t slots ABSL_GUARDED_BY(mutex) = 0;
  uint64_t failures ABSL_GUARDED_BY(mutex) = 0;

  explicit Impl(const Options& options)
      : capacity(RoundDown(options.capacity_bytes)), slab(RoundDown(std::min(options.slab_bytes, capacity))) {
    void* p = mmap(nullptr, capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) base = static_cast<std::byte*>(p);
  }
  ~Impl() {
    if (base == nullptr) return;
    ASAN_UNPOISON_MEMORY_REGION(base, capacity);
    munmap(base, capacity);
  }

  uint64_t next_slab_bytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return base == nullptr ? 0 : std::min(slab, capacity - mapped);
  }

  void InsertFree(uint64_t offset, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    free_by_offset.emplace(offset, bytes);
    free_by_size.emplace(bytes, offset);
  }
  void EraseFree(absl::btree_map<uint64_t, uint64_t>::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    free_by_size.erase({it->second, it->first});
    free_by_offset.erase(it);
  }

  bool MapSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const uint64_t bytes = next_slab_bytes();
    if (bytes == 0) return false;
    // Protection changes in whole pages; the address space starts on one, slabs need not.
    const uint64_t page_begin = mapped / 4096 * 4096;
    if (mprotect(base + page_begin, mapped + bytes - page_begin, PROT_READ | PROT_WRITE) != 0) return false;
    ASAN_POISON_MEMORY_REGION(base + mapped, bytes);
    InsertFree(mapped, bytes);
    mapped += bytes;
    return true;
  }

  // `bytes` is a multiple of 64. Base null: nothing fits.
  std::byte* Take(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto fit = free_by_size.lower_bound({bytes, 0});
    while (fit == free_by_size.end()) {
      if (next_slab_bytes() < bytes || !MapSlab()) return nullptr;
      fit = free_by_size.lower_bound({bytes, 0});
    }
    const auto [range_bytes, offset] = *fit;
    EraseFree(free_by_offset.find(offset));
    if (range_bytes > bytes) InsertFree(offset + bytes, range_bytes - bytes);
    return base + offset;
  }

  // Both are multiples of 64. Merges with free neighbours of the same slab.
  void Give(uint64_t offset, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    ASAN_POISON_MEMORY_REGION(base + offset, bytes);
    auto next = free_by_offset.lower_bound(offset);
    if (next != free_by_offset.end() && next->first == offset + bytes && next->first % slab != 0) {
      bytes += next->second;
      EraseFree(next);
    }
    auto previous = free_by_offset.lower_bound(offset);
    if (previous != free_by_offset.begin() && offset % slab != 0) {
      --previous;
      if (previous->first + previous->second == offset) {
        offset = previous->first;
        bytes += previous->second;
        EraseFree(previous);
      }
    }
    InsertFree(offset, bytes);
  }
};

absl::Status SlabArena::Options::Validate() const {
  if (capacity_bytes < kMinCapacityBytes) return absl::InvalidArgumentError("capacity_bytes is under 1 MiB");
  if (slab_bytes < kMinSlabBytes) return absl::InvalidArgumentError("slab_bytes is under 64 KiB");
  return absl::OkStatus();
}

SlabArena::SlabArena(const Options& options) : impl_(std::make_unique<Impl>(options)) {}

SlabArena::~SlabArena() {
  const uint64_t left = stats().slots;
  if (left == 0) return;
  std::fprintf(stderr, "SlabArena destroyed with %llu slots in use\n", static_cast<unsigned long long>(left));
  std::abort();
}

absl::StatusOr<SlabArena::Slot> SlabArena::Allocate(uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a slot of 0 bytes");
  const uint64_t charged = ChargedBytes(bytes);
  std::byte* data = nullptr;
  {
    MutexLock lock(&impl_->mutex);
    data = charged <= impl_->slab ? impl_->Take(charged) : nullptr;
    if (data != nullptr) {
      ++impl_->slots;
      impl_->used += charged;
    }
  }
  if (data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no free range of ", charged, " bytes"));
  }
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  Slot slot;
  slot.arena_ = this;
  slot.data_ = data;
  slot.size_ = bytes;
  return slot;
}

void SlabArena::CountFailure() {
  MutexLock lock(&impl_->mutex);
  ++impl_->failures;
}

SlabArena::Stats SlabArena::stats() const {
  MutexLock lock(&impl_->mutex);
  Stats stats;
  stats.capacity_bytes = impl_->capacity;
  stats.used_bytes = impl_->used.load();
  stats.largest_free_bytes = impl_->next_slab_bytes();
  if (!impl_->free_by_size.empty()) {
    stats.largest_free_bytes = std::max(stats.largest_free_bytes, impl_->free_by_size.rbegin()->first);
  }
  stats.slots = impl_->slots;
  stats.allocation_failures = impl_->failures;
  return stats;
}

uint64_t SlabArena::capacity_bytes() const { return impl_->capacity; }
uint64_t SlabArena::max_slot_bytes() const { return impl_->slab; }
uint64_t SlabArena::used_bytes() const { return impl_->used.load(std::memory_order_relaxed); }

SlabArena::Slot::Slot(Slot&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SlabArena::Slot& SlabArena::Slot::operator=(Slot&& other) noexcept {
  if (this != &other) {
    Slot old(std::move(*this));  // frees on return
    arena_ = std::exchange(other.arena_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

SlabArena::Slot::~Slot() {
  if (data_ == nullptr) return;
  Impl& impl = *arena_->impl_;
  MutexLock lock(&impl.mutex);
  impl.Give(static_cast<uint64_t>(data_ - impl.base), charged_bytes());
  impl.used -= charged_bytes();
  --impl.slots;
}

void SlabArena::Slot::Shrink(uint64_t bytes) {
  if (data_ == nullptr || bytes == 0 || bytes >= size_) return;
  const uint64_t kept = ChargedBytes(bytes);
  const uint64_t rest = charged_bytes() - kept;
  Impl& impl = *arena_->impl_;
  ASAN_POISON_MEMORY_REGION(data_ + bytes, size_ - bytes);
  size_ = bytes;
  if (rest == 0) return;
  MutexLock lock(&impl.mutex);
  impl.Give(static_cast<uint64_t>(data_ - impl.base) + kept, rest);
  impl.used -= rest;
}

}  // namespace kvcompd::server
