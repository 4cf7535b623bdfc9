// Codec raw: the values as they are; the checksums are the segment's (FORMAT.md, "Codec raw"). Stateless:
// const use from any thread.
//
//   FindCodec(CodecId::kRaw)->DecodeTile(shape, {}, TileMode::kRaw, payload, nullptr, {}, values);
#ifndef KVCOMPD_CODEC_RAW_CODEC_H_
#define KVCOMPD_CODEC_RAW_CODEC_H_

#include "codec/codec.h"

namespace kvcompd::codec {

class RawCodec final : public Codec {
 public:
  CodecId id() const override { return CodecId::kRaw; }
  bool bit_exact() const override { return true; }
  std::span<const std::string_view> mode_names() const override { return kModeNames; }
  uint32_t GroupHeaderBound(const GroupShape& shape) const override { return 0; }
  uint64_t WorkspaceBytes(const GroupShape& shape) const override { return 0; }
  absl::Status EncodeGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                           const EncodeParams& params, MutableByteSpan workspace, GroupOutput* out,
                           EncodeStats* stats) const override;
  absl::Status CheckGroupHeader(const GroupShape& shape, ByteSpan header) const override;
  absl::Status DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                          const Codebook* book, MutableByteSpan workspace,
                          MutableByteSpan values) const override;

 private:
  static constexpr std::string_view kModeNames[] = {"raw"};
};

// For codecs that write what they cannot encode as raw tiles. The caller has checked shape and out.
absl::Status EncodeRawGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                            GroupOutput* out, EncodeStats* stats);
// DATA_LOSS where the payload's size is not that of the values.
absl::Status DecodeRawTile(ByteSpan payload, MutableByteSpan values);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_RAW_CODEC_H_
