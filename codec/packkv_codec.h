// Codec packkv: one scale a token, tokens ordered so that alike codes stand together, and packs of a channel
// in as few bits as they need (FORMAT.md, "Codec packkv"; after PackKV). Stateless: const use from any
// thread.
//
//   FindCodec(CodecId::kPackkv)->EncodeGroup(shape, values, stride, {.profile = profile}, ...);
#ifndef KVCOMPD_CODEC_PACKKV_CODEC_H_
#define KVCOMPD_CODEC_PACKKV_CODEC_H_

#include "codec/codec.h"

namespace kvcompd::codec {

class PackkvCodec final : public Codec {
 public:
  CodecId id() const override { return CodecId::kPackkv; }
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
  static constexpr std::string_view kModeNames[] = {"raw", "packed"};
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKKV_CODEC_H_
