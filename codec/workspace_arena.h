// WorkspaceArena: carves typed arrays out of a codec's workspace, one behind the other, or only counts what
// they take.
//
// Called by the codecs' workspaces. Owns nothing. A layout is a function of an arena, so that the size asked
// for and the arrays carved cannot differ:
//
//   WorkspaceArena counting;                 Layout(shape, &counting); return counting.bytes();
//   WorkspaceArena carving(workspace);       return Layout(shape, &carving);
#ifndef KVCOMPD_CODEC_WORKSPACE_ARENA_H_
#define KVCOMPD_CODEC_WORKSPACE_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <type_traits>

#include "codec/base/types.h"

namespace kvcompd::codec {

class WorkspaceArena {
 public:
  // Only counts: every array is empty.
  WorkspaceArena() = default;
  // workspace: at least as many bytes as were counted, any alignment.
  explicit WorkspaceArena(MutableByteSpan workspace) {
    const auto misaligned = reinterpret_cast<uintptr_t>(workspace.data()) % kAlignment;
    begin_ = workspace.data() + (misaligned ? kAlignment - misaligned : 0);
  }

  bool counts_only() const { return begin_ == nullptr; }
  // With room to align the first array.
  uint64_t bytes() const { return used_ + kAlignment; }

  template <typename T>
  std::span<T> Take(uint64_t n) {
    // The bytes hold objects of these types without a constructor, which would set them all: 2 % of a decode.
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    std::byte* const at = begin_ == nullptr ? nullptr : begin_ + used_;
    used_ += (n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return at == nullptr ? std::span<T>() : std::span<T>(std::launder(reinterpret_cast<T*>(at)), n);
  }

 private:
  static constexpr uint64_t kAlignment = 64;

  std::byte* begin_ = nullptr;
  uint64_t used_ = 0;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_WORKSPACE_ARENA_H_
