#include "codec/packkv_tuner.h"

#include <algorithm>

#include "codec/base/byte_io.h"
#include "codec/packkv_codec.h"

namespace kvcompd::codec {
namespace {

// The settings that the profile leaves open. First the one without a choice, so that nothing changes where
// nothing is won, then those that encode faster.
std::vector<PackkvSetting> CandidatesOf(const Profile& profile) {
  std::vector<PackkvSetting> candidates = {profile.Packing()};
  for (const Repack repack : {Repack::kNone, Repack::kMedian, Repack::kGreedy}) {
    for (const uint32_t pack : {32u, 16u, 8u, 4u}) {
      const PackkvSetting setting = profile.Packing({repack, pack});
      if (std::find(candidates.begin(), candidates.end(), setting) == candidates.end()) {
        candidates.push_back(setting);
      }
    }
  }
  return candidates;
}

// Bytes of an encoded group in its segment, with the padding of each part.
uint64_t StoredBytes(const GroupOutput& group) {
  uint64_t bytes = AlignUp(group.header_bytes, kPayloadAlignment);
  for (const GroupOutput::Tile& tile : group.tiles) bytes += AlignUp(tile.bytes, kPayloadAlignment);
  return bytes;
}

}  // namespace

PackkvTuner::PackkvTuner(const Profile& profile) : profile_(profile), candidates_(CandidatesOf(profile)) {}

absl::Status PackkvTuner::Add(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                              Workspace* ws) {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (!Wants(shape.tensor)) return absl::OkStatus();
  const PackkvCodec codec;
  const MutableByteSpan workspace = ws->Get(codec.WorkspaceBytes(shape));
  std::vector<std::byte> header(codec.GroupHeaderBound(shape));
  std::vector<std::byte> payload(uint64_t{shape.heads} * codec.TileBound(shape));
  std::vector<GroupOutput::Tile> tiles(shape.heads);
  GroupOutput out{
      .header = header, .payload = payload, .payload_stride = codec.TileBound(shape), .tiles = tiles};
  std::array<uint64_t, kMaxCandidates> stored_bytes{};
  for (size_t i = 0; i < candidates_.size(); ++i) {
    EncodeStats stats;
    const EncodeParams params{.profile = profile_, .packing = candidates_[i]};
    auto s = codec.EncodeGroup(shape, values, head_stride_bytes, params, workspace, &out, &stats);
    if (!s.ok()) return s;
    stored_bytes[i] = StoredBytes(out);
  }
  Sums& sums = sums_[shape.tensor == Tensor::kK ? 0 : 1];
  ++sums.groups;
  for (size_t i = 0; i < candidates_.size(); ++i) sums.stored_bytes[i] += stored_bytes[i];
  return absl::OkStatus();
}

std::optional<PackkvTuner::Outcome> PackkvTuner::outcome(Tensor tensor) const {
  if (Wants(tensor)) return std::nullopt;
  const auto& bytes = sums(tensor).stored_bytes;
  const uint64_t least = *std::min_element(bytes.begin(), bytes.begin() + candidates_.size());
  size_t chosen = 0;
  while (bytes[chosen] * 100 > least * (100 + kNearTiePercent)) ++chosen;
  return Outcome{candidates_[chosen], bytes[chosen], bytes[0]};
}

PackkvChoices PackkvTuner::choices() const {
  const auto setting = [&](Tensor tensor) {
    const auto found = outcome(tensor);
    return found.has_value() ? std::optional(found->setting) : std::nullopt;
  };
  return {setting(Tensor::kK), setting(Tensor::kV)};
}

}  // namespace kvcompd::codec
