#include "proto/bulk.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/base/crc32c.h"

namespace kvcompd {
namespace {

constexpr uint32_t kLengthDelimited = 2;
constexpr uint32_t kBulkTag = kBulkField << 3 | kLengthDelimited;

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Walks the bytes of a message over its slices.
class SliceCursor {
 public:
  explicit SliceCursor(const std::vector<grpc::Slice>& slices) : slices_(slices) {
    for (const auto& s : slices_) remaining_ += s.size();
  }
  uint64_t remaining() const { return remaining_; }

  bool ReadVarint(uint64_t* value, std::string* copy) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      uint8_t byte;
      if (!ReadByte(&byte)) return false;
      copy->push_back(static_cast<char>(byte));
      *value |= uint64_t{byte & 0x7fu} << shift;
      if (!(byte & 0x80)) return true;
    }
    return false;
  }

  // Hands out the next n bytes piece by piece as (slice, begin, end).
  template <typename F>
  bool Take(uint64_t n, F&& piece) {
    if (n > remaining_) return false;
    while (n > 0) {
      SkipEmpty();
      const grpc::Slice& slice = slices_[index_];
      const uint64_t take = std::min<uint64_t>(n, slice.size() - at_);
      piece(slice, at_, at_ + take);
      Advance(take);
      n -= take;
    }
    return true;
  }

 private:
  bool ReadByte(uint8_t* byte) {
    if (remaining_ == 0) return false;
    SkipEmpty();
    *byte = slices_[index_].begin()[at_];
    Advance(1);
    return true;
  }
  void SkipEmpty() {
    while (at_ == slices_[index_].size()) {
      ++index_;
      at_ = 0;
    }
  }
  void Advance(uint64_t n) {
    at_ += n;
    remaining_ -= n;
  }

  const std::vector<grpc::Slice>& slices_;
  size_t index_ = 0;
  size_t at_ = 0;
  uint64_t remaining_ = 0;
};

}  // namespace

BulkView BulkView::TakeFront(uint64_t bytes) {
  BulkView out;
  bytes_ -= bytes;
  while (bytes > 0) {
    grpc::Slice& slice = slices_[first_];
    const uint64_t take = std::min<uint64_t>(bytes, slice.size());
    out.Append(slice.sub(0, take));
    bytes -= take;
    if (take == slice.size()) {
      slice = grpc::Slice();
      ++first_;
    } else {
      slice = slice.sub(take, slice.size());
    }
  }
  return out;
}

void BulkView::ForEach(const std::function<void(ByteSpan)>& piece) const {
  for (size_t i = first_; i < slices_.size(); ++i) {
    piece({reinterpret_cast<const std::byte*>(slices_[i].begin()), slices_[i].size()});
  }
}

void BulkView::CopyTo(std::byte* dst) const {
  ForEach([&dst](ByteSpan piece) {
    std::memcpy(dst, piece.data(), piece.size());
    dst += piece.size();
  });
}

uint32_t BulkView::Crc32c() const {
  uint32_t crc = 0;
  ForEach([&crc](ByteSpan piece) { crc = ExtendCrc32c(crc, piece); });
  return crc;
}

uint32_t BulkView::CopyWithCrc32c(std::byte* dst) const {
  constexpr size_t kStep = 32 * 1024;  // stays in the first-level cache between the two passes
  uint32_t crc = 0;
  ForEach([&](ByteSpan piece) {
    for (size_t at = 0; at < piece.size(); at += kStep) {
      const ByteSpan part = piece.subspan(at, std::min(kStep, piece.size() - at));
      crc = ExtendCrc32c(crc, part);
      std::memcpy(dst, part.data(), part.size());
      dst += part.size();
    }
  });
  return crc;
}

void BulkView::Append(grpc::Slice slice) {
  if (slice.size() == 0) return;
  bytes_ += slice.size();
  slices_.push_back(std::move(slice));
}

grpc::ByteBuffer EncodeBulk(const google::protobuf::MessageLite& message, std::span<const grpc::Slice> bulk) {
  uint64_t bulk_bytes = 0;
  for (const auto& s : bulk) bulk_bytes += s.size();
  std::string head = message.SerializeAsString();
  if (bulk_bytes > 0) {
    AppendVarint(kBulkTag, &head);
    AppendVarint(bulk_bytes, &head);
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(bulk.size() + 1);
  slices.emplace_back(head);
  for (const auto& s : bulk) {
    if (s.size() > 0) slices.push_back(s);
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status DecodeBulk(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                        BulkView* bulk) {
  *bulk = BulkView();
  std::vector<grpc::Slice> slices;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) {
    return absl::InvalidArgumentError("the message could not be read");
  }
  SliceCursor cursor(slices);
  std::string head;  // the message without its bulk field
  const auto copy = [&head](const grpc::Slice& s, size_t begin, size_t end) {
    head.append(reinterpret_cast<const char*>(s.begin()) + begin, end - begin);
  };
  const absl::Status malformed = absl::InvalidArgumentError("the message is no valid protobuf of its type");
  bool seen_bulk = false;
  while (cursor.remaining() > 0) {
    const size_t field_start = head.size();
    uint64_t tag = 0;
    uint64_t value = 0;
    if (!cursor.ReadVarint(&tag, &head)) return malformed;
    if (tag == kBulkTag) {
      if (seen_bulk) return absl::InvalidArgumentError("the message has its bulk field twice");
      seen_bulk = true;
      if (!cursor.ReadVarint(&value, &head)) return malformed;
      head.resize(field_start);
      if (!cursor.Take(value,
                       [bulk](const grpc::Slice& s, size_t b, size_t e) { bulk->Append(s.sub(b, e)); })) {
        return malformed;
      }
      continue;
    }
    bool ok = false;
    switch (tag & 7) {
      case 0:
        ok = cursor.ReadVarint(&value, &head);
        break;
      case 1:
        ok = cursor.Take(8, copy);
        break;
      case 2:
        ok = cursor.ReadVarint(&value, &head);
        if (ok && value > kMaxBulkHeaderBytes - std::min(kMaxBulkHeaderBytes, head.size())) {
          return absl::ResourceExhaustedError(absl::StrCat(
              "what stands beside the bulk bytes is longer than ", kMaxBulkHeaderBytes, " bytes"));
        }
        ok = ok && cursor.Take(value, copy);
        break;
      case 5:
        ok = cursor.Take(4, copy);
        break;
      default:
        break;
    }
    if (!ok) return malformed;
    if (head.size() > kMaxBulkHeaderBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("what stands beside the bulk bytes is longer than ", kMaxBulkHeaderBytes, " bytes"));
    }
  }
  if (!message->ParseFromString(head)) return malformed;
  return absl::OkStatus();
}

grpc::Slice SliceOf(ByteSpan bytes, std::shared_ptr<const void> owner) {
  using Owner = std::shared_ptr<const void>;
  return grpc::Slice(
      const_cast<std::byte*>(bytes.data()), bytes.size(), [](void* p) { delete static_cast<Owner*>(p); },
      new Owner(std::move(owner)));
}

}  // namespace kvcompd
