#include "client/block_receiver.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/base/chain_hash.h"
#include "proto/convert.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kMaxHeaderBytes = 1 << 20;
constexpr size_t kMaxHeaders = 128;             // shards of a block
constexpr uint64_t kMaxIndexBytesPerTile = 64;  // index entry, padding and a share of the group headers

// No valid segment of these values is longer: tiles are never longer than raw, what stands beside them is
// small.
uint64_t MaxSegmentBytes(uint64_t raw_bytes, uint32_t heads, uint32_t tokens) {
  const uint64_t tiles = uint64_t{heads} * ((tokens + kTileTokens - 1) / kTileTokens);
  return 2 * raw_bytes + tiles * kMaxIndexBytesPerTile + (128 << 10);
}

}  // namespace

BlockReceiver::BlockReceiver(const GetPlan* plan, uint32_t number, const GetBlock& block, bool is_tail)
    : plan_(plan),
      number_(number),
      key_(block.key),
      salted_key_(is_tail ? BlockKey() : SaltedKey(block.key, plan->options.cache_salt)),
      target_(block.target),
      is_tail_(is_tail),
      requested_(block.generation),
      generation_(block.generation) {}

absl::Status BlockReceiver::Fail(v1::Reason reason, absl::Status status) {
  reason_ = reason;
  return status;
}

void BlockReceiver::Restart() {
  layers_.clear();
  headers_.clear();
  header_bytes_.clear();
  if (next_layer_ == 0) {
    tokens_ = 0;
    generation_ = requested_;
  } else {
    cut_off_ = is_tail_;
  }
}

absl::Status BlockReceiver::CheckIdentity(const v1::GetChunk& chunk) {
  if (chunk.bytes() == 0) return Fail(v1::REASON_MALFORMED, absl::DataLossError("an empty piece"));
  if (cut_off_) {
    return Fail(v1::REASON_GENERATION,
                absl::AbortedError("the stream broke while the tail was read; read it again"));
  }
  const Generation generation = FromProto(chunk.generation());
  if (!generation_.has_value()) generation_ = generation;
  if (generation != *generation_) {
    return Fail(v1::REASON_GENERATION,
                absl::AbortedError("the block was replaced while it was read; match again"));
  }
  if (chunk.tokens() == tokens_ && tokens_ != 0) return absl::OkStatus();
  if (tokens_ != 0 && is_tail_) {
    return Fail(v1::REASON_GENERATION,
                absl::AbortedError("the sequence grew while its tail was read; read it again"));
  }
  const uint32_t most = plan_->session->model().tokens_per_block;
  if (tokens_ != 0 || chunk.tokens() < 1 || chunk.tokens() > most) {
    return Fail(v1::REASON_MALFORMED,
                absl::DataLossError(absl::StrCat("a piece says ", chunk.tokens(), " tokens, the block has ",
                                                 tokens_ != 0 ? tokens_ : most)));
  }
  tokens_ = chunk.tokens();
  if (target_.buffer == nullptr) return absl::OkStatus();
  if (auto s = target_.buffer->CheckPlace(target_, tokens_); !s.ok()) {
    return Fail(v1::REASON_UNSPECIFIED, absl::InvalidArgumentError(absl::StrCat("the block has ", tokens_,
                                                                                " tokens: ", s.message())));
  }
  return absl::OkStatus();
}

absl::Status BlockReceiver::OnChunk(const v1::GetChunk& chunk, const BulkView& data,
                                    std::vector<Run*>* complete) {
  if (auto s = CheckIdentity(chunk); !s.ok()) return s;
  if (data.Crc32c() != chunk.crc32c()) {
    return Fail(v1::REASON_CORRUPT, absl::DataLossError("a piece does not match its CRC32C"));
  }
  const bool encoded = chunk.form() == v1::FORM_ENCODED;
  if (encoded && (plan_->options.form != Form::kEncoded || is_tail_)) {
    return Fail(v1::REASON_MALFORMED, absl::DataLossError("a piece came encoded that was asked for decoded"));
  }
  if (!encoded && plan_->options.form == Form::kEncoded && plan_->options.encoded_only && !is_tail_) {
    return Fail(v1::REASON_NOT_ACCEPTED,
                absl::DataLossError("a piece came decoded where only encoded was asked for"));
  }
  if (!encoded && target_.buffer == nullptr) {
    return Fail(v1::REASON_NOT_ACCEPTED,
                absl::FailedPreconditionError("the block came decoded and there is no target for it"));
  }
  if (encoded && chunk.container_part() == v1::CONTAINER_HEADER) return OnHeaderPiece(chunk, data);
  if (encoded && chunk.container_part() != v1::CONTAINER_SEGMENT) {
    return Fail(v1::REASON_MALFORMED, absl::DataLossError("an encoded piece is neither header nor segment"));
  }
  if (chunk.layer() < plan_->shard.layer_begin ||
      chunk.layer() - plan_->shard.layer_begin >= plan_->shard.layer_count) {
    return Fail(v1::REASON_WRONG_PLACE,
                absl::DataLossError(
                    absl::StrCat("a piece is of layer ", chunk.layer(), ", which was not asked for")));
  }
  const uint32_t layer = chunk.layer() - plan_->shard.layer_begin;
  if (layer < next_layer_) return absl::OkStatus();  // delivered before the stream broke
  auto run = RunOf(chunk, layer);
  if (!run.ok()) return Fail(v1::REASON_MALFORMED, run.status());
  if ((*run)->encoded) {
    const size_t at = (*run)->bytes.size();
    (*run)->bytes.resize(at + data.bytes());
    data.CopyTo((*run)->bytes.data() + at);
  } else if (auto s = ScatterPiece(**run, chunk.offset(), data); !s.ok()) {
    return Fail(v1::REASON_MALFORMED, s);
  }
  (*run)->received += data.bytes();
  if ((*run)->encoded && (*run)->received == (*run)->total_bytes) complete->push_back(*run);
  return absl::OkStatus();
}

absl::Status BlockReceiver::CheckNewRun(const v1::GetChunk& chunk, const Run& run) const {
  if (!plan_->wants(run.tensor)) {
    return absl::DataLossError(
        absl::StrCat("a piece is of ", ToAbsl(TensorName(run.tensor)), ", which was not asked for"));
  }
  const ShardRange& shard = plan_->shard;
  if (run.head_count < 1 || run.head_begin < shard.head_begin || run.head_count > shard.head_count ||
      run.head_begin - shard.head_begin > shard.head_count - run.head_count) {
    return absl::DataLossError(absl::StrCat("a piece is of heads ", run.head_begin, " and ", run.head_count,
                                            " in all, which were not asked for"));
  }
  const uint64_t raw_bytes = plan_->group.TensorBytes(run.tensor, run.head_count, tokens_);
  const bool fits = run.encoded ? run.total_bytes <= MaxSegmentBytes(raw_bytes, run.head_count, tokens_)
                                : run.total_bytes == raw_bytes;
  if (!fits || run.total_bytes == 0) {
    return absl::DataLossError(absl::StrCat("total_bytes is ", run.total_bytes, " for heads that have ",
                                            raw_bytes, " bytes of values"));
  }
  if (chunk.offset() != 0)
    return absl::DataLossError("the first piece of some heads does not start at offset 0");
  return absl::OkStatus();
}

absl::StatusOr<BlockReceiver::Run*> BlockReceiver::RunOf(const v1::GetChunk& chunk, uint32_t layer) {
  auto tensor = FromProto(chunk.tensor());
  if (!tensor.ok()) return absl::DataLossError(tensor.status().message());
  Layer& state = layers_[layer];
  for (Run& run : state.runs) {
    if (run.tensor != *tensor || run.head_begin != chunk.head_begin()) continue;
    if (run.head_count != chunk.head_count() || run.total_bytes != chunk.total_bytes() ||
        run.encoded != (chunk.form() == v1::FORM_ENCODED) || chunk.offset() != run.received ||
        chunk.bytes() > run.total_bytes - run.received) {
      return absl::DataLossError(absl::StrCat("a piece at offset ", chunk.offset(), " of ", chunk.bytes(),
                                              " bytes does not follow the ", run.received, " of ",
                                              run.total_bytes, " that came"));
    }
    return &run;
  }
  Run run;
  run.tensor = *tensor;
  run.layer = layer;
  run.head_begin = chunk.head_begin();
  run.head_count = chunk.head_count();
  run.encoded = chunk.form() == v1::FORM_ENCODED;
  run.total_bytes = chunk.total_bytes();
  if (auto s = CheckNewRun(chunk, run); !s.ok()) return s;
  if (chunk.bytes() > run.total_bytes) return absl::DataLossError("a piece is longer than its whole");
  std::vector<bool>& heads = state.heads[*tensor == Tensor::kK ? 0 : 1];
  heads.resize(plan_->shard.head_count, false);
  const auto first = heads.begin() + (run.head_begin - plan_->shard.head_begin);
  if (std::find(first, first + run.head_count, true) != first + run.head_count) {
    return absl::DataLossError("heads were sent twice");
  }
  std::fill(first, first + run.head_count, true);
  if (run.encoded) {
    run.bytes.reserve(run.total_bytes);
    run.header = HeaderOf(run);
  }
  return &state.runs.emplace_back(std::move(run));
}

absl::Status BlockReceiver::ScatterPiece(const Run& run, uint64_t offset, const BulkView& data) const {
  absl::Status status;
  data.ForEach([&](ByteSpan piece) {
    if (!status.ok()) return;
    status = target_.buffer->Scatter(target_, run.layer, run.tensor, run.head_begin - plan_->shard.head_begin,
                                     tokens_, offset, piece);
    offset += piece.size();
  });
  return status;
}

absl::Status BlockReceiver::OnHeaderPiece(const v1::GetChunk& chunk, const BulkView& data) {
  if (chunk.total_bytes() > kMaxHeaderBytes || chunk.offset() != header_bytes_.size() ||
      chunk.total_bytes() < chunk.offset() || chunk.bytes() > chunk.total_bytes() - chunk.offset() ||
      headers_.size() == kMaxHeaders) {
    return Fail(v1::REASON_MALFORMED, absl::DataLossError("a piece of a container's header does not fit"));
  }
  const size_t at = header_bytes_.size();
  header_bytes_.resize(at + data.bytes());
  data.CopyTo(header_bytes_.data() + at);
  if (header_bytes_.size() < chunk.total_bytes()) return absl::OkStatus();
  Digest set;
  if (!chunk.codebook_set().empty()) {
    auto digest = Digest::FromBytes(chunk.codebook_set());
    if (!digest.ok()) return Fail(v1::REASON_MALFORMED, absl::DataLossError("codebook_set is no digest"));
    set = *digest;
  }
  header_set_ = set;
  header_class_ = chunk.has_error_class() ? std::optional(chunk.error_class()) : std::nullopt;
  const absl::Status status = AcceptHeader();
  header_bytes_.clear();
  return status;
}

absl::Status BlockReceiver::AcceptHeader() {
  auto header = codec::ParseBlockHeader(header_bytes_);
  if (!header.ok()) return Fail(v1::REASON_CORRUPT, header.status());
  const AttentionGroup& group = plan_->group;
  bool ours = header->fingerprint == plan_->session->fingerprint() && header->key == salted_key_ &&
              header->shard.group == plan_->shard.group && header->tokens == tokens_ &&
              header->dtype == group.dtype && header->head_dim_k == group.head_dim_k &&
              header->head_dim_v == group.head_dim_v;
  for (uint32_t i = 0; ours && i < header->shard.layer_count; ++i) {
    const uint64_t at = uint64_t{header->shard.layer_begin} + i;
    ours = at < group.layers.size() && header->layers[i] == group.layers[at];
  }
  if (!ours) {
    return Fail(v1::REASON_WRONG_PLACE,
                absl::DataLossError("the container is of another block, model or group"));
  }
  if (header->codebook_set != header_set_) {
    return Fail(v1::REASON_WRONG_PLACE,
                absl::DataLossError("the container names another codebook set than its chunk"));
  }
  const float error_class = header_class_.value_or(header->error_bound);
  if (error_class != 0 && error_class != header->error_bound) {
    return Fail(v1::REASON_MALFORMED,
                absl::DataLossError(absl::StrCat("the block's error class is ", error_class,
                                                 ", and must be 0 or its header's ", header->error_bound)));
  }
  if (plan_->options.max_error.has_value() && error_class > static_cast<float>(*plan_->options.max_error)) {
    return Fail(v1::REASON_ERROR_TOO_LARGE,
                absl::FailedPreconditionError(absl::StrCat("the block's error class is ", error_class,
                                                           ", max_error is ", *plan_->options.max_error)));
  }
  auto set = plan_->session->codebooks().Find(header->codebook_set, plan_->deadline, plan_->cancel);
  if (!set.ok()) return Fail(v1::REASON_CODEBOOK_MISSING, set.status());
  headers_.push_back({*std::move(header), error_class, *std::move(set)});
  return absl::OkStatus();
}

size_t BlockReceiver::HeaderOf(const Run& run) const {
  const uint32_t layer = plan_->shard.layer_begin + run.layer;
  for (size_t i = headers_.size(); i-- > 0;) {
    const ShardRange& s = headers_[i].header.shard;
    if (layer >= s.layer_begin && layer - s.layer_begin < s.layer_count && run.head_begin >= s.head_begin &&
        uint64_t{run.head_begin} + run.head_count <= uint64_t{s.head_begin} + s.head_count) {
      return i;
    }
  }
  return headers_.size();
}

absl::StatusOr<EncodedSegment> BlockReceiver::OpenSegment(const Run& run) const {
  if (run.header >= headers_.size()) {
    return absl::DataLossError("a segment came without its container's header");
  }
  const Header* header = &headers_[run.header];
  auto view = codec::SegmentView::Parse(run.bytes);
  if (!view.ok()) return view.status();
  const codec::SegmentShape& shape = view->shape();
  const uint32_t layer = plan_->group.layers[plan_->shard.layer_begin + run.layer];
  if (view->bytes().size() != run.bytes.size() || view->layer() != layer || shape.tensor != run.tensor ||
      shape.head_begin != run.head_begin || shape.heads != run.head_count || shape.tokens != tokens_ ||
      shape.dtype != plan_->group.dtype || shape.channels != plan_->group.head_dim(run.tensor)) {
    return absl::DataLossError("a segment is of another place or shape than its chunk says");
  }
  // All tiles are raw where the class is 0; the index says so before anything is decoded.
  for (uint32_t head = 0; header->error_class == 0 && head < shape.heads; ++head) {
    for (uint32_t g = 0; g < shape.groups(); ++g) {
      if (view->tile(head, g).mode != codec::TileMode::kRaw) {
        return absl::DataLossError("a block was announced as bit-exact and has a tile that is not raw");
      }
    }
  }
  EncodedSegment segment;
  segment.block = number_;
  segment.layer = run.layer;
  segment.tensor = run.tensor;
  segment.header = &header->header;
  segment.view = *view;
  segment.place = {plan_->session->fingerprint(), salted_key_, layer, run.tensor};
  segment.codebooks = header->codebooks;
  return segment;
}

void BlockReceiver::Unpack(Run* run) const {
  auto segment = OpenSegment(*run);
  if (!segment.ok()) {
    run->status = segment.status();
    return;
  }
  if (plan_->options.on_segment) {
    run->status = segment->view.Verify(segment->place, 0, run->head_count);
    return;
  }
  if (target_.buffer == nullptr) {
    run->status = absl::FailedPreconditionError("there is no target for the block");
    return;
  }
  thread_local codec::Workspace workspace;
  const auto book = codec::FindBook(segment->header->codebook_set, segment->codebooks.get(),
                                    segment->place.layer, run->tensor);
  if (!book.ok()) {
    run->status = book.status();
    return;
  }
  std::vector<std::byte> values(segment->view.shape().raw_bytes());
  run->status = segment->view.Decode(segment->place, 0, run->head_count, *book, &workspace, values);
  if (!run->status.ok()) return;
  run->status = target_.buffer->Scatter(target_, run->layer, run->tensor,
                                        run->head_begin - plan_->shard.head_begin, tokens_, 0, values);
  std::vector<std::byte>().swap(run->bytes);
}

absl::Status BlockReceiver::OnLayerEnd(uint32_t layer) {
  if (layer != next_layer_) {
    return Fail(v1::REASON_MALFORMED, absl::DataLossError(absl::StrCat("layer ", layer, " ended where layer ",
                                                                       next_layer_, " comes next")));
  }
  if (cut_off_) {
    return Fail(v1::REASON_GENERATION,
                absl::AbortedError("the stream broke while the tail was read; read it again"));
  }
  Layer& state = layers_[layer];
  if (is_tail_ && tokens_ == 0 && state.runs.empty()) {  // the sequence has no open tokens
    layers_.erase(layer);
    ++next_layer_;
    return absl::OkStatus();
  }
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const std::vector<bool>& heads = state.heads[tensor == Tensor::kK ? 0 : 1];
    if (plan_->wants(tensor) &&
        (heads.empty() || std::find(heads.begin(), heads.end(), false) != heads.end())) {
      return Fail(v1::REASON_INCOMPLETE,
                  absl::DataLossError(absl::StrCat("layer ", layer, " ended without all heads of ",
                                                   ToAbsl(TensorName(tensor)))));
    }
  }
  for (const Run& run : state.runs) {
    if (run.received != run.total_bytes) {
      return Fail(v1::REASON_INCOMPLETE,
                  absl::DataLossError(absl::StrCat("layer ", layer, " ended after ", run.received, " of ",
                                                   run.total_bytes, " bytes")));
    }
    if (!run.status.ok()) return Fail(v1::REASON_CORRUPT, run.status);
  }
  for (const Run& run : state.runs) {
    if (!run.encoded || !plan_->options.on_segment) continue;
    auto segment = OpenSegment(run);
    if (!segment.ok()) return Fail(v1::REASON_CORRUPT, segment.status());
    if (auto s = plan_->options.on_segment(*segment); !s.ok()) return Fail(v1::REASON_UNSPECIFIED, s);
  }
  layers_.erase(layer);
  ++next_layer_;
  return absl::OkStatus();
}

}  // namespace kvcompd::client
