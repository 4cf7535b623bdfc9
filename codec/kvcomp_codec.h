// Codec kvcomp, CPU reference: error-bounded quantisation and canonical Huffman codes per tile (FORMAT.md,
// "Codec kvcomp"; after KVComp, arXiv 2509.00579). Stateless: const use from any thread.
//
//   FindCodec(CodecId::kKvcomp)->EncodeGroup(shape, values, stride, {.profile = profile, .book = book}, ...);
#ifndef KVCOMPD_CODEC_KVCOMP_CODEC_H_
#define KVCOMPD_CODEC_KVCOMP_CODEC_H_

#include "codec/codec.h"

namespace kvcompd::codec {

class KvcompCodec final : public Codec {
 public:
  CodecId id() const override { return CodecId::kKvcomp; }
  bool bit_exact() const override { return false; }
  std::span<const std::string_view> mode_names() const override { return kModeNames; }
  uint32_t GroupHeaderBound(const GroupShape& shape) const override;
  uint64_t WorkspaceBytes(const GroupShape& shape) const override;
  absl::Status EncodeGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                           const EncodeParams& params, MutableByteSpan workspace, GroupOutput* out,
                           EncodeStats* stats) const override;
  absl::Status CheckGroupHeader(const GroupShape& shape, ByteSpan header) const override;
  absl::Status DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                          const Codebook* book, MutableByteSpan workspace,
                          MutableByteSpan values) const override;

 private:
  static constexpr std::string_view kModeNames[] = {"raw", "huffman", "packed", "rans"};
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_KVCOMP_CODEC_H_
