#include "codec/base/types.h"

#include <openssl/evp.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace kvcompd {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return "bf16";
    case DType::kFp16:
      return "fp16";
    case DType::kFp8E4m3:
      return "fp8_e4m3";
    case DType::kFp8E5m2:
      return "fp8_e5m2";
    case DType::kOpaque:
      return "opaque";
  }
  return "unknown";
}

absl::StatusOr<DType> ParseDType(std::string_view name) {
  for (DType d : {DType::kBf16, DType::kFp16, DType::kFp8E4m3, DType::kFp8E5m2, DType::kOpaque}) {
    if (name == DTypeName(d)) return d;
  }
  return absl::InvalidArgumentError(absl::StrCat("dtype \"", absl::CHexEscape(ToAbsl(name.substr(0, 32))),
                                                 "\" is not one of bf16, fp16, fp8_e4m3, fp8_e5m2, opaque"));
}

bool Digest::IsZero() const {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

std::string Digest::Hex() const { return HexOf(view()); }

absl::StatusOr<Digest> Digest::FromBytes(std::string_view bytes) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a digest has 32 bytes, not ", bytes.size()));
  }
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

Digest Sha256(std::string_view bytes) {
  Digest digest;
  // Fails only where OpenSSL has no SHA-256; a zero digest then matches nothing.
  if (EVP_Digest(bytes.data(), bytes.size(), digest.bytes.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    digest = Digest{};
  }
  return digest;
}

absl::StatusOr<BlockKey> BlockKey::FromBytes(std::string_view bytes) {
  if (bytes.size() < kMinBytes || bytes.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a block key has ", kMinBytes, " to ", kMaxBytes, " bytes, not ", bytes.size()));
  }
  BlockKey key;
  key.size_ = static_cast<uint8_t>(bytes.size());
  std::memcpy(key.bytes_.data(), bytes.data(), bytes.size());
  return key;
}

BlockKey BlockKey::FromDigest(const Digest& digest) {
  BlockKey key;
  key.size_ = static_cast<uint8_t>(digest.bytes.size());
  std::memcpy(key.bytes_.data(), digest.bytes.data(), digest.bytes.size());
  return key;
}

std::string BlockKey::Hex() const { return HexOf(view()); }

std::string HexOf(std::string_view bytes) { return absl::BytesToHexString(ToAbsl(bytes)); }

absl::StatusOr<std::string> BytesOfHex(std::string_view hex) {
  if (hex.size() % 2 != 0) return absl::InvalidArgumentError("hex text has an odd number of digits");
  std::string out(hex.size() / 2, '\0');
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = HexDigit(hex[2 * i]);
    const int low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("hex text has a character that is no digit near ", 2 * i));
    }
    out[i] = static_cast<char>(high << 4 | low);
  }
  return out;
}

}  // namespace kvcompd
