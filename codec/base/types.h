// Domain types that every layer shares: dtypes, block keys, digests, generations.
//
// Called by everyone. Plain values, no locks; safe to copy between threads.
//
//   auto key = BlockKey::FromBytes(bytes);      // StatusOr: 16 to 64 bytes
//   if (!key.ok()) return key.status();
//   shard_index = HashOf(*key) % num_shards;
#ifndef KVCOMPD_CODEC_BASE_TYPES_H_
#define KVCOMPD_CODEC_BASE_TYPES_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvcompd {

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

inline ByteSpan AsBytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view AsChars(ByteSpan b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

// Debian builds Abseil for C++14, where absl::string_view is a type of its own that neither converts to
// std::string_view nor back; StrCat, Status messages and StrSplit take the Abseil one.
inline absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

// Element types. The numbers are frozen in the file format and in the wire contract.
enum class DType : uint8_t {
  kBf16 = 1,
  kFp16 = 2,
  kFp8E4m3 = 3,  // OCP E4M3: finite, NaN = 0x7f and 0xff
  kFp8E5m2 = 4,
  kOpaque = 5,  // one byte an element; always lossless
};

// Bytes of one element, or 0 for a number that is no DType.
constexpr uint32_t ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
    case DType::kFp16:
      return 2;
    case DType::kFp8E4m3:
    case DType::kFp8E5m2:
    case DType::kOpaque:
      return 1;
  }
  return 0;
}
std::string_view DTypeName(DType dtype);  // "bf16", "fp16", "fp8_e4m3", "fp8_e5m2", "opaque"
absl::StatusOr<DType> ParseDType(std::string_view name);

enum class Tensor : uint8_t { kK = 1, kV = 2 };
constexpr std::string_view TensorName(Tensor t) { return t == Tensor::kK ? "K" : "V"; }

// Tokens of a tile; a block's last tile may have fewer.
inline constexpr uint32_t kTileTokens = 64;
inline constexpr uint32_t kMaxBlockTokens = 1024;
inline constexpr uint32_t kMinHeadDim = 8;
inline constexpr uint32_t kMaxHeadDim = 576;
inline constexpr uint32_t kMaxOpaqueBytes = 65536;  // "channels" of an opaque group
inline constexpr uint32_t kMaxHeads = 1024;
inline constexpr uint32_t kMaxLayers = 1024;        // of an attention group
inline constexpr uint32_t kMaxLayerNumber = 65534;  // global; 65535 stands for "any layer" in codebook sets

// A SHA-256 digest: fingerprints, codebook set ids.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  bool IsZero() const;
  std::string Hex() const;
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  static absl::StatusOr<Digest> FromBytes(std::string_view bytes);  // INVALID_ARGUMENT unless 32 bytes

  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), d.bytes);
  }
};
using Fingerprint = Digest;

Digest Sha256(std::string_view bytes);

// 16 to 64 bytes that name a block within a namespace. Fixed storage, so that an index entry owns no heap.
class BlockKey {
 public:
  static constexpr size_t kMinBytes = 16;
  static constexpr size_t kMaxBytes = 64;

  BlockKey() = default;
  static absl::StatusOr<BlockKey> FromBytes(std::string_view bytes);  // INVALID_ARGUMENT: not 16 to 64 bytes
  static BlockKey FromDigest(const Digest& digest);

  std::string_view view() const { return {reinterpret_cast<const char*>(bytes_.data()), size_}; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string Hex() const;

  friend bool operator==(const BlockKey& a, const BlockKey& b) { return a.view() == b.view(); }
  friend auto operator<=>(const BlockKey& a, const BlockKey& b) { return a.view() <=> b.view(); }
  template <typename H>
  friend H AbslHashValue(H h, const BlockKey& k) {
    return H::combine(std::move(h), k.view());
  }

 private:
  uint8_t size_ = 0;
  std::array<uint8_t, kMaxBytes> bytes_{};
};

// One committed content of a block; never used again, also not after a restart (epoch).
struct Generation {
  uint64_t epoch = 0;
  uint64_t counter = 0;
  friend auto operator<=>(const Generation&, const Generation&) = default;
};

// Part of a block that one worker stores: heads x layers of one attention group. layer_begin indexes
// AttentionGroup::layers.
struct ShardRange {
  uint32_t group = 0;
  uint32_t head_begin = 0;
  uint32_t head_count = 0;
  uint32_t layer_begin = 0;
  uint32_t layer_count = 0;
  friend auto operator<=>(const ShardRange&, const ShardRange&) = default;
};

std::string HexOf(std::string_view bytes);
absl::StatusOr<std::string> BytesOfHex(std::string_view hex);

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_TYPES_H_
