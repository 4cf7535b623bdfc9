// One KV sample through one profile: its blocks of 64 tokens as whole containers, and back. No daemon takes
// part.
//
// Called by the benchmarks of the codecs. Not thread-safe: one object a thread; the file and the set outlive
// it.
//
//   SampleCoder coder(file, profile);
//   for (const SampleCoder::Block& block : coder.Blocks(set.get())) {
//     auto encoded = coder.Encode(block, set.get());                                   // StatusOr
//     auto view = codec::ContainerView::Parse(AsBytes(encoded->container));             // StatusOr
//     auto values = coder.Decode(*view, layer, Tensor::kK, set.get());                  // StatusOr
//   }
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_CODER_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_CODER_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/kv_file.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/codec.h"
#include "codec/container.h"
#include "codec/packkv_tuner.h"

namespace kvcompd::client {

class SampleCoder {
 public:
  static constexpr uint32_t kBlockTokens = 64;

  struct Block {
    codec::BlockHeader header;
    uint32_t first_token = 0;
  };
  // What one layer's K or V takes.
  struct Part {
    codec::EncodeStats stats;
    uint64_t segment_bytes = 0;  // with header, index and padding
  };
  struct Encoded {
    std::string container;
    std::vector<std::array<Part, 2>> layers;  // [layer][K, V]
  };

  // Precondition: the profile's codec is in this build.
  // packing: for what the profile leaves open (sample_packing.h).
  SampleCoder(const KvFile& file, const Profile& profile, const codec::PackkvChoices& packing = {});

  const Fingerprint& fingerprint() const { return fingerprint_; }
  // Blocks that name a set; null: the built-in one.
  std::vector<Block> Blocks(const codec::CodebookSet* set) const;
  // One layer's K or V as a segment. histogram: where it is set, counts are added to its 256 entries.
  absl::StatusOr<std::string> EncodeSegment(const Block& block, uint32_t layer, Tensor tensor,
                                            const codec::CodebookSet* set, codec::EncodeStats* stats);
  absl::StatusOr<Encoded> Encode(const Block& block, const codec::CodebookSet* set);
  // Values of one layer's K or V, [heads, tokens, channels], valid until the next call.
  absl::StatusOr<ByteSpan> Decode(const codec::ContainerView& view, uint32_t layer, Tensor tensor,
                                  const codec::CodebookSet* set);
  // The original ones, likewise.
  absl::StatusOr<ByteSpan> Values(const Block& block, uint32_t layer, Tensor tensor);
  // How often each code stands in each layer's K and V.
  struct Histograms {
    struct Part {
      uint32_t layer = 0;  // global number
      Tensor tensor = Tensor::kK;
      std::vector<uint32_t> counts;  // [256]
    };
    std::vector<Part> parts;
    void AddTo(codec::CodebookTrainer* trainer) const;
  };
  // Of all blocks, as the built-in books would write them.
  absl::StatusOr<Histograms> CountCodes();

 private:
  const KvFile& file_;
  const Profile profile_;
  const codec::PackkvChoices packing_;
  const ModelDescriptor descriptor_;
  const Fingerprint fingerprint_;
  const codec::Codec& codec_;
  codec::Workspace workspace_;
  std::vector<std::byte> values_;
  std::vector<std::byte> decoded_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_CODER_H_
