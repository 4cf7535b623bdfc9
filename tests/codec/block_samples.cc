#include "tests/codec/block_samples.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"

namespace kvcompd::codec {
namespace {

[[noreturn]] void Die(const char* what, const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::abort();
}

uint32_t Mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

// A value in [-1, 1) and a mean of its channel, as a bit pattern of the dtype.
void WriteValue(DType dtype, uint32_t channel, uint32_t random, ByteWriter* w) {
  const float noise = static_cast<float>(static_cast<int32_t>(random)) / 2147483648.0f;
  switch (dtype) {
    case DType::kBf16: {
      const float value = noise + static_cast<float>(channel % 5) - 2;
      return w->U16(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    case DType::kFp16:  // 2^-2 to 2^1, either sign
      return w->U16(static_cast<uint16_t>((random & 0x8fff) | 0x3000));
    case DType::kFp8E4m3:
      return w->U8(static_cast<uint8_t>((random & 0x9f) | 0x20));
    case DType::kFp8E5m2:
      return w->U8(static_cast<uint8_t>((random & 0x8f) | 0x30));
    case DType::kOpaque:
      return w->U8(static_cast<uint8_t>(random));
  }
}

}  // namespace

std::string SampleValues(const SegmentShape& shape, uint32_t seed) {
  std::string values;
  values.reserve(shape.raw_bytes());
  ByteWriter w(&values);
  uint32_t i = 0;
  for (uint32_t head = 0; head < shape.heads; ++head) {
    for (uint32_t token = 0; token < shape.tokens; ++token) {
      for (uint32_t channel = 0; channel < shape.channels; ++channel, ++i) {
        const bool constant = seed == 0 && head == 0;
        WriteValue(shape.dtype, constant ? 0 : channel, constant ? 1u << 30 : Mix(seed * 0x9e3779b9U + i),
                   &w);
      }
    }
  }
  return values;
}

BlockHeader SampleHeader(const BlockSpec& spec) {
  BlockHeader h;
  std::iota(h.fingerprint.bytes.begin(), h.fingerprint.bytes.end(), uint8_t{0});
  std::string key(16, '\0');
  std::iota(key.begin(), key.end(), '\xa0');
  h.key = *BlockKey::FromBytes(key);
  h.shard = {0, spec.head_begin, spec.heads, 0, static_cast<uint32_t>(spec.layers.size())};
  h.tokens = spec.tokens;
  h.dtype = spec.dtype;
  h.head_dim_k = spec.head_dim_k;
  h.head_dim_v = spec.head_dim_v;
  h.layers = spec.layers;
  const auto profile = Profile::Parse(spec.profile);
  if (!profile.ok()) Die("profile", profile.status());
  h.profile = profile->Text();
  h.error_bound = static_cast<float>(profile->ErrorBound());
  if (spec.set != nullptr) h.codebook_set = spec.set->id();
  return h;
}

std::shared_ptr<const CodebookSet> SampleSet(const Fingerprint& fingerprint, std::string_view profile,
                                             const std::vector<uint32_t>& layers) {
  CodebookTrainer trainer(fingerprint, *Profile::Parse(profile));
  for (const uint32_t layer : layers) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const Profile parsed = *Profile::Parse(profile);
      const uint32_t codes = AlphabetSize(parsed, tensor), symbols = BookSymbols(parsed, tensor);
      const auto middle = static_cast<int32_t>(symbols == codes ? MiddleCode(codes) : codes - 1);
      std::vector<uint32_t> counts(kMaxSymbols);
      for (int32_t s = 0; s < static_cast<int32_t>(kMaxSymbols); ++s) {
        const int32_t distance = s - middle + static_cast<int32_t>(layer % 2);
        counts[static_cast<size_t>(s)] = static_cast<uint32_t>(1 + 4000 / (1 + distance * distance));
      }
      trainer.Add(layer, tensor, counts);
    }
  }
  return trainer.Build();
}

std::string SampleSegment(const BlockHeader& header, uint32_t layer_index, Tensor tensor,
                          std::string_view values, const CodebookSet* set, EncodeStats* stats) {
  EncodeParams params;
  params.profile = *Profile::Parse(header.profile);
  const auto book = FindBook(header.codebook_set, set, header.layers[layer_index], tensor);
  if (!book.ok()) Die("book", book.status());
  params.book = *book;
  const Codec& codec = *FindCodec(params.profile.codec);
  const SegmentShape shape = header.segment_shape(tensor);
  std::string out(SegmentBound(shape, codec), '\0');
  Workspace ws;
  const auto bytes = EncodeSegment(codec, header.place(layer_index, tensor), shape, AsBytes(values), params,
                                   &ws, std::as_writable_bytes(std::span(out)), stats);
  if (!bytes.ok()) Die("EncodeSegment", bytes.status());
  out.resize(*bytes);
  return out;
}

BlockSample MakeBlock(const BlockSpec& spec) {
  BlockSample block;
  block.header = SampleHeader(spec);
  ContainerWriter writer(block.header);
  QualityRecord quality;
  for (uint32_t layer = 0; layer < spec.layers.size(); ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (tensor == Tensor::kV && spec.head_dim_v == 0) continue;
      const SegmentShape shape = block.header.segment_shape(tensor);
      const uint32_t seed = spec.seed == 0 ? 0 : spec.seed + 2 * layer + (tensor == Tensor::kV);
      block.values.push_back(spec.values ? spec.values(shape, seed) : SampleValues(shape, seed));
      EncodeStats stats;
      block.segments.push_back(
          SampleSegment(block.header, layer, tensor, block.values.back(), spec.set.get(), &stats));
      if (absl::Status s = writer.AddSegment(AsBytes(block.segments.back())); !s.ok()) Die("AddSegment", s);
      quality.Add(tensor, stats);
    }
  }
  absl::StatusOr<std::string> container = std::move(writer).Finish(quality);
  if (!container.ok()) Die("Finish", container.status());
  block.container = *std::move(container);
  return block;
}

void ResealBlockHeader(std::string* container) {
  const size_t bytes = Peek<uint16_t>(*container, 6);
  Poke(container, bytes - 4, Crc32c(AsBytes(std::string_view(*container).substr(0, bytes - 4))));
}

void ResealSegment(std::string* segment) {
  const size_t data = Peek<uint32_t>(*segment, 44);
  const uint32_t crc = Crc32c(AsBytes(std::string_view(*segment).substr(0, 60)));
  Poke(segment, 60, ExtendCrc32c(crc, AsBytes(std::string_view(*segment).substr(64, data - 64))));
}

void ResealTiles(const Fingerprint& fingerprint, const BlockKey& key, std::string* segment) {
  const std::string_view bytes = *segment;
  const uint32_t head_begin = Peek<uint16_t>(bytes, 18), heads = Peek<uint16_t>(bytes, 20);
  const uint32_t groups = Peek<uint16_t>(bytes, 32);
  const size_t group_index = 64 + size_t{16} * heads * groups;
  if (group_index + 16 * groups > bytes.size()) return;
  std::string prefix(fingerprint.view());
  prefix += static_cast<char>(key.size());
  prefix += key.view();
  prefix += bytes.substr(12, 3);  // layer, tensor
  const auto crc = [&](uint32_t head, uint32_t group, size_t offset, size_t size) {
    std::string text = prefix;
    ByteWriter w(&text);
    w.U16(static_cast<uint16_t>(head));
    w.U16(static_cast<uint16_t>(group));
    text += bytes.substr(offset, size);
    return Crc32c(AsBytes(text));
  };
  for (uint32_t g = 0; g < groups; ++g) {
    const size_t row = group_index + 16 * g;
    const size_t offset = Peek<uint32_t>(bytes, row), size = Peek<uint32_t>(bytes, row + 4);
    if (offset + size <= bytes.size()) Poke(segment, row + 8, crc(0xffff, g, offset, size));
  }
  for (uint32_t i = 0; i < heads * groups; ++i) {
    const size_t row = 64 + size_t{16} * i;
    const uint32_t size_and_mode = Peek<uint32_t>(bytes, row + 4);
    const size_t offset = Peek<uint32_t>(bytes, row), size = size_and_mode & 0xffffff;
    if (offset + size > bytes.size()) continue;
    Poke(segment, row + 8, crc(head_begin + i / groups, i % groups, offset, size));
    if (size_and_mode >> 24 == 0) Poke(segment, row + 12, Crc32c(AsBytes(bytes.substr(offset, size))));
  }
  if (Peek<uint32_t>(bytes, 44) <= bytes.size()) ResealSegment(segment);
}

std::string WithAdditions(const std::string& container, uint8_t minor, size_t header_more,
                          size_t footer_more) {
  const auto view = ContainerView::Parse(AsBytes(container));
  if (!view.ok()) Die("WithAdditions", view.status());
  const size_t header_bytes = view->header_bytes().size();
  const size_t footer_bytes = view->footer_bytes().size();
  std::string out = container;
  Poke<uint8_t>(&out, 5, minor);
  Poke<uint16_t>(&out, 6, static_cast<uint16_t>(header_bytes + header_more));
  out.insert(out.size() - 12, footer_more, '\x77');
  Poke<uint32_t>(&out, out.size() - 12, static_cast<uint32_t>(footer_bytes + footer_more));
  out.insert(header_bytes - 4, header_more, '\x77');
  const size_t footer = out.size() - footer_bytes - footer_more;
  Poke<uint64_t>(&out, footer + 8, out.size());
  for (uint32_t i = 0; i < view->header().num_segments(); ++i) {
    const size_t extent = footer + 40 + 16 * i;
    Poke<uint64_t>(&out, extent, Peek<uint64_t>(out, extent) + header_more);
  }
  ResealBlockHeader(&out);
  ResealFooter(&out);
  return out;
}

std::string WithExtension(const std::string& segment, uint32_t more, uint32_t may_ignore) {
  const auto view = SegmentView::Parse(AsBytes(segment));
  if (!view.ok()) Die("WithExtension", view.status());
  const TileEntry last = view->tile(view->shape().heads - 1, view->shape().groups() - 1);
  std::string out = segment.substr(0, size_t{last.offset} + last.bytes);
  const uint32_t data = Peek<uint32_t>(out, 44);
  for (size_t row = 64; row < data; row += 16) Poke(&out, row, Peek<uint32_t>(out, row) + more);
  Poke<uint32_t>(&out, 8, may_ignore);
  Poke<uint32_t>(&out, 44, data + more);
  out.insert(data, more, '\x77');
  out.resize((out.size() + 63) / 64 * 64);
  Poke<uint32_t>(&out, 28, static_cast<uint32_t>(out.size()));
  ResealSegment(&out);
  return out;
}

void ResealFooter(std::string* container) {
  const size_t end = container->size();
  const size_t bytes = Peek<uint32_t>(*container, end - 12);
  Poke(container, end - 8, Crc32c(AsBytes(std::string_view(*container).substr(end - bytes, bytes - 8))));
}

}  // namespace kvcompd::codec
