#include "tests/golden/golden_blocks.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/kvcomp_header.h"
#include "codec/lossless_codec.h"
#include "codec/packkv_header.h"
#include "codec/rans.h"
#include "tests/codec/block_samples.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

using kvcompd::testing::Random;
using kvcompd::testing::SyntheticKv;
using kvcompd::testing::ToBytes;

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

// As small as it gets with two segments.
BlockSpec Small(const char* profile, DType dtype) {
  BlockSpec spec = Spec(profile, dtype);
  spec.layers = {1};
  spec.tokens = 3;
  return spec;
}

// One layer of two heads, values like a model's.
BlockSpec Lossy(const char* profile, DType dtype, uint32_t tokens, uint32_t dim_k, uint32_t dim_v) {
  BlockSpec spec;
  spec.profile = profile;
  spec.dtype = dtype;
  spec.heads = 2;
  spec.tokens = tokens;
  spec.head_dim_k = dim_k;
  spec.head_dim_v = dim_v;
  spec.seed = 11;
  spec.values = [](const SegmentShape& s, uint32_t seed) {
    return SyntheticKv(s.dtype, s.tensor, s.heads, s.tokens, s.channels, seed);
  };
  return spec;
}

using Make = std::function<float(Random*)>;

std::function<std::string(const SegmentShape&, uint32_t)> ValuesOf(Make make) {
  return [make = std::move(make)](const SegmentShape& s, uint32_t seed) {
    Random random(seed);
    std::vector<float> values(size_t{s.heads} * s.tokens * s.channels);
    for (float& v : values) v = make(&random);
    return ToBytes(s.dtype, values);
  };
}

BlockSpec Uniform(BlockSpec spec, double low, double high) {
  spec.values =
      ValuesOf([=](Random* random) { return static_cast<float>(low + (high - low) * random->Uniform()); });
  return spec;
}

BlockSpec TwoValues(BlockSpec spec) {
  spec.values = ValuesOf([](Random* random) { return random->Below(2) != 0 ? 1.0f : -2.0f; });
  return spec;
}

// NaN with a payload and Inf in the first head.
BlockSpec WithNanAndInf(BlockSpec spec) {
  const auto values = spec.values;
  spec.values = [values](const SegmentShape& s, uint32_t seed) {
    std::string bytes = values(s, seed);
    bytes.replace(0, 4, "\x81\x7f\x80\xff", 4);  // bf16
    return bytes;
  };
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

// The container with its first segment changed in place and sealed.
std::string WithSegment(std::string container, const std::function<void(std::string*)>& change) {
  const size_t at = Peek<uint16_t>(container, 6);
  std::string segment = container.substr(at, Peek<uint32_t>(container, at + 28));
  change(&segment);
  ResealSegment(&segment);
  return container.replace(at, segment.size(), segment);
}

std::string WithExtensions(const BlockSample& block) {
  ContainerWriter writer(block.header);
  for (const std::string& segment : block.segments) {
    if (!writer.AddSegment(AsBytes(WithExtension(segment, 48, 1u << 3))).ok()) return "";
  }
  return std::move(writer).Finish({}).value_or("");
}

std::string WithAnUnknownProfile(const BlockSample& block) {
  BlockHeader header = block.header;
  header.profile += ",zero_bits=8";
  ContainerWriter writer(header);
  for (const std::string& segment : block.segments) {
    if (!writer.AddSegment(AsBytes(segment)).ok()) return "";
  }
  return std::move(writer).Finish({}).value_or("");
}

std::vector<GoldenBlock> ReadableBlocks() {
  const DType bf16 = DType::kBf16, fp16 = DType::kFp16, e4m3 = DType::kFp8E4m3, e5m2 = DType::kFp8E5m2;
  const auto block = [](const BlockSpec& spec) { return MakeBlock(spec).container; };
  const BlockSample raw = MakeBlock(Spec("raw", bf16)), small = MakeBlock(Small("raw", bf16));
  const char* const by_channel = "kvcomp:rel_k=0.2,rel_v=0.1,k_unit=channel";
  const char* const finest = "kvcomp:rel_k=0.005,rel_v=0.005";
  BlockSpec trained = Lossy("kvcomp:rel_k=0.05,rel_v=0.1", bf16, 33, 16, 32);
  trained.layers = {1, 4};
  trained.set = SampleSet(SampleHeader(trained).fingerprint, trained.profile, {4});
  BlockSpec trained_rans = Lossy("kvcomp:rel_k=0.05,rel_v=0.1,coder=rans", bf16, 33, 16, 32);
  trained_rans.set = SampleSet(SampleHeader(trained_rans).fingerprint, trained_rans.profile, {3});
  BlockSpec latent = Lossy("kvcomp:rel_k=0.1,rel_v=0.1", bf16, 5, 576, 0);
  latent.heads = 1;
  BlockSpec wide_head = Lossy("kvcomp:rel_k=0.1,rel_v=0.1", bf16, 9, 128, 128);
  wide_head.heads = 1;
  return {
      {"v1_0_raw_bf16.hex", "codec raw, bf16", raw.container, {}, ""},
      {"v1_0_raw_opaque.hex", "codec raw, opaque bytes, no V", block(Spec("raw", DType::kOpaque)), {}, ""},
      {"v1_0_kvcomp_bf16.hex",
       "codec kvcomp, bf16, built-in books, two groups",
       block(Spec("kvcomp", bf16)),
       {"block packed", "token packed"},
       ""},
      {"v1_0_kvcomp_fp8_e4m3.hex",
       "codec kvcomp, fp8 E4M3",
       block(Spec("kvcomp:rel_k=0.1,rel_v=0.2", e4m3)),
       {"block packed"},
       ""},
      {"v1_0_kvcomp_fp8_e5m2.hex",
       "codec kvcomp, fp8 E5M2",
       block(Lossy("kvcomp:rel_k=0.1,rel_v=0.2", e5m2, 33, 16, 16)),
       {"block huffman"},
       ""},
      {"v1_0_kvcomp_block_huffman.hex",
       "K by block and V by token, Huffman",
       block(Lossy("kvcomp", bf16, 33, 24, 32)),
       {"block huffman", "token huffman"},
       ""},
      {"v1_0_kvcomp_block_packed.hex",
       "K by block and V by token, packed",
       block(TwoValues(Lossy("kvcomp", fp16, 33, 24, 32))),
       {"block packed", "token packed"},
       ""},
      {"v1_0_kvcomp_channel_huffman.hex",
       "K by channel, Huffman",
       block(Lossy(by_channel, fp16, 64, 16, 8)),
       {"channel huffman"},
       ""},
      {"v1_0_kvcomp_channel_packed.hex",
       "K by channel, packed",
       block(TwoValues(Lossy(by_channel, fp16, 64, 16, 8))),
       {"channel packed"},
       ""},
      {"v1_0_kvcomp_trained_set.hex",
       "a trained codebook set, with a layer's own books and those of all layers",
       block(trained),
       {"block huffman", "token huffman"},
       trained.set->canonical_bytes()},
      {"v1_0_kvcomp_rans_bf16.hex",
       "rANS, K and V by block, 32 lanes",
       block(Lossy("kvcomp:rel_k=0.2,rel_v=0.3,v_unit=block,coder=rans", bf16, 64, 40, 32)),
       {"block rans"},
       ""},
      {"v1_0_kvcomp_rans_channel.hex",
       "rANS, fp16, K by channel and V by token, 8 lanes",
       block(Lossy("kvcomp:rel_k=0.3,rel_v=0.1,k_unit=channel,coder=rans", fp16, 64, 16, 24)),
       {"channel rans", "token rans"},
       ""},
      {"v1_0_kvcomp_rans_trained_set.hex",
       "rANS with a trained codebook set",
       block(trained_rans),
       {"block rans", "token rans"},
       trained_rans.set->canonical_bytes()},
      {"v1_0_kvcomp_wide_zeros.hex",
       "zeros of 32 bits, K by block and V by token",
       block(Uniform(Lossy(finest, fp16, 16, 24, 32), 1.0, 1.002)),
       {"block packed wide", "token packed wide"},
       ""},
      {"v1_0_kvcomp_wide_channel.hex",
       "zeros of 32 bits, K by channel",
       block(Uniform(Lossy("kvcomp:rel_k=0.005,rel_v=0.1,k_unit=channel", fp16, 64, 16, 0), 1.0, 1.002)),
       {"channel packed wide"},
       ""},
      {"v1_0_kvcomp_nan_inf.hex",
       "tiles with NaN and Inf beside lossy ones",
       block(WithNanAndInf(Lossy("kvcomp", bf16, 33, 16, 32))),
       {"block raw", "block huffman", "token raw", "token huffman"},
       ""},
      {"v1_0_kvcomp_strict.hex",
       "strict=1",
       block(Lossy("kvcomp:rel_k=0.1,rel_v=0.1,k_unit=block,strict=1", bf16, 33, 24, 24)),
       {"block huffman", "token huffman"},
       ""},
      {"v1_0_kvcomp_latent.hex", "576 channels without V", block(latent), {"block huffman"}, ""},
      {"v1_0_kvcomp_128_channels.hex",
       "128 channels",
       block(wide_head),
       {"block huffman", "token huffman"},
       ""},
      {"v1_0_lossless_fast_bf16.hex",
       "codec lossless, fast, bf16, two groups, the second too small but for raw",
       block(Lossy("lossless:mode=fast", bf16, 66, 16, 8)),
       {"fast", "raw"},
       ""},
      {"v1_0_lossless_fast_fp16.hex",
       "codec lossless, fast, fp16, odd channels, NaN and Inf in the first tile",
       block(WithNanAndInf(Lossy("lossless:mode=fast", fp16, 40, 33, 24))),
       {"fast"},
       ""},
      {"v1_0_lossless_fast_fp8_e4m3.hex",
       "codec lossless, fast, fp8 E4M3",
       block(Lossy("lossless:mode=fast", e4m3, 40, 32, 16)),
       {"fast"},
       ""},
      {"v1_0_lossless_fast_fp8_e5m2.hex",
       "codec lossless, fast, fp8 E5M2",
       block(Lossy("lossless:mode=fast", e5m2, 40, 32, 16)),
       {"fast"},
       ""},
      {"v1_0_lossless_dense_bf16.hex",
       "codec lossless, dense, bf16, 8 lanes and one class, NaN and Inf in the first tile",
       block(WithNanAndInf(Lossy("lossless:mode=dense", bf16, 40, 24, 16))),
       {"dense 8 tile"},
       ""},
      {"v1_0_lossless_dense_channels.hex",
       "codec lossless, dense, bf16, 32 lanes, a class for each channel of K",
       block(Lossy("lossless:mode=dense", bf16, 64, 40, 33)),
       {"dense 32 channels"},
       ""},
      {"v1_0_lossless_dense_fp16.hex",
       "codec lossless, dense, fp16, 32 lanes, a last step of some of them",
       block(Lossy("lossless:mode=dense", fp16, 63, 33, 0)),
       {"dense 32 channels"},
       ""},
      {"v1_0_lossless_dense_fp8_e4m3.hex",
       "codec lossless, dense, fp8 E4M3",
       block(Lossy("lossless:mode=dense", e4m3, 64, 40, 24)),
       {"dense"},
       ""},
      {"v1_0_lossless_dense_fp8_e5m2.hex",
       "codec lossless, dense, fp8 E5M2",
       block(Lossy("lossless:mode=dense", e5m2, 64, 40, 24)),
       {"dense"},
       ""},
      {"v1_0_intq_bf16.hex",
       "codec intq, bf16, 4 bits, two groups",
       block(Lossy("intq:bits=4,group=32", bf16, 66, 16, 64)),
       {"b4_g32"},
       ""},
      {"v1_0_intq_fp16.hex",
       "codec intq, fp16, 8 bits of K and 2 of V, runs of 64 channels of which the last is shorter",
       block(Lossy("intq:bits=8,group=64,bits_v=2", fp16, 40, 16, 80)),
       {"b8_g64", "b2_g64"},
       ""},
      {"v1_0_intq_fp8_e4m3.hex",
       "codec intq, fp8 E4M3",
       block(Lossy("intq:bits=4,group=32", e4m3, 40, 16, 32)),
       {"b4_g32"},
       ""},
      {"v1_0_intq_fp8_e5m2.hex",
       "codec intq, fp8 E5M2, padding in the last word of a row",
       block(Lossy("intq:bits=2,group=128", e5m2, 64, 33, 17)),
       {"b2_g128"},
       ""},
      {"v1_0_intq_nan_inf.hex",
       "codec intq, tiles with NaN and Inf beside lossy ones",
       block(WithNanAndInf(Lossy("intq:bits=2,group=32", bf16, 33, 16, 32))),
       {"raw", "b2_g32"},
       ""},
      {"v1_0_packkv_bf16.hex",
       "codec packkv, bf16, two groups, the second of 2 tokens",
       block(Lossy("packkv:rel_k=0.1,rel_v=0.2", bf16, 66, 16, 24)),
       {"packed"},
       ""},
      {"v1_0_packkv_greedy.hex",
       "codec packkv, fp16, greedy order, packs of 8",
       block(Lossy("packkv:rel_k=0.1,rel_v=0.15,repack=greedy,pack=8", fp16, 64, 64, 48)),
       {"packed", "packed moved"},
       ""},
      {"v1_0_packkv_median.hex",
       "codec packkv, fp8 E5M2, order by medians, packs of 4, a strip that is not full",
       block(Lossy("packkv:rel_k=0.5,rel_v=0.5,repack=median,pack=4", e5m2, 63, 48, 40)),
       {"packed", "packed moved"},
       ""},
      {"v1_0_packkv_fp8_e4m3.hex",
       "codec packkv, fp8 E4M3, packs of 32",
       block(Lossy("packkv:rel_k=0.3,rel_v=0.3,pack=32", e4m3, 40, 48, 40)),
       {"packed"},
       ""},
      {"v1_0_packkv_nan_inf.hex",
       "codec packkv, tiles with NaN and Inf beside lossy ones",
       block(WithNanAndInf(Lossy("packkv:rel_k=0.1,rel_v=0.2", bf16, 33, 40, 32))),
       {"raw", "packed"},
       ""},
      {"v1_1_may_ignore.hex",
       "a newer minor version with a bit that may be ignored",
       WithNewerMinorHeader(small.container),
       {},
       ""},
      {"v1_1_longer_header_and_footer.hex",
       "a newer minor version with additions to header and footer",
       WithAdditions(small.container, 1, 64, 128),
       {},
       ""},
      {"v1_1_segment_extension.hex",
       "segments with an announced extension before their data",
       WithExtensions(MakeBlock(Lossy("kvcomp", bf16, 66, 16, 16))),
       {"block huffman"},
       ""},
      {"v1_1_unknown_profile.hex",
       "a profile with an option that version 1.0 does not know",
       WithAnUnknownProfile(MakeBlock(Lossy("kvcomp", bf16, 33, 16, 16))),
       {"block huffman"},
       ""},
  };
}

std::vector<GoldenBlock> BrokenBlocks() {
  const std::string raw = MakeBlock(Small("raw", DType::kBf16)).container;
  const std::string kvcomp = MakeBlock(Lossy("kvcomp", DType::kBf16, 9, 24, 0)).container;
  BlockSpec trained = Lossy("kvcomp:rel_k=0.1,rel_v=0.1", DType::kBf16, 33, 16, 0);
  trained.set = SampleSet(SampleHeader(trained).fingerprint, trained.profile, {3});
  const auto poke = [](size_t at, uint8_t value) {
    return [=](std::string* segment) { Poke<uint8_t>(segment, at, value); };
  };
  const auto flip = [](std::string* segment) {
    Poke<uint8_t>(segment, 64 + 12, static_cast<uint8_t>(Peek<uint8_t>(*segment, 64 + 12) ^ 1));
  };
  return {
      {"error_must_understand.hex",
       "a must-understand bit that version 1.0 does not know",
       WithMustUnderstandBit(raw),
       {},
       ""},
      {"error_wrong_place.hex",
       "tiles of another block, every other checksum right",
       WithAnotherKey(raw),
       {},
       ""},
      {"error_segment_must_understand.hex",
       "a segment's must-understand bit that version 1.0 does not know",
       WithSegment(raw, poke(4, 2)),
       {},
       ""},
      {"error_unknown_codec.hex", "a segment of codec 77", WithSegment(raw, poke(15, 77)), {}, ""},
      {"error_unknown_mode.hex", "a kvcomp tile of mode 4", WithSegment(kvcomp, poke(64 + 7, 4)), {}, ""},
      {"error_wrong_decoded_crc.hex",
       "a tile whose values have another CRC",
       WithSegment(kvcomp, flip),
       {},
       ""},
      {"error_missing_set.hex",
       "a codebook set that the reader does not have",
       MakeBlock(trained).container,
       {"block huffman"},
       ""},
  };
}

const char* UnitName(uint8_t unit) {
  return unit == 1 ? "block" : unit == 2 ? "channel" : unit == 3 ? "token" : "unknown";
}

}  // namespace

std::set<std::string> CoverageOf(std::string_view container) {
  std::set<std::string> found;
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(AsBytes(container));
  if (!view.ok()) return found;
  for (uint32_t i = 0; i < view->header().num_segments(); ++i) {
    const SegmentView segment = SegmentView::Parse(view->SegmentBytes(i)).value();
    const SegmentShape& shape = segment.shape();
    const Codec& codec = *FindCodec(segment.codec_id());
    for (uint32_t tile = 0; tile < shape.heads * shape.groups(); ++tile) {
      const uint32_t head = tile / shape.groups(), g = tile % shape.groups();
      const ByteSpan header = segment.group_header(g), payload = segment.tile_payload(head, g);
      const TileMode mode = segment.tile(head, g).mode;
      if (segment.codec_id() != CodecId::kKvcomp) {
        const std::string name(codec.mode_names()[static_cast<size_t>(mode)]);
        found.insert(name);
        if (segment.codec_id() == CodecId::kPackkv && !header.empty() &&
            static_cast<uint8_t>(header[0]) & kPackkvReordered) {
          found.insert(name + " moved");
        }
        if (segment.codec_id() == CodecId::kLossless && mode == kLosslessDense) {
          const uint32_t n = shape.group(g).tokens * shape.channels;
          const bool channels = (static_cast<uint8_t>(payload[payload.size() - 3]) & 16) != 0;
          found.insert(absl::StrCat(name, " ", RansLanes(n), channels ? " channels" : " tile"));
        }
        continue;
      }
      if (header.empty()) continue;
      const auto unit = static_cast<uint8_t>(header[0]);
      std::string text =
          absl::StrCat(UnitName(unit), " ", ToAbsl(codec.mode_names()[static_cast<size_t>(mode)]));
      found.insert(text);
      const std::byte flags = unit == 2 && mode != TileMode::kRaw ? payload[0] : header[1];
      if (static_cast<uint8_t>(flags) & kFlagWideZeros) found.insert(text + " wide");
    }
  }
  return found;
}

std::vector<GoldenBlock> CurrentGoldenBlocks() {
  std::vector<GoldenBlock> blocks = ReadableBlocks();
  for (GoldenBlock& block : BrokenBlocks()) blocks.push_back(std::move(block));
  return blocks;
}

absl::StatusOr<std::string> DecodeGolden(std::string_view container, std::string_view set_bytes) {
  std::shared_ptr<const CodebookSet> set;
  if (!set_bytes.empty()) {
    auto parsed = CodebookSet::Parse(set_bytes);
    if (!parsed.ok()) return parsed.status();
    set = *std::move(parsed);
  }
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
    const SegmentPlace place = h.place(layer_index, segment->shape().tensor);
    const auto book = FindBook(h.codebook_set, set.get(), place.layer, place.tensor);
    if (!book.ok()) return book.status();
    const absl::Status status =
        segment->Decode(place, 0, h.shard.head_count, *book, &ws, std::as_writable_bytes(std::span(values)));
    if (!status.ok()) return status;
    all += values;
  }
  return Sha256(all).Hex();
}

std::string GoldenText(const GoldenBlock& block) {
  const absl::StatusOr<std::string> values = DecodeGolden(block.container, block.set);
  std::string text =
      absl::StrCat("# ", block.note, "\nstatus: ", absl::StatusCodeToString(values.status().code()), "\n");
  if (values.ok()) absl::StrAppend(&text, "values: ", *values, "\n");
  const auto append = [&text](const std::string& hex, const char* before) {
    for (size_t i = 0; i < hex.size(); i += 2 * kBytesPerLine) {
      absl::StrAppend(&text, before, hex.substr(i, 2 * kBytesPerLine), "\n");
    }
  };
  append(HexOf(block.set), "set: ");
  append(HexOf(block.container), "");
  return text;
}

std::string GoldenSizes(const std::vector<GoldenBlock>& blocks) {
  std::string table = "# file, bytes of values, container, payloads and group headers\n";
  for (const GoldenBlock& block : blocks) {
    const absl::StatusOr<ContainerView> view = ContainerView::Parse(AsBytes(block.container));
    if (!view.ok()) continue;
    uint64_t payload_bytes = 0;
    for (uint32_t i = 0; i < view->header().num_segments(); ++i) {
      const SegmentView segment = SegmentView::Parse(view->SegmentBytes(i)).value();
      const uint32_t groups = segment.shape().groups();
      for (uint32_t g = 0; g < groups; ++g) payload_bytes += segment.group(g).bytes;
      for (uint32_t t = 0; t < segment.shape().heads * groups; ++t) {
        payload_bytes += segment.tile(t / groups, t % groups).bytes;
      }
    }
    absl::StrAppend(&table, block.file, " ", view->header().raw_bytes(), " ", block.container.size(), " ",
                    payload_bytes, "\n");
  }
  return table;
}

}  // namespace kvcompd::codec
