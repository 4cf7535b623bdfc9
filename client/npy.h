// Reads NumPy .npy arrays: the form in which KV samples and queries come.
//
// Called by kv_file and by tests. Pure functions; safe from any thread.
//
//   auto array = LoadNpy("tiny1m.story1.kv.bf16.npy");   // StatusOr
//   if (!array.ok()) return array.status();
//   array->shape;                                        // {4, 2, 256, 2, 64}
//
// Supported: format versions 1 and 2, C order, little-endian uint16, float16 and float32. The file must be
// exactly as long as its header says.
#ifndef KVCOMPD_CLIENT_NPY_H_
#define KVCOMPD_CLIENT_NPY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd::client {

enum class NpyType { kUint16, kFloat16, kFloat32 };
std::string_view NpyTypeName(NpyType type);  // "uint16", "float16", "float32"
constexpr uint64_t NpyElementBytes(NpyType type) { return type == NpyType::kFloat32 ? 4 : 2; }

struct NpyArray {
  NpyType type = NpyType::kUint16;
  std::vector<uint64_t> shape;   // at most kNpyMaxDims; empty: one scalar
  std::vector<std::byte> bytes;  // little-endian, C order

  uint64_t elems() const { return bytes.size() / NpyElementBytes(type); }
  // INVALID_ARGUMENT unless the array is float32.
  absl::StatusOr<std::vector<float>> Floats() const;
};

inline constexpr size_t kNpyMaxDims = 8;
inline constexpr size_t kNpyMaxHeaderBytes = 65536;
inline constexpr uint64_t kNpyMaxBytes = uint64_t{4} << 30;  // of a whole file

// INVALID_ARGUMENT: not an .npy file, or cut short, or too long. UNIMPLEMENTED: an .npy file of a version,
// type or order that is not read here. RESOURCE_EXHAUSTED: over a limit.
absl::StatusOr<NpyArray> ParseNpy(std::span<const std::byte> file);

// Also NOT_FOUND where there is no such file. The path stands in every message.
absl::StatusOr<NpyArray> LoadNpy(const std::string& path);

// A whole file, at most max_bytes long (RESOURCE_EXHAUSTED).
absl::StatusOr<std::vector<std::byte>> ReadFileBytes(const std::string& path, uint64_t max_bytes);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_NPY_H_
