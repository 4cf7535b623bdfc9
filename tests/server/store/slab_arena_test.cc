#include "server/store/slab_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace kvcompd::server {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(SlabArenaTest, ChargesInUnitsOf64AndFreesAll) {
  SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB});
  auto a = arena.Allocate(1);
  auto b = arena.Allocate(65);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->charged_bytes(), 64u);
  EXPECT_EQ(b->charged_bytes(), 128u);
  EXPECT_EQ(b->bytes().size(), 65u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b->bytes().data()) % 64, 0u);
  EXPECT_EQ(arena.used_bytes(), 192u);
  EXPECT_EQ(arena.stats().slots, 2u);
  { SlabArena::Slot gone = *std::move(a); }
  EXPECT_EQ(arena.used_bytes(), 128u);
  *b = SlabArena::Slot();
  EXPECT_EQ(arena.used_bytes(), 0u);
  EXPECT_EQ(arena.stats().largest_free_bytes, kMiB);
}

TEST(SlabArenaTest, RefusesNothingAndTooMuch) {
  SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB / 4});
  EXPECT_EQ(arena.Allocate(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(arena.Allocate(kMiB / 4 + 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(arena.Allocate(UINT64_MAX).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(arena.stats().allocation_failures, 0u);  // what is tried before and after eviction is not counted
  arena.CountFailure();
  EXPECT_EQ(arena.stats().allocation_failures, 1u);
  EXPECT_EQ(arena.max_slot_bytes(), kMiB / 4);
  EXPECT_FALSE((SlabArena::Options{.capacity_bytes = kMiB - 1}).Validate().ok());
  EXPECT_FALSE((SlabArena::Options{.slab_bytes = 100}).Validate().ok());
}

TEST(SlabArenaTest, BestFitTakesTheShortestRangeThatIsLongEnough) {
  SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB});
  auto long_one = arena.Allocate(4096);
  auto fence1 = arena.Allocate(64);
  auto short_one = arena.Allocate(1024);
  auto fence2 = arena.Allocate(64);
  ASSERT_TRUE(long_one.ok() && fence1.ok() && short_one.ok() && fence2.ok());
  std::byte* const short_at = short_one->bytes().data();
  *long_one = SlabArena::Slot();
  *short_one = SlabArena::Slot();
  auto fits = arena.Allocate(1000);
  ASSERT_TRUE(fits.ok());
  EXPECT_EQ(fits->bytes().data(), short_at);
}

TEST(SlabArenaTest, NeighboursMergeInAnyOrder) {
  for (const std::vector<int>& order : {std::vector<int>{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
    SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB});
    std::vector<SlabArena::Slot> slots;
    for (int i = 0; i < 3; ++i) slots.push_back(arena.Allocate(kMiB / 4).value());
    for (int i : order) slots[i] = SlabArena::Slot();
    EXPECT_EQ(arena.stats().largest_free_bytes, kMiB);
    EXPECT_TRUE(arena.Allocate(kMiB).ok());
  }
}

TEST(SlabArenaTest, SlabsNeverMerge) {
  SlabArena arena({.capacity_bytes = 2 * kMiB, .slab_bytes = kMiB});
  auto a = arena.Allocate(kMiB);
  auto b = arena.Allocate(kMiB);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_FALSE(arena.Allocate(64).ok());
  *a = SlabArena::Slot();
  *b = SlabArena::Slot();
  EXPECT_EQ(arena.stats().largest_free_bytes, kMiB);
  EXPECT_FALSE(arena.Allocate(kMiB + 64).ok());
}

TEST(SlabArenaTest, ALastSlabMayBeShorter) {
  SlabArena arena({.capacity_bytes = kMiB + kMiB / 2 + 7, .slab_bytes = kMiB});
  EXPECT_EQ(arena.capacity_bytes(), kMiB + kMiB / 2);
  auto a = arena.Allocate(kMiB);
  auto b = arena.Allocate(kMiB / 2);
  ASSERT_TRUE(a.ok() && b.ok());
  std::memset(b->bytes().data(), 1, b->bytes().size());
  EXPECT_EQ(arena.stats().largest_free_bytes, 0u);
}

TEST(SlabArenaTest, ShrinkKeepsTheDataAndGivesTheRestBack) {
  SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB});
  auto slot = arena.Allocate(kMiB);
  ASSERT_TRUE(slot.ok());
  std::memset(slot->bytes().data(), 7, 100);
  std::byte* const at = slot->bytes().data();
  slot->Shrink(100);
  EXPECT_EQ(slot->bytes().data(), at);
  EXPECT_EQ(slot->bytes().size(), 100u);
  EXPECT_EQ(arena.used_bytes(), 128u);
  EXPECT_EQ(slot->bytes()[99], std::byte{7});
  auto rest = arena.Allocate(kMiB - 128);
  ASSERT_TRUE(rest.ok());
  EXPECT_EQ(rest->bytes().data(), at + 128);
  slot->Shrink(0);    // no change
  slot->Shrink(200);  // no change
  EXPECT_EQ(slot->bytes().size(), 100u);
}

TEST(SlabArenaTest, RandomSlotsNeverOverlapAndEndInOneRange) {
  SlabArena arena({.capacity_bytes = 4 * kMiB, .slab_bytes = 2 * kMiB});
  std::mt19937_64 random(1);
  struct Held {
    SlabArena::Slot slot;
    uint8_t fill;
  };
  std::vector<Held> held;
  uint64_t charged = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (held.empty() || random() % 5 < 3) {
      auto slot = arena.Allocate(1 + random() % 40'000);
      if (!slot.ok()) continue;
      const auto fill = static_cast<uint8_t>(random());
      std::memset(slot->bytes().data(), fill, slot->bytes().size());
      charged += slot->charged_bytes();
      held.push_back({*std::move(slot), fill});
    } else {
      std::swap(held[random() % held.size()], held.back());
      Held& last = held.back();
      if (random() % 4 == 0) {
        charged -= last.slot.charged_bytes();
        last.slot.Shrink(1 + last.slot.bytes().size() / 2);
        charged += last.slot.charged_bytes();
      }
      for (std::byte b : last.slot.bytes()) ASSERT_EQ(b, std::byte{last.fill});
      charged -= last.slot.charged_bytes();
      held.pop_back();
    }
    ASSERT_EQ(arena.used_bytes(), charged);
  }
  held.clear();
  EXPECT_EQ(arena.used_bytes(), 0u);
  EXPECT_EQ(arena.stats().slots, 0u);
  EXPECT_EQ(arena.stats().largest_free_bytes, 2 * kMiB);
}

TEST(SlabArenaDeathTest, ASlotLeftBehindAborts) {
  EXPECT_DEATH(
      {
        SlabArena::Slot left;
        SlabArena arena({.capacity_bytes = kMiB, .slab_bytes = kMiB});
        left = arena.Allocate(64).value();
      },
      "1 slots in use");
}

}  // namespace
}  // namespace kvcompd::server
