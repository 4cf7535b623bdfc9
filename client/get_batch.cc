// GetBlocks and GetContainers: batches read to their end.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/get_stream.h"
#include "client/namespace_session.h"

namespace kvcompd::client {
namespace {

// Segments of one stored shard of one block, as they arrive: layer-major, K before V.
struct ShardSegments {
  codec::BlockHeader header;  // cut to the heads and layers that came
  codec::QualityRecord quality;
  std::vector<std::string> segments;
};

void Collect(const EncodedSegment& segment, ShardSegments* out) {
  const codec::SegmentShape& shape = segment.view.shape();
  const codec::BlockHeader& stored = *segment.header;
  if (out->segments.empty()) {
    out->header = stored;
    out->header.shard.head_begin = shape.head_begin;
    out->header.shard.head_count = shape.heads;
    out->header.shard.layer_count = 0;
    out->header.layers.clear();
    for (uint32_t i = 0; i < stored.shard.layer_count; ++i) {
      if (stored.layers[i] == segment.place.layer)
        out->header.shard.layer_begin = stored.shard.layer_begin + i;
    }
  }
  if (segment.tensor == Tensor::kK) {
    out->header.layers.push_back(segment.place.layer);
    ++out->header.shard.layer_count;
  }
  out->segments.emplace_back(AsChars(segment.view.bytes()));
  out->quality.raw_bytes += shape.raw_bytes();
  for (uint32_t head = 0; head < shape.heads; ++head) {
    for (uint32_t g = 0; g < shape.groups(); ++g) {
      ++out->quality.tiles;
      if (segment.view.tile(head, g).mode == codec::TileMode::kRaw) ++out->quality.raw_tiles;
    }
  }
}

absl::StatusOr<std::string> Assemble(const ShardSegments& shard) {
  codec::ContainerWriter writer(shard.header);
  for (const std::string& segment : shard.segments) {
    if (auto s = writer.AddSegment(AsBytes(segment)); !s.ok()) return s;
  }
  return std::move(writer).Finish(shard.quality);
}

}  // namespace

absl::StatusOr<std::vector<GetResult>> GetBlocks(const std::shared_ptr<NamespaceSession>& session,
                                                 std::span<const GetBlock> blocks, const GetOptions& options,
                                                 const Deadline& deadline, const LayerCallback& on_layer) {
  const uint64_t limit = session->state().limits.max_blocks();
  const size_t step =
      std::min<size_t>(limit > 0 ? limit : std::max<size_t>(1, blocks.size()), kMaxBatchBlocks);
  std::vector<GetResult> results;
  size_t begin = 0;
  do {
    const size_t n = std::min(step, blocks.size() - begin);
    GetOptions some = options;
    if (begin + n < blocks.size()) some.sequence.clear();
    if (options.on_segment && begin > 0) {
      some.on_segment = [&options, begin](const EncodedSegment& segment) {
        EncodedSegment numbered = segment;
        numbered.block += static_cast<uint32_t>(begin);
        return options.on_segment(numbered);
      };
    }
    const auto batch = blocks.subspan(begin, n);
    auto stream = GetStream::Open(session, {batch.begin(), batch.end()}, std::move(some), deadline);
    if (!stream.ok()) return stream.status();
    LayerDone done;
    while ((*stream)->Next(&done)) {
      done.block += static_cast<uint32_t>(begin);
      if (on_layer) on_layer(done);
    }
    for (GetResult& result : (*stream)->Finish()) results.push_back(std::move(result));
    begin += n;
  } while (begin < blocks.size());
  return results;
}

absl::StatusOr<std::vector<ContainersOfBlock>> GetContainers(const std::shared_ptr<NamespaceSession>& session,
                                                             std::span<const BlockKey> keys,
                                                             GetOptions options) {
  std::vector<GetBlock> blocks;
  for (const BlockKey& key : keys) blocks.push_back({.key = key});
  // By block, then by the heads and layers of the stored shard.
  std::vector<std::map<ShardRange, ShardSegments>> shards(keys.size());
  options.form = Form::kEncoded;
  options.encoded_only = true;
  options.k = true;
  options.v = true;
  options.sequence.clear();
  options.on_segment = [&shards](const EncodedSegment& segment) {
    // A run of other heads of the same stored shard is a container of its own.
    ShardRange which = segment.header->shard;
    which.head_begin = segment.view.shape().head_begin;
    which.head_count = segment.view.shape().heads;
    Collect(segment, &shards[segment.block][which]);
    return absl::OkStatus();
  };
  auto results = GetBlocks(session, blocks, options, GetDeadline(*session, options), nullptr);
  if (!results.ok()) return results.status();
  std::vector<ContainersOfBlock> out(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    out[i].status = (*results)[i].status;
    out[i].reason = (*results)[i].reason;
    out[i].generation = (*results)[i].generation;
    if (!out[i].status.ok()) continue;
    for (const auto& [range, shard] : shards[i]) {
      auto container = Assemble(shard);
      if (!container.ok()) {
        out[i].status = container.status();
        out[i].containers.clear();
        break;
      }
      out[i].containers.push_back(*std::move(container));
    }
  }
  return out;
}

}  // namespace kvcompd::client
