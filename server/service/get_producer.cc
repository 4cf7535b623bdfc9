#include "server/service/get_producer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/base/crc32c.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

constexpr int kMaxAccept = 16;

v1::Reason ToProto(Reason reason) { return static_cast<v1::Reason>(reason); }

absl::Status CheckRequest(const ServiceContext& context, const v1::GetRequest& request) {
  if (request.blocks().empty() && request.sequence().empty()) {
    return absl::InvalidArgumentError("a get names at least one block, or a sequence");
  }
  if (static_cast<uint64_t>(request.blocks_size()) > context.options.max_blocks) {
    return absl::ResourceExhaustedError(absl::StrCat(request.blocks_size(),
                                                     " blocks in one get; the limit is ",
                                                     context.options.max_blocks, ": split it"));
  }
  if (request.form() != v1::FORM_DECODED && request.form() != v1::FORM_ENCODED) {
    return absl::InvalidArgumentError("form must be DECODED or ENCODED");
  }
  if (request.without_k() && request.without_v()) {
    return absl::InvalidArgumentError("without_k and without_v leave nothing to send");
  }
  if (request.accept().codecs_size() > kMaxAccept || request.accept().format_versions_size() > kMaxAccept) {
    return absl::InvalidArgumentError(
        absl::StrCat("accept names more than ", kMaxAccept, " codecs or versions"));
  }
  if (request.has_max_error() && !(request.max_error() >= 0)) {
    return absl::InvalidArgumentError("max_error is negative or not a number");
  }
  return absl::OkStatus();
}

// Why a stored block cannot be read. What a newer version wrote is no damage, and stays.
Reason WhyUnreadable(const absl::Status& status) {
  if (absl::IsNotFound(status)) return Reason::kCodebookMissing;
  return absl::IsUnimplemented(status) ? Reason::kUnsupported : Reason::kCorrupt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GetProducer>> GetProducer::Create(ServiceContext* context,
                                                                 std::shared_ptr<Namespace> ns,
                                                                 const v1::GetRequest& request) {
  if (auto status = CheckRequest(*context, request); !status.ok()) return status;
  auto wanted = ns->descriptor().ResolveShard(FromProto(request.shard()));
  if (!wanted.ok()) return wanted.status();
  if (!request.lease_id().empty()) {
    if (auto status = context->store->CheckLease(ns, request.lease_id()); !status.ok()) {
      return WithReason(status, Reason::kLeaseExpired);
    }
  }
  std::unique_ptr<GetProducer> producer(new GetProducer(context, std::move(ns), request, *wanted));
  for (int i = 0; i < request.blocks_size(); ++i) {
    if (auto key = BlockKey::FromBytes(request.blocks(i).key()); !key.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "]: ", key.status().message()));
    }
  }
  if (request.cache_salt().size() > kMaxSaltBytes)
    return absl::InvalidArgumentError("cache_salt is too long");
  for (int i = 0; i < request.blocks_size(); ++i) {
    producer->LookUp(request.blocks(i), &producer->blocks_.emplace_back());
  }
  return producer;
}

GetProducer::GetProducer(ServiceContext* context, std::shared_ptr<Namespace> ns,
                         const v1::GetRequest& request, const ShardRange& wanted)
    : context_(context),
      ns_(std::move(ns)),
      request_(request),
      wanted_(wanted),
      group_(*ns_->descriptor().FindGroup(wanted.group)) {
  max_piece_bytes_ = context_->options.target_message_bytes;
  if (request.max_chunk_bytes() != 0) {
    max_piece_bytes_ =
        std::clamp<uint64_t>(request.max_chunk_bytes(), 4096, context_->options.max_chunk_bytes);
  }
  blocks_.reserve(request.blocks_size());
  blocks_done_ = request.blocks().empty();
  tail_done_ = request.sequence().empty();
}

void GetProducer::FailBlock(Block* block, const absl::Status& status, Reason reason) {
  block->status = status;
  block->reason = reason;
  CountMiss(*context_, reason);
  const bool untrue =
      reason == Reason::kCorrupt || reason == Reason::kWrongPlace || reason == Reason::kCodebookMissing;
  if (untrue && block->snapshot.has_value()) {
    context_->store->Quarantine(ns_, block->snapshot->key, block->snapshot->generation, reason);
    // What does not verify is a miss, never an error of the whole call.
    block->status =
        absl::NotFoundError(absl::StrCat("the block did not verify and was dropped: ", status.message()));
  }
  block->sources.clear();  // nothing more is sent of it: its memory may go
  block->snapshot.reset();
}

void GetProducer::LookUp(const v1::GetBlock& wanted, Block* block) {
  auto key = KeyFromProto(wanted.key(), request_.cache_salt());
  if (!key.ok()) return FailBlock(block, key.status(), Reason::kMalformed);
  auto snapshot = context_->store->Read(ns_, *key);
  if (!snapshot.ok()) {
    return FailBlock(block, snapshot.status(),
                     absl::IsNotFound(snapshot.status()) ? Reason::kNotStored : Reason::kQuota);
  }
  block->snapshot = *std::move(snapshot);
  if (wanted.has_generation() && FromProto(wanted.generation()) != block->snapshot->generation) {
    return FailBlock(block, absl::AbortedError("the block was replaced meanwhile; match again"),
                     Reason::kGeneration);
  }
}

void GetProducer::OpenBlock(const v1::GetBlock& wanted, Block* block) {
  block->opened = true;
  if (!block->status.ok()) return;
  if (auto status = OpenSources(block); !status.ok()) return FailBlock(block, status, WhyUnreadable(status));
  for (const Source& source : block->sources) {
    // Stored bounds are floats: a reader that names the profile's own bound must not lose by the rounding.
    if (request_.has_max_error() && source.shard->error_bound > static_cast<float>(request_.max_error())) {
      return FailBlock(block,
                       absl::FailedPreconditionError(absl::StrCat(
                           "the block's error bound is ", source.shard->error_bound, ", max_error is ",
                           request_.max_error(), "; recompute it, or allow more")),
                       Reason::kErrorTooLarge);
    }
  }
  block->encoded = request_.form() == v1::FORM_ENCODED &&
                   std::all_of(block->sources.begin(), block->sources.end(),
                               [this](const Source& source) { return Acceptable(source); });
  if (request_.form() == v1::FORM_ENCODED && !block->encoded && request_.encoded_only()) {
    FailBlock(
        block,
        absl::FailedPreconditionError("the block is stored in a form that `accept` leaves out; allow its "
                                      "codec, or allow DECODED"),
        Reason::kNotAccepted);
  }
}

absl::Status GetProducer::OpenSources(Block* block) {
  for (const auto& shard : block->snapshot->shards) {
    const ShardRange& range = shard->range;
    const bool overlaps = range.group == wanted_.group &&
                          range.head_begin < wanted_.head_begin + wanted_.head_count &&
                          wanted_.head_begin < range.head_begin + range.head_count &&
                          range.layer_begin < wanted_.layer_begin + wanted_.layer_count &&
                          wanted_.layer_begin < range.layer_begin + range.layer_count;
    if (!overlaps) continue;
    auto view = codec::ContainerView::Parse(shard->container());
    if (!view.ok()) return view.status();
    // By its id alone: the block may be of a profile that is not known here.
    std::shared_ptr<const codec::CodebookSet> codebooks = shard->codebooks;
    if (const Digest& id = view->header().codebook_set; codebooks == nullptr && !id.IsZero()) {
      auto set = ns_->codebooks().FindById(id);
      if (!set.ok()) return absl::NotFoundError("the block's codebook set is missing");
      codebooks = *std::move(set);
    }
    block->sources.push_back({shard, *std::move(view), std::move(codebooks)});
  }
  return absl::OkStatus();
}

bool GetProducer::Acceptable(const Source& source) const {
  if (!request_.has_accept()) return true;
  const v1::Accept& accept = request_.accept();
  const std::string_view codec =
      std::string_view(source.view.header().profile).substr(0, source.view.header().profile.find(':'));
  const bool codec_ok = accept.codecs().empty() || std::find(accept.codecs().begin(), accept.codecs().end(),
                                                             codec) != accept.codecs().end();
  const uint32_t version = codec::kFormatMajor << 8 | source.view.header().minor;
  const bool version_ok = accept.format_versions().empty()
                              ? version == codec::kFormatVersion
                              : std::find(accept.format_versions().begin(), accept.format_versions().end(),
                                          version) != accept.format_versions().end();
  return codec_ok && version_ok;
}

absl::StatusOr<std::vector<GetProducer::Run>> GetProducer::RunsOf(Block* block, uint32_t layer) const {
  std::vector<Run> runs;
  uint32_t head = wanted_.head_begin;
  const uint32_t end = wanted_.head_begin + wanted_.head_count;
  while (head < end) {
    Source* best = nullptr;
    uint32_t best_end = head;
    for (Source& source : block->sources) {
      const ShardRange& r = source.shard->range;
      if (layer < r.layer_begin || layer >= r.layer_begin + r.layer_count || head < r.head_begin) continue;
      if (r.head_begin + r.head_count > best_end) {
        best = &source;
        best_end = r.head_begin + r.head_count;
      }
    }
    if (best == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("layer ", layer, " head ", head, " of the block is not stored"));
    }
    runs.push_back({best, Tensor::kK, head, std::min(best_end, end) - head});
    head += runs.back().head_count;
  }
  return runs;
}

bool GetProducer::Next(codec::Workspace& ws, grpc::ByteBuffer* out) {
  while (ready_.empty()) {
    if (!blocks_done_) {
      ProduceStep(ws, &message_);
    } else if (!tail_done_) {
      ProduceTailLayer(&message_);
    } else {
      Flush(&message_);
      break;
    }
    if (message_.bytes >= max_piece_bytes_) Flush(&message_);
  }
  if (ready_.empty()) return false;
  *out = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

void GetProducer::Flush(Message* message) {
  if (message->response.chunks().empty() && message->response.layer_results().empty()) return;
  ready_.push_back(EncodeBulk(message->response, message->slices));
  *message = Message();
}

void GetProducer::BeginLayer() {
  Block& block = blocks_[block_];
  in_layer_ = true;
  runs_.clear();
  run_ = 0;
  if (!block.opened) OpenBlock(request_.blocks(static_cast<int>(block_)), &block);
  if (!block.status.ok()) return;
  auto runs = RunsOf(&block, wanted_.layer_begin + layer_);
  if (!runs.ok()) return FailBlock(&block, runs.status(), Reason::kNotStored);
  const uint64_t max_bytes = block.encoded ? UINT64_MAX : max_piece_bytes_;
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    if (!group_.has(tensor) || (tensor == Tensor::kK ? request_.without_k() : request_.without_v())) continue;
    // Decoded values are made some heads at a time, so that the window bounds what a slow reader makes us
    // hold.
    const uint64_t head_bytes = group_.TensorBytes(tensor, 1, block.snapshot->tokens);
    const uint32_t step = static_cast<uint32_t>(std::clamp<uint64_t>(max_bytes / head_bytes, 1, kMaxHeads));
    for (const Run& run : *runs) {
      for (uint32_t head = 0; head < run.head_count; head += step) {
        runs_.push_back({run.source, tensor, run.head_begin + head, std::min(step, run.head_count - head)});
      }
    }
  }
}

void GetProducer::ProduceStep(codec::Workspace& ws, Message* message) {
  Block& block = blocks_[block_];
  if (!in_layer_ && !block.reported) BeginLayer();
  if (block.status.ok() && run_ < runs_.size()) {
    auto status = ProduceRun(block_, runs_[run_++], ws, message);
    if (!status.ok()) FailBlock(&block, status, WhyUnreadable(status));
    if (status.ok() && run_ < runs_.size()) return;
  }
  if (!block.reported) ReportLayer(block_, message);
  in_layer_ = false;
  if (++block_ < blocks_.size()) return;
  block_ = 0;
  if (++layer_ == 1) Flush(message);  // the first layer is what a decode worker waits for
  if (layer_ < wanted_.layer_count) return;
  blocks_done_ = true;
  layer_ = 0;  // of the tail
}

void GetProducer::ReportLayer(uint32_t index, Message* message) {
  Block& block = blocks_[index];
  auto* result = message->response.add_layer_results();
  result->set_block(index);
  result->set_layer(wanted_.layer_begin + layer_);
  FillBlockStatus(block.status, ToProto(block.reason), result->mutable_status());
  result->set_form(block.encoded ? v1::FORM_ENCODED : v1::FORM_DECODED);
  block.reported = !block.status.ok();
}

absl::Status GetProducer::ProduceRun(uint32_t index, const Run& run, codec::Workspace& ws, Message* message) {
  const Tensor tensor = run.tensor;
  const Block& block = blocks_[index];
  const ShardRange& range = run.source->shard->range;
  const uint32_t layer = wanted_.layer_begin + layer_;
  const uint32_t in_shard = layer - range.layer_begin;
  auto segment = run.source->view.Segment(in_shard, tensor);
  if (!segment.ok()) return segment.status();
  const codec::SegmentPlace place{ns_->fingerprint(), block.snapshot->key, group_.layers[layer], tensor};
  const uint32_t local_head = run.head_begin - range.head_begin;

  v1::GetChunk base;
  base.set_block(index);
  base.set_layer(layer);
  base.set_tensor(kvcompd::ToProto(tensor));
  base.set_form(block.encoded ? v1::FORM_ENCODED : v1::FORM_DECODED);
  base.set_head_begin(run.head_begin);
  base.set_head_count(run.head_count);
  base.set_tokens(block.snapshot->tokens);
  *base.mutable_generation() = kvcompd::ToProto(block.snapshot->generation);
  return block.encoded ? AddEncoded(base, run, *segment, place, local_head, message)
                       : AddDecoded(base, run, *segment, place, local_head, ws, message);
}

absl::Status GetProducer::AddEncoded(const v1::GetChunk& base, const Run& run,
                                     const codec::SegmentView& segment, const codec::SegmentPlace& place,
                                     uint32_t local_head, Message* message) {
  if (auto status = segment.Verify(place, local_head, run.head_count); !status.ok()) return status;
  if (!run.source->header_sent) {
    run.source->header_sent = true;
    v1::GetChunk header = base;
    header.set_container_part(v1::CONTAINER_HEADER);
    const Digest& set = run.source->view.header().codebook_set;
    if (!set.IsZero()) header.set_codebook_set(std::string(set.view()));
    header.set_error_class(run.source->shard->error_bound);
    AddPieces(header, run.source->view.header_bytes(), run.source->shard, std::nullopt, message);
  }
  v1::GetChunk chunk = base;
  chunk.set_container_part(v1::CONTAINER_SEGMENT);
  if (run.head_count == segment.shape().heads) {
    AddPieces(chunk, segment.bytes(), run.source->shard, std::nullopt, message);
    return absl::OkStatus();
  }
  auto slice = segment.Slice(local_head, run.head_count);
  if (!slice.ok()) return slice.status();
  auto owner = std::make_shared<const std::string>(*std::move(slice));
  AddPieces(chunk, AsBytes(*owner), owner, std::nullopt, message);
  return absl::OkStatus();
}

absl::Status GetProducer::AddDecoded(const v1::GetChunk& base, const Run& run,
                                     const codec::SegmentView& segment, const codec::SegmentPlace& place,
                                     uint32_t local_head, codec::Workspace& ws, Message* message) {
  if (const ByteSpan raw = segment.RawValues(local_head, run.head_count); !raw.empty()) {
    if (auto status = segment.Verify(place, local_head, run.head_count); !status.ok()) return status;
    AddPieces(base, raw, run.source->shard, segment.RawValuesCrc(local_head, run.head_count), message);
    return absl::OkStatus();
  }
  const uint64_t bytes = segment.shape().raw_bytes() / segment.shape().heads * run.head_count;
  std::shared_ptr<BufferPool::Buffer> buffer = context_->buffers->Take(bytes);
  const MutableByteSpan values = buffer->bytes().subspan(0, bytes);
  const Digest& set = run.source->view.header().codebook_set;
  const auto book = codec::FindBook(set, run.source->codebooks.get(), place.layer, place.tensor);
  if (!book.ok()) return book.status();
  if (auto status = segment.Decode(place, local_head, run.head_count, *book, &ws, values); !status.ok()) {
    return status;
  }
  AddPieces(base, values, std::move(buffer), std::nullopt, message);
  return absl::OkStatus();
}

void GetProducer::AddPieces(const v1::GetChunk& base, ByteSpan bytes, std::shared_ptr<const void> owner,
                            std::optional<uint32_t> whole_crc, Message* message) {
  for (uint64_t offset = 0; offset < bytes.size();) {
    const uint64_t n = std::min<uint64_t>(bytes.size() - offset, max_piece_bytes_);
    if (message->bytes > 0 && message->bytes + n > max_piece_bytes_) Flush(message);
    const ByteSpan piece = bytes.subspan(offset, n);
    v1::GetChunk* chunk = message->response.add_chunks();
    *chunk = base;
    chunk->set_offset(offset);
    chunk->set_bytes(n);
    chunk->set_total_bytes(bytes.size());
    chunk->set_crc32c(n == bytes.size() && whole_crc.has_value() ? *whole_crc : Crc32c(piece));
    message->slices.push_back(SliceOf(piece, owner));
    message->bytes += n;
    offset += n;
  }
}

// One layer of the tail. The sequence is held for that long only, so that a slow reader does not hold up its
// appends; what was there at the first layer is what is read at all.
void GetProducer::ProduceTailLayer(Message* message) {
  auto lock = context_->sequences->Acquire(*ns_, request_.sequence());
  Reason reason = Reason::kNone;
  const absl::Status status = CheckTail(lock, &reason);
  if (status.ok() && tail_tokens_ > 0) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (!group_.has(tensor) || (tensor == Tensor::kK ? request_.without_k() : request_.without_v()))
        continue;
      AddTailRows(static_cast<uint32_t>(blocks_.size()), **lock, tensor, message);
    }
  }
  if (!status.ok()) CountMiss(*context_, reason);
  auto* result = message->response.add_layer_results();
  result->set_block(static_cast<uint32_t>(blocks_.size()));
  result->set_layer(wanted_.layer_begin + layer_);
  result->set_form(v1::FORM_DECODED);
  FillBlockStatus(status, ToProto(reason), result->mutable_status());
  ++layer_;
  tail_done_ = !status.ok() || layer_ == wanted_.layer_count;
}

absl::Status GetProducer::CheckTail(const absl::StatusOr<SequenceLock>& lock, Reason* reason) {
  if (!lock.ok()) {
    *reason = absl::IsAborted(lock.status()) ? Reason::kInProgress : Reason::kNotStored;
    return lock.status();
  }
  const Sequence& sequence = **lock;
  *reason = Reason::kNotStored;
  if (auto status = CheckTailRange(sequence.shard()); !status.ok()) return status;
  if (sequence.sealed().has_value()) {
    return absl::NotFoundError("the sequence is sealed; read its last block by its key");
  }
  if (!tail_committed_.has_value()) {
    tail_committed_ = sequence.committed_tokens();
    tail_tokens_ = sequence.tail_tokens();
  }
  *reason = Reason::kGeneration;
  if (*tail_committed_ != sequence.committed_tokens()) {
    return absl::AbortedError("the tail became a block meanwhile; read that by its key");
  }
  *reason = Reason::kNone;
  return absl::OkStatus();
}

absl::Status GetProducer::CheckTailRange(const ShardRange& held) const {
  if (wanted_.group == held.group && wanted_.head_begin >= held.head_begin &&
      wanted_.head_begin + wanted_.head_count <= held.head_begin + held.head_count &&
      wanted_.layer_begin >= held.layer_begin &&
      wanted_.layer_begin + wanted_.layer_count <= held.layer_begin + held.layer_count) {
    return absl::OkStatus();
  }
  return absl::NotFoundError("the sequence does not hold all of the heads and layers asked for");
}

void GetProducer::AddTailRows(uint32_t index, const Sequence& sequence, Tensor tensor, Message* message) {
  const ShardRange& held = sequence.shard();
  const uint32_t layer = wanted_.layer_begin + layer_;
  const ByteSpan rows = sequence.TailRows(layer - held.layer_begin, tensor);
  const uint64_t head_stride = rows.size() / held.head_count;
  const uint64_t head_bytes = head_stride / sequence.tokens_per_block() * tail_tokens_;
  const uint64_t bytes = head_bytes * wanted_.head_count;
  std::shared_ptr<BufferPool::Buffer> buffer = context_->buffers->Take(bytes);
  for (uint32_t h = 0; h < wanted_.head_count; ++h) {
    const uint64_t from = (wanted_.head_begin - held.head_begin + h) * head_stride;
    std::memcpy(buffer->bytes().data() + h * head_bytes, rows.data() + from, head_bytes);
  }
  v1::GetChunk base;
  base.set_block(index);
  base.set_layer(layer);
  base.set_tensor(kvcompd::ToProto(tensor));
  base.set_form(v1::FORM_DECODED);
  base.set_head_begin(wanted_.head_begin);
  base.set_head_count(wanted_.head_count);
  base.set_tokens(tail_tokens_);
  const ByteSpan values = buffer->bytes().subspan(0, bytes);
  AddPieces(base, values, std::move(buffer), std::nullopt, message);
}

}  // namespace kvcompd::server
