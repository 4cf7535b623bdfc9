// SlabArena: variable-size slots of host memory from large slabs, so that a 4x ratio really is 4x the blocks.
//
// Called by the store. Thread-safe. A slot starts on 64 bytes, takes its size rounded up to 64 bytes, and
// never crosses a slab. Address space is reserved at once, slabs become usable memory on first use. Best fit
// over free ranges, neighbours merged. Under AddressSanitizer free ranges are poisoned.
//
//   SlabArena arena({.capacity_bytes = 8ull << 30});
//   auto slot = arena.Allocate(n);           // RESOURCE_EXHAUSTED: no free range is long enough
//   slot->Shrink(m);                         // gives the rest back, data stays
//   // ~Slot frees
#ifndef KVCOMPD_SERVER_STORE_SLAB_ARENA_H_
#define KVCOMPD_SERVER_STORE_SLAB_ARENA_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "codec/base/types.h"

namespace kvcompd::server {

class SlabArena {
 public:
  static constexpr uint64_t kAlignBytes = 64;

  struct Options {
    uint64_t capacity_bytes = uint64_t{1} << 30;  // all slabs; at least 1 MiB; cut to a multiple of 64
    uint64_t slab_bytes = uint64_t{256} << 20;    // largest slot, at least 64 KiB; cut to the capacity
    absl::Status Validate() const;
  };

  // Owns one allocation; move-only; must not outlive the arena.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept;
    Slot& operator=(Slot&& other) noexcept;
    ~Slot();
    MutableByteSpan bytes() const { return {data_, size_}; }  // as asked for
    uint64_t charged_bytes() const { return ChargedBytes(size_); }
    bool empty() const { return data_ == nullptr; }
    void Shrink(uint64_t bytes);  // 1 <= bytes <= size; else no change

   private:
    friend class SlabArena;
    SlabArena* arena_ = nullptr;
    std::byte* data_ = nullptr;
    uint64_t size_ = 0;
  };

  struct Stats {
    uint64_t capacity_bytes = 0;
    uint64_t used_bytes = 0;  // charged
    uint64_t largest_free_bytes = 0;
    uint64_t slots = 0;
    uint64_t allocation_failures = 0;
  };

  explicit SlabArena(const Options& options);
  ~SlabArena();  // aborts where a slot is left
  SlabArena(const SlabArena&) = delete;
  SlabArena& operator=(const SlabArena&) = delete;

  // INVALID_ARGUMENT for 0 bytes. RESOURCE_EXHAUSTED.
  absl::StatusOr<Slot> Allocate(uint64_t bytes);
  // For Stats::allocation_failures: an allocation that failed for good, after eviction.
  void CountFailure();
  Stats stats() const;
  uint64_t capacity_bytes() const;
  uint64_t max_slot_bytes() const;  // longer ones never fit
  uint64_t used_bytes() const;      // without taking the lock

  // What a slot of so many bytes is accounted as.
  static constexpr uint64_t ChargedBytes(uint64_t bytes) {
    return bytes > UINT64_MAX - kAlignBytes ? UINT64_MAX
                                            : (bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_SLAB_ARENA_H_
