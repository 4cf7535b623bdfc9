#include "client/npy.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codec/base/types.h"

namespace kvcompd::client {
namespace {

static_assert(std::endian::native == std::endian::little, "values are used as they stand in the file");

constexpr std::string_view kMagic = "\x93NUMPY";

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<uint64_t>> shape;
};

// The header is a Python dict literal of three known keys. Every Take* skips white space, and returns false
// where the text goes on differently.
class HeaderScanner {
 public:
  explicit HeaderScanner(std::string_view text) : text_(text) {}

  bool TakeHeader(Header* out) {
    if (!Take("{")) return false;
    while (!Take("}")) {
      if (!TakeEntry(out)) return false;
      if (!Take(",")) {
        if (!Take("}")) return false;
        break;
      }
    }
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && std::isspace(static_cast<unsigned char>(text_.front()))) text_.remove_prefix(1);
  }

  bool Take(std::string_view token) {
    SkipSpace();
    if (text_.substr(0, token.size()) != token) return false;
    text_.remove_prefix(token.size());
    return true;
  }

  bool TakeEntry(Header* out) {
    std::string key;
    if (!TakeString(&key) || !Take(":")) return false;
    if (key == "descr" && !out->descr) return TakeString(&out->descr.emplace());
    if (key == "fortran_order" && !out->fortran_order) return TakeBool(&out->fortran_order.emplace());
    if (key == "shape" && !out->shape) return TakeShape(&out->shape.emplace());
    return false;  // unknown, or twice
  }

  bool TakeString(std::string* out) {
    SkipSpace();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return false;
    const size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return false;
    *out = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return true;
  }

  bool TakeBool(bool* out) {
    *out = Take("True");
    return *out || Take("False");
  }

  bool TakeNumber(uint64_t* out) {
    SkipSpace();
    const char* const begin = text_.data();
    const char* at = begin;
    uint64_t value = 0;
    for (; at != begin + text_.size() && *at >= '0' && *at <= '9'; ++at) {
      const uint64_t digit = static_cast<uint64_t>(*at - '0');
      if (value > (std::numeric_limits<uint64_t>::max() - digit) / 10) return false;
      value = value * 10 + digit;
    }
    if (at == begin) return false;
    text_.remove_prefix(static_cast<size_t>(at - begin));
    *out = value;
    return true;
  }

  bool TakeShape(std::vector<uint64_t>* out) {
    if (!Take("(")) return false;
    while (!Take(")")) {
      uint64_t dim = 0;
      if (!TakeNumber(&dim)) return false;
      out->push_back(dim);
      if (!Take(",")) return Take(")");
    }
    return true;
  }

  std::string_view text_;
};

absl::StatusOr<NpyType> TypeOf(const std::string& descr) {
  if (descr == "<u2") return NpyType::kUint16;
  if (descr == "<f2") return NpyType::kFloat16;
  if (descr == "<f4") return NpyType::kFloat32;
  return absl::UnimplementedError(absl::StrCat("npy: type '", descr, "'; read here are <u2, <f2, <f4"));
}

// Bytes of all values; RESOURCE_EXHAUSTED where they exceed the limit or overflow.
absl::StatusOr<uint64_t> DataBytes(const std::vector<uint64_t>& shape, NpyType type) {
  if (shape.size() > kNpyMaxDims) {
    return absl::ResourceExhaustedError(
        absl::StrCat("npy: ", shape.size(), " dimensions, at most ", kNpyMaxDims));
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  uint64_t bytes = NpyElementBytes(type);
  for (uint64_t dim : shape) {
    if (dim > kNpyMaxBytes / bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("npy: the shape asks for over ", kNpyMaxBytes, " bytes"));
    }
    bytes *= dim;
  }
  return bytes;
}

absl::StatusOr<std::string_view> HeaderText(std::string_view file) {
  if (file.size() < kMagic.size() + 2 || file.substr(0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("npy: no NumPy magic");
  }
  const auto major = static_cast<uint8_t>(file[kMagic.size()]);
  if (major != 1 && major != 2) {
    return absl::UnimplementedError(absl::StrCat("npy: version ", major, "; read here are 1 and 2"));
  }
  std::string_view rest = file.substr(kMagic.size() + 2);
  const size_t length_bytes = major == 1 ? 2 : 4;
  if (rest.size() < length_bytes) return absl::InvalidArgumentError("npy: cut short in the header");
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, rest.data(), length_bytes);
  rest.remove_prefix(length_bytes);
  if (header_bytes > kNpyMaxHeaderBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("npy: a header of ", header_bytes, " bytes"));
  }
  if (header_bytes > rest.size()) return absl::InvalidArgumentError("npy: cut short in the header");
  return rest.substr(0, header_bytes);
}

}  // namespace

std::string_view NpyTypeName(NpyType type) {
  switch (type) {
    case NpyType::kUint16:
      return "uint16";
    case NpyType::kFloat16:
      return "float16";
    case NpyType::kFloat32:
      return "float32";
  }
  return "?";
}

absl::StatusOr<std::vector<float>> NpyArray::Floats() const {
  if (type != NpyType::kFloat32) {
    return absl::InvalidArgumentError(
        absl::StrCat("npy: ", ToAbsl(NpyTypeName(type)), " where float32 is needed"));
  }
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

absl::StatusOr<NpyArray> ParseNpy(std::span<const std::byte> file) {
  const std::string_view chars(reinterpret_cast<const char*>(file.data()), file.size());
  const absl::StatusOr<std::string_view> text = HeaderText(chars);
  if (!text.ok()) return text.status();
  Header header;
  if (!HeaderScanner(*text).TakeHeader(&header) || !header.descr || !header.fortran_order || !header.shape) {
    return absl::InvalidArgumentError("npy: the header is not {'descr', 'fortran_order', 'shape'}");
  }
  const absl::StatusOr<NpyType> type = TypeOf(*header.descr);
  if (!type.ok()) return type.status();
  if (*header.fortran_order) return absl::UnimplementedError("npy: Fortran order");
  const absl::StatusOr<uint64_t> data_bytes = DataBytes(*header.shape, *type);
  if (!data_bytes.ok()) return data_bytes.status();

  const auto data_begin = static_cast<size_t>(text->data() + text->size() - chars.data());
  const std::span<const std::byte> data = file.subspan(data_begin);
  if (data.size() != *data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("npy: ", data.size(), " bytes of values, the shape needs ", *data_bytes));
  }
  NpyArray out;
  out.type = *type;
  out.shape = *std::move(header.shape);
  out.bytes.assign(data.begin(), data.end());
  return out;
}

absl::StatusOr<std::vector<std::byte>> ReadFileBytes(const std::string& path, uint64_t max_bytes) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  const std::streamoff size = in.tellg();
  if (size < 0) return absl::InvalidArgumentError(absl::StrCat(path, ": not a plain file"));
  if (static_cast<uint64_t>(size) > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": ", size, " bytes, at most ", max_bytes));
  }
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  if (!in) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  return bytes;
}

absl::StatusOr<NpyArray> LoadNpy(const std::string& path) {
  const absl::StatusOr<std::vector<std::byte>> file = ReadFileBytes(path, kNpyMaxBytes);
  if (!file.ok()) return file.status();
  absl::StatusOr<NpyArray> array = ParseNpy(*file);
  if (!array.ok())
    return absl::Status(array.status().code(), absl::StrCat(path, ": ", array.status().message()));
  return array;
}

}  // namespace kvcompd::client
