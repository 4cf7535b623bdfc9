// Codec lossless: bit-exact for bf16, fp16 and fp8, every bit pattern (FORMAT.md, "Codec lossless"). Tiles
// stand alone: there are no group headers. Stateless: const use from any thread.
//
//   FindCodec(CodecId::kLossless)->EncodeGroup(shape, values, stride, {.profile = profile}, ...);
#ifndef KVCOMPD_CODEC_LOSSLESS_CODEC_H_
#define KVCOMPD_CODEC_LOSSLESS_CODEC_H_

#include "codec/codec.h"

namespace kvcompd::codec {

inline constexpr TileMode kLosslessFast{1};
inline constexpr TileMode kLosslessDense{2};

class LosslessCodec final : public Codec {
 public:
  CodecId id() const override { return CodecId::kLossless; }
  bool bit_exact() const override { return true; }
  std::span<const std::string_view> mode_names() const override { return kModeNames; }
  uint32_t GroupHeaderBound(const GroupShape& shape) const override { return 0; }
  uint64_t WorkspaceBytes(const GroupShape& shape) const override;
  absl::Status EncodeGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                           const EncodeParams& params, MutableByteSpan workspace, GroupOutput* out,
                           EncodeStats* stats) const override;
  absl::Status CheckGroupHeader(const GroupShape& shape, ByteSpan header) const override;
  absl::Status DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                          const Codebook* book, MutableByteSpan workspace,
                          MutableByteSpan values) const override;

 private:
  static constexpr std::string_view kModeNames[] = {"raw", "fast", "dense"};
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_LOSSLESS_CODEC_H_
