#include "codec/codec.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "absl/strings/str_cat.h"

namespace kvcompd::codec {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

absl::Status GroupShape::Validate() const {
  if (ElementBytes(dtype) == 0) return absl::InvalidArgumentError("tile group: unknown dtype");
  if (tensor != Tensor::kK && tensor != Tensor::kV)
    return absl::InvalidArgumentError("tile group: unknown tensor");
  const bool opaque = dtype == DType::kOpaque;
  const bool channels_ok = opaque ? channels >= 1 && channels <= kMaxOpaqueBytes
                                  : channels >= kMinHeadDim && channels <= kMaxHeadDim;
  if (heads < 1 || heads > kMaxHeads || tokens < 1 || tokens > kTileTokens || !channels_ok) {
    return absl::InvalidArgumentError(absl::StrCat("tile group: heads=", heads, " tokens=", tokens,
                                                   " channels=", channels, " is out of range"));
  }
  return absl::OkStatus();
}

absl::Status GroupOutput::Validate(const GroupShape& shape, const Codec& codec) const {
  if (header.size() < codec.GroupHeaderBound(shape) || tiles.size() < shape.heads ||
      payload_stride < codec.TileBound(shape) || payload.size() < uint64_t{shape.heads} * payload_stride) {
    return absl::InvalidArgumentError("tile group: the output is too small");
  }
  return absl::OkStatus();
}

void EncodeStats::Add(const EncodeStats& other) {
  tiles += other.tiles;
  raw_tiles += other.raw_tiles;
  nonfinite_tiles += other.nonfinite_tiles;
  bound_tiles += other.bound_tiles;
  payload_bytes += other.payload_bytes;
  raw_bytes += other.raw_bytes;
  max_error_over_r = std::max(max_error_over_r, other.max_error_over_r);
  if (histogram == nullptr || other.histogram == nullptr || histogram == other.histogram) return;
  if (other.histogram->empty()) return;  // a codec without books
  histogram->resize(std::max<size_t>(histogram->size(), kMaxSymbols));
  for (size_t s = 0; s < other.histogram->size(); ++s) (*histogram)[s] += (*other.histogram)[s];
}

MutableByteSpan Workspace::Get(uint64_t bytes) {
  if (bytes > bytes_) {
    const uint64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    memory_.reset(static_cast<std::byte*>(::operator new[](rounded, std::align_val_t{kAlignment})));
    bytes_ = rounded;
  }
  return {memory_.get(), bytes};
}

void Workspace::Free::operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }

}  // namespace kvcompd::codec
