// Fuzzes the container reader: bytes as they come, and again with their checksums made right, so that the
// fuzzer gets past them to the rules behind.
#include <cstdlib>
#include <string>

#include "codec/container.h"
#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

constexpr uint64_t kMaxRawBytes = 1 << 20;  // keeps a run short

void Require(bool condition) {
  if (!condition) std::abort();
}

void Read(ByteSpan bytes) {
  (void)BlockHeaderBytes(bytes);
  size_t consumed = 0;
  const auto header = ParseBlockHeader(bytes, &consumed);
  if (header.ok() && header->minor == 0 && header->may_ignore == 0) {
    Require(SerializeBlockHeader(*header) == AsChars(bytes.first(consumed)));  // one serialisation
  }
  const auto view = ContainerView::Parse(bytes);
  if (!view.ok() || view->header().raw_bytes() > kMaxRawBytes || !view->VerifyAll().ok()) return;
  const BlockHeader& h = view->header();
  Workspace ws;
  for (uint32_t layer = 0; layer < h.shard.layer_count; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const auto segment = view->Segment(layer, tensor);
      Require(segment.ok() == (tensor == Tensor::kK || h.head_dim_v != 0));
      if (!segment.ok()) continue;
      std::string values(segment->shape().raw_bytes(), '\0');
      (void)segment->Decode(h.place(layer, tensor), 0, h.shard.head_count, nullptr, &ws,
                            std::as_writable_bytes(std::span(values)));
    }
  }
  if (h.minor != 0 || h.may_ignore != 0) return;
  ContainerWriter writer(h);
  for (uint32_t i = 0; i < h.num_segments(); ++i) Require(writer.AddSegment(view->SegmentBytes(i)).ok());
  Require(*std::move(writer).Finish(view->quality()) == AsChars(bytes));
}

// Checksums of header, segments and footer as far as they can be found.
void Repair(std::string* bytes) {
  if (bytes->size() < 256) return;
  const size_t header_bytes = Peek<uint16_t>(*bytes, 6);
  if (header_bytes < 192 || header_bytes > bytes->size()) return;
  ResealBlockHeader(bytes);
  const size_t footer_bytes = Peek<uint32_t>(*bytes, bytes->size() - 12);
  if (footer_bytes >= 52 && footer_bytes <= bytes->size()) ResealFooter(bytes);
  const auto header = ParseBlockHeader(AsBytes(*bytes));
  if (!header.ok()) return;
  size_t at = header_bytes;
  while (at < bytes->size()) {
    const auto segment_bytes = SegmentView::SegmentBytes(AsBytes(*bytes).subspan(at));
    if (!segment_bytes.ok() || *segment_bytes == 0 || *segment_bytes > bytes->size() - at) return;
    std::string segment = bytes->substr(at, *segment_bytes);
    ResealTiles(header->fingerprint, header->key, &segment);
    bytes->replace(at, segment.size(), segment);
    at += segment.size();
  }
}

}  // namespace
}  // namespace kvcompd::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const kvcompd::ByteSpan bytes = std::as_bytes(std::span(data, size));
  kvcompd::codec::Read(bytes);
  std::string repaired(kvcompd::AsChars(bytes));
  kvcompd::codec::Repair(&repaired);
  kvcompd::codec::Read(kvcompd::AsBytes(repaired));
  return 0;
}
