#include "tests/golden/golden_blocks.h"

#include "absl/strings/str_cat.h"
#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

constexpr size_t kBytesPerLine = 32;

// A small block whose bytes show padding, several groups and both tensors.
BlockSpec Spec(const char* profile, DType dtype) {
  BlockSpec spec;
  spec.profile = profile;
  spec.dtype = dtype;
  spec.layers = {1, 4};
  spec.head_begin = 2;
  spec.heads = 2;
  spec.tokens = 66;
  spec.head_dim_k = 16;
  spec.head_dim_v = dtype == DType::kOpaque ? 0 : 8;
  return spec;
}

std::string WithMustUnderstandBit(std::string container) {
  Poke<uint32_t>(&container, 8, 1u << 31);
  ResealBlockHeader(&container);
  return container;
}

std::string WithNewerMinorHeader(std::string container) {
  Poke<uint8_t>(&container, 5, 1);
  Poke<uint32_t>(&container, 12, 1u << 7);  // a may-ignore bit
  ResealBlockHeader(&container);
  return container;
}

// Every checksum right, but the key is another block's.
std::string WithAnotherKey(std::string container) {
  container[52] = '\x55';
  ResealBlockHeader(&container);
  return container;
}

}  // namespace

std::vector<GoldenBlock> CurrentGoldenBlocks() {
  const std::string raw = MakeBlock(Spec("raw", DType::kBf16)).container;
  return {
      {"v1_0_raw_bf16.hex", "codec raw, bf16", raw},
      {"v1_0_raw_opaque.hex", "codec raw, opaque bytes, no V",
       MakeBlock(Spec("raw", DType::kOpaque)).container},
      {"v1_0_kvcomp_bf16.hex", "codec kvcomp, bf16, built-in books",
       MakeBlock(Spec("kvcomp", DType::kBf16)).container},
      {"v1_0_kvcomp_channel_fp16.hex", "codec kvcomp, K by channel, fp16",
       MakeBlock(Spec("kvcomp:rel_k=0.2,k_unit=channel", DType::kFp16)).container},
      {"v1_0_kvcomp_fp8_e4m3.hex", "codec kvcomp, fp8 E4M3",
       MakeBlock(Spec("kvcomp:rel_k=0.1,rel_v=0.2", DType::kFp8E4m3)).container},
      {"v1_1_may_ignore.hex", "a newer minor version with a bit that may be ignored",
       WithNewerMinorHeader(raw)},
      {"error_must_understand.hex", "a must-understand bit that version 1.0 does not know",
       WithMustUnderstandBit(raw)},
      {"error_wrong_place.hex", "tiles of another block, every other checksum right", WithAnotherKey(raw)},
  };
}

absl::StatusOr<std::string> DecodeGolden(std::string_view container) {
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(AsBytes(container));
  if (!view.ok()) return view.status();
  if (absl::Status s = view->VerifyAll(); !s.ok()) return s;
  const BlockHeader& h = view->header();
  std::string all;
  Workspace ws;
  for (uint32_t i = 0; i < h.num_segments(); ++i) {
    const absl::StatusOr<SegmentView> segment = SegmentView::Parse(view->SegmentBytes(i));
    if (!segment.ok()) return segment.status();
    std::string values(segment->shape().raw_bytes(), '\0');
    const uint32_t layer_index = h.head_dim_v != 0 ? i / 2 : i;
    const absl::Status status =
        segment->Decode(h.place(layer_index, segment->shape().tensor), 0, h.shard.head_count, nullptr, &ws,
                        std::as_writable_bytes(std::span(values)));
    if (!status.ok()) return status;
    all += values;
  }
  return Sha256(all).Hex();
}

std::string GoldenText(const GoldenBlock& block) {
  const absl::StatusOr<std::string> values = DecodeGolden(block.container);
  std::string text =
      absl::StrCat("# ", block.note, "\nstatus: ", absl::StatusCodeToString(values.status().code()), "\n");
  if (values.ok()) absl::StrAppend(&text, "values: ", *values, "\n");
  const std::string hex = HexOf(block.container);
  for (size_t i = 0; i < hex.size(); i += 2 * kBytesPerLine) {
    absl::StrAppend(&text, hex.substr(i, 2 * kBytesPerLine), "\n");
  }
  return text;
}

}  // namespace kvcompd::codec
