// Messages whose last field is bulk bytes (field 1000), moved without a protobuf string copy.
//
// Called by the daemon's Put, Get and Append handlers and by the client. The wire form is that of an ordinary
// protobuf message, so a peer in another language needs none of this.
//
//   grpc::ByteBuffer out = EncodeBulk(header_message, slices);       // slices are referenced, not copied
//   BulkView bulk;
//   auto status = DecodeBulk(buffer, &header_message, &bulk);        // bulk references buffer's slices
//
// Free functions; a BulkView may be moved between threads.
#ifndef KVCOMPD_PROTO_BULK_H_
#define KVCOMPD_PROTO_BULK_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/types.h"

namespace kvcompd {

inline constexpr uint32_t kBulkField = 1000;
// What stands beside the bulk bytes may not be longer; more is RESOURCE_EXHAUSTED.
inline constexpr size_t kMaxBulkHeaderBytes = size_t{1} << 20;

// Bytes spread over slices of a received message; keeps them alive.
class BulkView {
 public:
  uint64_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  // Takes the first `bytes` off; there must be so many. All of a view in pieces costs one walk over it.
  BulkView TakeFront(uint64_t bytes);
  void CopyTo(std::byte* dst) const;  // dst holds bytes()
  uint32_t Crc32c() const;
  // Copies and computes the CRC in one go, slice by slice while it is in cache.
  uint32_t CopyWithCrc32c(std::byte* dst) const;
  // Calls for each piece in order.
  void ForEach(const std::function<void(ByteSpan)>& piece) const;
  void Append(grpc::Slice slice);

 private:
  std::vector<grpc::Slice> slices_;  // from first_ on
  size_t first_ = 0;
  uint64_t bytes_ = 0;
};

// `message` must not have its bulk field set.
grpc::ByteBuffer EncodeBulk(const google::protobuf::MessageLite& message, std::span<const grpc::Slice> bulk);

// INVALID_ARGUMENT: not a protobuf message of this type, or the bulk field stands twice; RESOURCE_EXHAUSTED:
// what stands beside the bulk is too long. Fields after the bulk (of a newer peer) are taken, too.
absl::Status DecodeBulk(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                        BulkView* bulk);

// A slice over memory that `owner` keeps.
grpc::Slice SliceOf(ByteSpan bytes, std::shared_ptr<const void> owner);

}  // namespace kvcompd

#endif  // KVCOMPD_PROTO_BULK_H_
