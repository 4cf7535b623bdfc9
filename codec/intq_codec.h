// Codec intq, CPU: group-wise integers of 8, 4 or 2 bits, K by channel and V by token, at a fixed rate
// (FORMAT.md, "Codec intq"; after KIVI, arXiv 2402.02750, section 3). Stateless: const use from any thread.
//
//   const Profile profile = Profile::Parse("intq:bits=4,group=32").value();
//   FindCodec(CodecId::kIntq)->EncodeGroup(shape, values, stride, {.profile = profile}, ...);
//
// Deviations from KIVI: no full-precision window of the newest tokens, as the tail of a sequence is the
// daemon's; zeros are elements of the stored dtype, and scales 16 bits without a sign, so that codes keep an
// error bound.
#ifndef KVCOMPD_CODEC_INTQ_CODEC_H_
#define KVCOMPD_CODEC_INTQ_CODEC_H_

#include <optional>

#include "codec/codec.h"
#include "codec/simd/intq_tile.h"

namespace kvcompd::codec {

class IntqCodec final : public Codec {
 public:
  CodecId id() const override { return CodecId::kIntq; }
  bool bit_exact() const override { return false; }
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
  static constexpr std::string_view kModeNames[] = {"raw",    "b2_g32",  "b2_g64", "b2_g128", "b4_g32",
                                                    "b4_g64", "b4_g128", "b8_g32", "b8_g64",  "b8_g128"};
};

// A tile's mode says its bits and group, so that it needs no header.
TileMode IntqModeOf(uint32_t bits, uint32_t group);
// None: raw, or no mode of the codec.
std::optional<IntqTile> IntqTileOf(const GroupShape& shape, TileMode mode);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_INTQ_CODEC_H_
