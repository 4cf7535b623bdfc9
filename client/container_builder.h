// ContainerBuilder: the parts of one block's container, made one after the other while the block is sent.
//
// Internal to the client's ENCODED puts. Encode is const and may run on many threads at once; Account is
// called in the container's order.
//
//   ContainerBuilder builder(plan, fingerprint, salted_key, tokens);
//   auto segment = builder.Encode(layer, Tensor::kK, values);
//   builder.Account(*segment); ... send(builder.Footer());
#ifndef KVCOMPD_CLIENT_CONTAINER_BUILDER_H_
#define KVCOMPD_CLIENT_CONTAINER_BUILDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/put_plan.h"
#include "codec/container.h"

namespace kvcompd::client {

class ContainerBuilder {
 public:
  struct Segment {
    Tensor tensor = Tensor::kK;
    std::shared_ptr<std::byte[]> memory;
    uint64_t bytes = 0;
    codec::EncodeStats stats;
    ByteSpan span() const { return {memory.get(), bytes}; }
  };

  // The plan has a codec.
  ContainerBuilder(const PutPlan& plan, const Fingerprint& fingerprint, const BlockKey& salted_key,
                   uint32_t tokens);

  const std::string& header_bytes() const { return header_bytes_; }
  // values: [heads, tokens, channels]. layer counts within the shard.
  absl::StatusOr<Segment> Encode(uint32_t layer, Tensor tensor, ByteSpan values) const;
  void Account(const Segment& segment);
  std::string Footer() const;

 private:
  codec::BlockHeader header_;
  std::string header_bytes_;
  const codec::Codec* codec_;
  Profile profile_;
  std::shared_ptr<const codec::CodebookSet> codebooks_;
  std::vector<codec::SegmentExtent> extents_;
  uint64_t end_;  // of what was accounted
  codec::QualityRecord quality_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CONTAINER_BUILDER_H_
