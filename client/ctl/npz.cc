#include "client/ctl/npz.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {
namespace {

// Sizes and signatures of PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16.
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22;
constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50;
constexpr size_t kMaxCommentBytes = 65535;
constexpr size_t kMaxArrays = 4096;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("npz: ", what));
}

template <typename T>
T Load(std::span<const std::byte> file, size_t at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

struct Entry {
  std::string name;
  uint16_t method = 0;
  uint32_t crc = 0;
  uint32_t packed_bytes = 0, bytes = 0;
  uint32_t local = 0;
};

// The end record: in the last bytes, before a comment.
absl::StatusOr<size_t> FindEnd(std::span<const std::byte> file) {
  if (file.size() < kEndBytes) return Malformed("too short");
  const size_t last = file.size() - kEndBytes;
  const size_t first = last - std::min(last, kMaxCommentBytes);
  for (size_t at = last + 1; at-- > first;) {
    if (Load<uint32_t>(file, at) == kEndSignature &&
        at + kEndBytes + Load<uint16_t>(file, at + 20) == file.size()) {
      return at;
    }
  }
  return Malformed("no zip file");
}

absl::StatusOr<NpyArray> ReadEntry(std::span<const std::byte> file, const Entry& entry) {
  if (entry.method != 0) return absl::UnimplementedError(absl::StrCat("npz: ", entry.name, " is compressed"));
  if (entry.bytes == 0xffffffff)
    return absl::UnimplementedError(absl::StrCat("npz: ", entry.name, " is too large"));
  const uint64_t local = entry.local;
  if (local + kLocalBytes > file.size() || Load<uint32_t>(file, local) != kLocalSignature) {
    return Malformed(absl::StrCat(entry.name, " is not where it should be"));
  }
  const uint64_t data =
      local + kLocalBytes + Load<uint16_t>(file, local + 26) + Load<uint16_t>(file, local + 28);
  if (entry.packed_bytes != entry.bytes || data + entry.bytes > file.size()) {
    return Malformed(absl::StrCat(entry.name, " does not fit the file"));
  }
  const std::span<const std::byte> bytes = file.subspan(data, entry.bytes);
  const uint32_t crc = crc32_gzip_refl(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  if (crc != entry.crc) return Malformed(absl::StrCat(entry.name, " has another checksum"));
  auto array = ParseNpy(bytes);
  if (!array.ok())
    return absl::Status(array.status().code(), absl::StrCat(entry.name, ": ", array.status().message()));
  return array;
}

}  // namespace

absl::StatusOr<std::map<std::string, NpyArray>> ParseNpz(std::span<const std::byte> file) {
  const auto end = FindEnd(file);
  if (!end.ok()) return end.status();
  const uint16_t count = Load<uint16_t>(file, *end + 10);
  if (count > kMaxArrays) return Malformed("too many arrays");
  uint64_t at = Load<uint32_t>(file, *end + 16);
  std::map<std::string, NpyArray> arrays;
  for (uint16_t i = 0; i < count; ++i) {
    if (at + kCentralBytes > *end || Load<uint32_t>(file, at) != kCentralSignature)
      return Malformed("directory");
    const uint16_t name_bytes = Load<uint16_t>(file, at + 28);
    const uint64_t next =
        at + kCentralBytes + name_bytes + Load<uint16_t>(file, at + 30) + Load<uint16_t>(file, at + 32);
    if (next > *end) return Malformed("directory");
    Entry entry{
        .name = std::string(reinterpret_cast<const char*>(file.data()) + at + kCentralBytes, name_bytes),
        .method = Load<uint16_t>(file, at + 10),
        .crc = Load<uint32_t>(file, at + 16),
        .packed_bytes = Load<uint32_t>(file, at + 20),
        .bytes = Load<uint32_t>(file, at + 24),
        .local = Load<uint32_t>(file, at + 42)};
    auto array = ReadEntry(file, entry);
    if (!array.ok()) return array.status();
    if (entry.name.ends_with(".npy")) entry.name.resize(entry.name.size() - 4);
    if (!arrays.emplace(entry.name, *std::move(array)).second)
      return Malformed(absl::StrCat(entry.name, " twice"));
    at = next;
  }
  return arrays;
}

}  // namespace kvcompd::client
