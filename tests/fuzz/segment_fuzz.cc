// Fuzzes the segment reader: bytes as they come, and again with their checksums made right, so that the
// fuzzer gets past them to the index rules and the codecs.
#include <cstdlib>
#include <string>

#include "codec/base/crc32c.h"
#include "codec/segment.h"
#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

constexpr uint64_t kMaxRawBytes = 1 << 20;  // keeps a run short

void Require(bool condition) {
  if (!condition) std::abort();
}

void Read(ByteSpan bytes, const BlockHeader& block) {
  (void)SegmentView::SegmentBytes(bytes);
  const auto view = SegmentView::Parse(bytes);
  if (!view.ok() || view->shape().raw_bytes() > kMaxRawBytes) return;
  const uint32_t heads = view->shape().heads;
  const SegmentPlace place{block.fingerprint, block.key, view->layer(), view->shape().tensor};
  if (!view->Verify(place, 0, heads).ok()) return;
  // One serialisation, but for what a newer version may have put there.
  const bool has_unknown = Peek<uint32_t>(AsChars(bytes), 8) != 0 || Peek<uint64_t>(AsChars(bytes), 48) != 0;
  const std::string whole = *view->Slice(0, heads);
  Require(has_unknown || whole == AsChars(view->bytes()));
  Require(SegmentView::Parse(AsBytes(whole))->Verify(place, 0, heads).ok());
  Require(SegmentView::Parse(AsBytes(*view->Slice(heads - 1, 1))).ok());
  std::string values(view->shape().raw_bytes(), '\0');
  Workspace ws;
  if (!view->Decode(place, 0, heads, nullptr, &ws, std::as_writable_bytes(std::span(values))).ok()) return;
  Require(view->RawValuesCrc(0, heads) == Crc32c(AsBytes(values)));
  const ByteSpan raw = view->RawValues(0, heads);
  Require(raw.empty() || AsChars(raw) == values);
}

}  // namespace
}  // namespace kvcompd::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvcompd;         // NOLINT: one function, no header
  using namespace kvcompd::codec;  // NOLINT
  static const BlockHeader block = SampleHeader({});
  const ByteSpan bytes = std::as_bytes(std::span(data, size));
  Read(bytes, block);
  if (size < 64) return 0;
  std::string repaired(AsChars(bytes));
  ResealTiles(block.fingerprint, block.key, &repaired);
  Read(AsBytes(repaired), block);
  return 0;
}
