#include "server/service/container_ingest.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

constexpr uint32_t kSampleStride = 16;  // VerifyIngest::kSample decodes every 16th head of a segment

absl::Status CheckHeader(const IngestExpectation& expected, const codec::BlockHeader& header,
                         Reason* reason) {
  *reason = Reason::kWrongPlace;
  if (header.fingerprint != expected.ns->fingerprint()) {
    return absl::FailedPreconditionError(absl::StrCat("the container was encoded for model ",
                                                      header.fingerprint.Hex(), ", this namespace is ",
                                                      expected.ns->fingerprint().Hex()));
  }
  if (header.key != expected.key) {
    return absl::FailedPreconditionError(absl::StrCat("the container names block ", header.key.Hex(),
                                                      ", the put announced ", expected.key.Hex(),
                                                      "; was the cache salt mixed in?"));
  }
  if (header.shard != expected.shard || header.tokens != expected.tokens) {
    return absl::FailedPreconditionError("the container's heads, layers or tokens are not those announced");
  }
  const AttentionGroup& group = *expected.ns->descriptor().FindGroup(expected.shard.group);
  if (header.dtype != group.dtype || header.head_dim_k != group.head_dim_k ||
      header.head_dim_v != group.head_dim_v) {
    return absl::FailedPreconditionError("the container's dtype or head dimensions are not the namespace's");
  }
  for (uint32_t i = 0; i < expected.shard.layer_count; ++i) {
    if (header.layers[i] != group.layers[expected.shard.layer_begin + i]) {
      return absl::FailedPreconditionError("the container's layers are not the namespace's");
    }
  }
  *reason = Reason::kPolicy;
  if (header.profile != expected.profile.Text()) {
    return absl::FailedPreconditionError(absl::StrCat("the container was encoded with ", header.profile,
                                                      ", the put announced ", expected.profile.Text()));
  }
  if (header.error_bound != static_cast<float>(expected.profile.ErrorBound())) {
    return absl::FailedPreconditionError("the container's error bound is not its profile's");
  }
  const Digest set = expected.codebooks == nullptr || expected.codebooks->fingerprint().IsZero()
                         ? Digest()
                         : expected.codebooks->id();
  if (header.codebook_set != set) {
    *reason = Reason::kCodebookMissing;
    return absl::FailedPreconditionError("the container names another codebook set than the put announced");
  }
  return absl::OkStatus();
}

absl::Status CheckSegment(const IngestExpectation& expected, const codec::BlockHeader& header,
                          const codec::SegmentView& segment, uint32_t layer_index, Tensor tensor,
                          VerifyIngest how, codec::Workspace& ws, std::vector<std::byte>* values) {
  const codec::SegmentPlace place = header.place(layer_index, tensor);
  const uint32_t heads = segment.shape().heads;
  if (how != VerifyIngest::kFull) {
    if (auto status = segment.Verify(place, 0, heads); !status.ok()) return status;
    if (how == VerifyIngest::kStructure) return absl::OkStatus();
  } else if (auto status = segment.VerifyGroupHeaders(place); !status.ok()) {
    return status;
  }
  const auto book = codec::FindBook(header.codebook_set, expected.codebooks.get(), place.layer, tensor);
  if (!book.ok()) return book.status();
  const uint32_t step = how == VerifyIngest::kFull ? 1 : kSampleStride;
  const uint64_t head_bytes = segment.shape().raw_bytes() / heads;
  values->resize(head_bytes);
  for (uint32_t head = 0; head < heads; head += step) {
    if (auto status = segment.DecodeTiles(place, head, 1, *book, &ws, *values); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommitInfo> CheckContainer(const IngestExpectation& expected, ByteSpan container,
                                          codec::Workspace& ws, Reason* reason) {
  *reason = Reason::kMalformed;
  auto view = codec::ContainerView::Parse(container);
  if (!view.ok()) {
    if (absl::IsUnimplemented(view.status())) *reason = Reason::kUnsupported;
    return view.status();
  }
  const codec::BlockHeader& header = view->header();
  if (auto status = CheckHeader(expected, header, reason); !status.ok()) return status;
  *reason = Reason::kCorrupt;
  const VerifyIngest how = expected.ns->policy().verify_ingest;
  std::vector<std::byte> values;
  for (uint32_t i = 0; i < header.shard.layer_count; ++i) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (tensor == Tensor::kV && header.head_dim_v == 0) continue;
      auto segment = view->Segment(i, tensor);
      if (!segment.ok()) return segment.status();
      if (segment->codec_id() != expected.profile.codec) {
        *reason = Reason::kPolicy;
        return absl::FailedPreconditionError("a segment was encoded with another codec than the profile's");
      }
      if (auto status = CheckSegment(expected, header, *segment, i, tensor, how, ws, &values); !status.ok()) {
        if (absl::IsUnimplemented(status)) *reason = Reason::kUnsupported;
        return status;
      }
    }
  }
  *reason = Reason::kNone;
  CommitInfo info;
  info.bytes = container.size();
  info.raw_bytes = header.raw_bytes();
  // Both are checked: the bound is the profile's, and the counts of tiles are those of the segments.
  info.error_bound = codec::ErrorClass(header, view->quality());
  info.profile = header.profile;
  info.codebooks = header.codebook_set.IsZero() ? nullptr : expected.codebooks;
  return info;
}

}  // namespace kvcompd::server
