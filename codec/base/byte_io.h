// Little-endian fields in byte buffers, with every length checked before use.
//
//   ByteReader r(bytes);
//   uint32_t magic = r.U32(), n = r.U32();
//   if (!r.ok()) return absl::DataLossError("truncated");   // reads past the end give 0 and clear ok()
#ifndef KVCOMPD_CODEC_BASE_BYTE_IO_H_
#define KVCOMPD_CODEC_BASE_BYTE_IO_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "codec/base/types.h"

namespace kvcompd {

static_assert(std::endian::native == std::endian::little,
              "the formats are little-endian, and so must the host be");

constexpr uint64_t AlignUp(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

inline bool AllZero(ByteSpan bytes) {
  for (const std::byte b : bytes) {
    if (b != std::byte{0}) return false;
  }
  return true;
}

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}
  uint8_t U8() { return Take<uint8_t>(); }
  uint16_t U16() { return Take<uint16_t>(); }
  uint32_t U32() { return Take<uint32_t>(); }
  uint64_t U64() { return Take<uint64_t>(); }
  float F32() { return Take<float>(); }
  ByteSpan Bytes(size_t n) {
    if (n > bytes_.size() - at_) {
      ok_ = false;
      return {};
    }
    ByteSpan out = bytes_.subspan(at_, n);
    at_ += n;
    return out;
  }
  bool ok() const { return ok_; }
  size_t offset() const { return at_; }
  size_t remaining() const { return bytes_.size() - at_; }

 private:
  template <typename T>
  T Take() {
    T value{};
    if (sizeof(T) > bytes_.size() - at_) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  ByteSpan bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

// Appends to a string.
class ByteWriter {
 public:
  explicit ByteWriter(std::string* out) : out_(out) {}
  void U8(uint8_t v) { Put(&v, sizeof v); }
  void U16(uint16_t v) { Put(&v, sizeof v); }
  void U32(uint32_t v) { Put(&v, sizeof v); }
  void U64(uint64_t v) { Put(&v, sizeof v); }
  void F32(float v) { Put(&v, sizeof v); }
  void Bytes(std::string_view v) { out_->append(v); }
  void Zeros(size_t n) { out_->append(n, '\0'); }

 private:
  void Put(const void* p, size_t n) { out_->append(static_cast<const char*>(p), n); }
  std::string* out_;
};

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_BYTE_IO_H_
