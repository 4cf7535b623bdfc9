#include "client/put_stream.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/container_builder.h"
#include "client/namespace_session.h"
#include "client/put_plan.h"
#include "client/put_result.h"
#include "client/unary_call.h"
#include "codec/base/chain_hash.h"
#include "codec/base/crc32c.h"
#include "proto/bulk.h"
#include "proto/convert.h"

namespace kvcompd::client {
namespace {

constexpr int kMaxChunksPerMessage = 4096;  // keeps what stands beside the bulk bytes far below its limit

std::shared_ptr<std::byte[]> NewBytes(uint64_t n) { return std::make_shared_for_overwrite<std::byte[]>(n); }

}  // namespace

struct PutStream::Impl {
  struct Block {
    PutBlock info;
    bool wanted = false;
    bool committed = false;  // Commit was sent
    std::optional<PutResult> result;
    std::unique_ptr<ContainerBuilder> builder;  // kEncoded, where this end encodes
  };

  std::shared_ptr<NamespaceSession> session;
  std::shared_ptr<CallScope> scope;  // outlives the stream
  PutPlan plan;
  std::vector<Block> blocks;
  std::unique_ptr<ByteStream> stream;
  bool header_seen = false;
  uint64_t credit = 0;
  uint64_t piece_limit = 0;
  uint32_t next_layer = 0;
  v1::PutRequest pending;
  std::vector<grpc::Slice> slices;
  uint64_t pending_bytes = 0;
  std::optional<ByteStream::End> end;  // the stream is over

  absl::Status Open(const std::string& namespace_id, const Deadline& deadline);
  absl::Status HandleResponse(const grpc::ByteBuffer& buffer);
  absl::Status HandleHeaderReply(const v1::PutHeaderReply& reply);
  absl::Status Over();
  absl::Status DrainResponses();
  absl::Status Flush();
  absl::Status AddPiece(const v1::PutChunk& chunk, grpc::Slice slice);
  absl::Status AddPart(const v1::PutChunk& base, ByteSpan bytes, const std::shared_ptr<const void>& owner);
  absl::Status AddCopiedPart(const v1::PutChunk& base, ByteSpan bytes);
  absl::Status CheckLayer(uint32_t layer, size_t places) const;
  absl::Status EndLayer();
  v1::PutChunk ChunkOf(uint32_t block, uint32_t layer, Tensor tensor) const;
  absl::Status SendDecoded(uint32_t block, uint32_t layer, Tensor tensor, const BlockPlace& place);
  absl::Status SendEncodedLayer(uint32_t layer, std::span<const BlockPlace> places);
  bool last_layer(uint32_t layer) const { return layer + 1 == plan.shard.layer_count; }
};

absl::Status PutStream::Impl::Open(const std::string& namespace_id, const Deadline& deadline) {
  v1::PutRequest request;
  v1::PutHeader* header = request.mutable_header();
  header->set_namespace_id(namespace_id);
  header->set_put_id(plan.put_id);
  *header->mutable_shard() = ToProto(plan.shard);
  header->set_cache_salt(plan.options.cache_salt);
  header->set_form(plan.options.form == Form::kEncoded ? v1::FORM_ENCODED : v1::FORM_DECODED);
  if (plan.options.form == Form::kEncoded) {
    header->set_profile(plan.profile.Text());
    if (!plan.codebook_set.IsZero()) header->set_codebook_set(std::string(plan.codebook_set.view()));
  }
  for (const Block& block : blocks) {
    v1::PutBlock* b = header->add_blocks();
    b->set_key(std::string(block.info.key.view()));
    b->set_parent_key(std::string(block.info.parent.view()));
    b->set_tokens(block.info.tokens);
  }
  stream = ByteStream::Start(session->core().channels().Next(),
                             session->StreamOptions("Put", deadline, scope->token()));
  if (!stream->Write(EncodeBulk(request, {}))) return Over();
  while (!header_seen) {
    grpc::ByteBuffer buffer;
    if (!stream->Read(&buffer)) return Over();
    if (auto status = HandleResponse(buffer); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PutStream::Impl::HandleHeaderReply(const v1::PutHeaderReply& reply) {
  if (header_seen || reply.blocks_size() != static_cast<int>(blocks.size())) {
    return absl::InternalError("the daemon's reply to the put's header does not fit it");
  }
  header_seen = true;
  session->LearnProfile(reply.profile());
  credit += reply.credit_bytes();
  const v1::Limits limits = session->state().limits;
  piece_limit = session->core().options().message_bytes;
  if (limits.max_message_bytes() > 0) piece_limit = std::min(piece_limit, limits.max_message_bytes());
  // A daemon may give credit back in portions of a part of its window: half of it always comes.
  if (reply.credit_bytes() > 0)
    piece_limit = std::min(piece_limit, std::max<uint64_t>(1, reply.credit_bytes() / 2));
  for (int i = 0; i < reply.blocks_size(); ++i) {
    const v1::PutDisposition& disposition = reply.blocks(i);
    Block& block = blocks[i];
    block.wanted = disposition.verdict() == v1::PutDisposition::WANTED;
    if (block.wanted) continue;
    block.result = PutResultOf(disposition);
  }
  return absl::OkStatus();
}

absl::Status PutStream::Impl::HandleResponse(const grpc::ByteBuffer& buffer) {
  v1::PutResponse response;
  BulkView no_bulk;
  absl::Status status = DecodeBulk(buffer, &response, &no_bulk);
  if (!status.ok()) status = absl::InternalError(absl::StrCat("the daemon's answer: ", status.message()));
  if (status.ok() && response.has_header()) status = HandleHeaderReply(response.header());
  if (status.ok()) {
    credit += response.credit_bytes();
    for (const v1::PutResult& result : response.results()) {
      if (result.block() >= blocks.size()) {
        status = absl::InternalError("the daemon's result is of a block that the put does not have");
        break;
      }
      Block& block = blocks[result.block()];
      block.wanted = false;
      block.builder = nullptr;
      if (!block.result.has_value()) block.result = PutResultOf(result);
    }
  }
  if (!status.ok()) {
    stream->Cancel();
    end = ByteStream::End{.status = status};
  }
  return status;
}

// The stream ended by itself.
absl::Status PutStream::Impl::Over() {
  if (!end.has_value()) {
    end = stream->Finish();
    if (end->status.ok())
      end->status = absl::InternalError("the daemon ended the put before it was complete");
  }
  return end->status;
}

absl::Status PutStream::Impl::DrainResponses() {
  grpc::ByteBuffer buffer;
  while (stream->TryRead(&buffer)) {
    if (auto status = HandleResponse(buffer); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PutStream::Impl::Flush() {
  if (end.has_value()) return end->status;
  if (pending.chunks().empty() && !pending.has_commit()) return absl::OkStatus();
  if (auto status = DrainResponses(); !status.ok()) return status;
  while (credit < pending_bytes) {
    grpc::ByteBuffer buffer;
    if (!stream->Read(&buffer)) return Over();
    if (auto status = HandleResponse(buffer); !status.ok()) return status;
  }
  credit -= pending_bytes;
  const bool written = stream->Write(EncodeBulk(pending, slices));
  pending.Clear();
  slices.clear();
  pending_bytes = 0;
  if (written) return absl::OkStatus();
  // What came before the end may hold results that count.
  grpc::ByteBuffer buffer;
  while (stream->Read(&buffer)) {
    if (auto status = HandleResponse(buffer); !status.ok()) return status;
  }
  return Over();
}

absl::Status PutStream::Impl::AddPiece(const v1::PutChunk& chunk, grpc::Slice slice) {
  const uint64_t bytes = slice.size();
  if (pending_bytes + bytes > piece_limit || pending.chunks_size() >= kMaxChunksPerMessage) {
    if (auto status = Flush(); !status.ok()) return status;
  }
  *pending.add_chunks() = chunk;
  slices.push_back(std::move(slice));
  pending_bytes += bytes;
  return absl::OkStatus();
}

absl::Status PutStream::Impl::AddPart(const v1::PutChunk& base, ByteSpan bytes,
                                      const std::shared_ptr<const void>& owner) {
  for (uint64_t offset = 0; offset < bytes.size();) {
    const ByteSpan piece = bytes.subspan(offset, std::min<uint64_t>(piece_limit, bytes.size() - offset));
    v1::PutChunk chunk = base;
    chunk.set_offset(offset);
    chunk.set_bytes(piece.size());
    chunk.set_total_bytes(bytes.size());
    chunk.set_crc32c(Crc32c(piece));
    if (auto status = AddPiece(chunk, SliceOf(piece, owner)); !status.ok()) return status;
    offset += piece.size();
  }
  return absl::OkStatus();
}

absl::Status PutStream::Impl::AddCopiedPart(const v1::PutChunk& base, ByteSpan bytes) {
  auto copy = NewBytes(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return AddPart(base, {copy.get(), bytes.size()}, copy);
}

absl::Status PutStream::Impl::CheckLayer(uint32_t layer, size_t places) const {
  if (end.has_value()) return end->status;
  if (places != blocks.size()) {
    return absl::InvalidArgumentError(absl::StrCat(places, " places for ", blocks.size(), " blocks"));
  }
  if (layer != next_layer || layer >= plan.shard.layer_count) {
    return absl::FailedPreconditionError(absl::StrCat("layer ", layer, " is pushed where layer ", next_layer,
                                                      " of ", plan.shard.layer_count, " comes next"));
  }
  return absl::OkStatus();
}

absl::Status PutStream::Impl::EndLayer() {
  ++next_layer;
  return plan.flush_each_layer ? Flush() : absl::OkStatus();
}

v1::PutChunk PutStream::Impl::ChunkOf(uint32_t block, uint32_t layer, Tensor tensor) const {
  v1::PutChunk chunk;
  chunk.set_block(block);
  chunk.set_layer(plan.shard.layer_begin + layer);
  chunk.set_tensor(ToProto(tensor));
  return chunk;
}

absl::Status PutStream::Impl::SendDecoded(uint32_t block, uint32_t layer, Tensor tensor,
                                          const BlockPlace& place) {
  const uint32_t tokens = blocks[block].info.tokens;
  const uint64_t total = place.buffer->TensorBytes(tensor, tokens);
  v1::PutChunk chunk = ChunkOf(block, layer, tensor);
  chunk.set_total_bytes(total);
  for (uint64_t offset = 0; offset < total;) {
    const uint64_t n = std::min(piece_limit, total - offset);
    auto memory = NewBytes(n);
    const MutableByteSpan piece(memory.get(), n);
    if (auto s = place.buffer->Gather(place, layer, tensor, 0, tokens, offset, piece); !s.ok()) return s;
    chunk.set_offset(offset);
    chunk.set_bytes(n);
    chunk.set_crc32c(Crc32c(piece));
    if (auto s = AddPiece(chunk, SliceOf(piece, memory)); !s.ok()) return s;
    offset += n;
  }
  return absl::OkStatus();
}

// Encodes a few segments side by side, then hands them on in order, and so on.
absl::Status PutStream::Impl::SendEncodedLayer(uint32_t layer, std::span<const BlockPlace> places) {
  struct Task {
    uint32_t block = 0;
    Tensor tensor = Tensor::kK;
    absl::StatusOr<ContainerBuilder::Segment> segment = absl::UnknownError("not encoded");
  };
  std::vector<Task> tasks;
  for (uint32_t i = 0; i < blocks.size(); ++i) {
    if (!blocks[i].wanted) continue;
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (plan.group.has(tensor)) tasks.push_back({.block = i, .tensor = tensor});
    }
  }
  const size_t step = size_t{2} * session->core().options().codec_threads;
  for (size_t begin = 0; begin < tasks.size(); begin += step) {
    const std::span<Task> some = std::span(tasks).subspan(begin, std::min(step, tasks.size() - begin));
    ParallelFor(&session->core().codec_pool(), some.size(), [&](size_t i) {
      Task& task = some[i];
      const Block& block = blocks[task.block];
      if (block.builder == nullptr) return;
      const BlockPlace& place = places[task.block];
      std::vector<std::byte> values(place.buffer->TensorBytes(task.tensor, block.info.tokens));
      const absl::Status s = place.buffer->Gather(place, layer, task.tensor, 0, block.info.tokens, 0, values);
      task.segment = s.ok() ? block.builder->Encode(layer, task.tensor, values) : s;
    });
    for (Task& task : some) {
      Block& block = blocks[task.block];
      if (!block.wanted || block.builder == nullptr) continue;  // failed at the daemon meanwhile
      if (!task.segment.ok()) return task.segment.status();
      v1::PutChunk chunk = ChunkOf(task.block, layer, task.tensor);
      if (layer == 0 && task.tensor == Tensor::kK) {
        chunk.set_container_part(v1::CONTAINER_HEADER);
        if (auto s = AddCopiedPart(chunk, AsBytes(block.builder->header_bytes())); !s.ok()) return s;
        if (block.builder == nullptr) continue;
      }
      block.builder->Account(*task.segment);
      const bool last = last_layer(layer) && (task.tensor == Tensor::kV || !plan.group.has(Tensor::kV));
      const std::string footer = last ? block.builder->Footer() : "";
      chunk.set_container_part(v1::CONTAINER_SEGMENT);
      if (auto s = AddPart(chunk, task.segment->span(), task.segment->memory); !s.ok()) return s;
      chunk.set_container_part(v1::CONTAINER_FOOTER);
      if (auto s = AddCopiedPart(chunk, AsBytes(footer)); !s.ok()) return s;
    }
  }
  return absl::OkStatus();
}

PutStream::PutStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PutStream::~PutStream() = default;

absl::StatusOr<std::unique_ptr<PutStream>> PutStream::TryOpen(std::shared_ptr<NamespaceSession> session,
                                                              SessionCall* call, const PutPlan& plan,
                                                              std::vector<PutBlock> blocks,
                                                              ByteStream::End* end) {
  auto impl = std::make_unique<Impl>();
  impl->plan = plan;
  for (PutBlock& block : blocks) {
    Impl::Block& b = impl->blocks.emplace_back();
    if (plan.codec != nullptr) {
      b.builder = std::make_unique<ContainerBuilder>(
          plan, session->fingerprint(), SaltedKey(block.key, plan.options.cache_salt), block.tokens);
    }
    b.info = std::move(block);
  }
  impl->session = std::move(session);
  impl->scope = call->scope();
  const absl::Status status = impl->Open(call->StartAttempt(), call->deadline());
  *end = impl->end.value_or(ByteStream::End{.status = status});
  if (!status.ok()) return status;
  return std::unique_ptr<PutStream>(new PutStream(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<PutStream>> PutStream::Open(std::shared_ptr<NamespaceSession> session,
                                                           std::vector<PutBlock> blocks, PutOptions options) {
  if (auto status = CheckPutBlocks(session->model(), blocks); !status.ok()) return status;
  const uint32_t limit = session->state().limits.max_blocks();
  if (limit > 0 && blocks.size() > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(blocks.size(), " blocks in one put, the daemon takes ", limit));
  }
  const Deadline deadline = PutDeadline(*session, options);
  auto plan = MakePutPlan(*session, options, deadline, options.cancel);
  if (!plan.ok()) return plan.status();
  SessionCall call(session, Repeat::kContention, deadline, options.cancel);
  PutMender mender(session, deadline, options.cancel);
  for (;;) {
    ByteStream::End end;
    auto stream = TryOpen(session, &call, *plan, blocks, &end);
    if (!stream.ok()) {
      if (auto next = call.Next(end); !next.ok()) return WithVerb("put", next);
      continue;
    }
    const v1::Reason reason = (*stream)->MendableReason(mender);
    if (reason == v1::REASON_UNSPECIFIED) return stream;
    auto mended = mender.Mend(&*plan, reason);
    if (!mended.ok()) return WithVerb("put", mended.status());
    if (!*mended) return stream;
  }
}

Deadline PutDeadline(NamespaceSession& session, const PutOptions& options) {
  return session.core().DeadlineOf(options.deadline_ms, session.core().options().deadlines.put_ms);
}

v1::Reason PutStream::MendableReason(const PutMender& mender) const {
  for (const Impl::Block& block : impl_->blocks) {
    if (block.result.has_value() && !block.result->status.ok() &&
        mender.CanMend(impl_->plan, block.result->reason)) {
      return block.result->reason;
    }
  }
  return v1::REASON_UNSPECIFIED;
}

void PutStream::Cancel() { impl_->scope->token()->Cancel(); }

uint32_t PutStream::layers() const { return impl_->plan.shard.layer_count; }
const std::string& PutStream::put_id() const { return impl_->plan.put_id; }
bool PutStream::wanted(uint32_t block) const {
  return block < impl_->blocks.size() && impl_->blocks[block].wanted;
}
bool PutStream::settled(uint32_t block) const {
  return block < impl_->blocks.size() && impl_->blocks[block].result.has_value();
}
ByteStream::End PutStream::EndWith(const absl::Status& status) const {
  ByteStream::End end = impl_->end.value_or(ByteStream::End{});
  end.status = status;
  return end;
}

absl::Status PutStream::PushLayer(uint32_t layer, std::span<const BlockPlace> places) {
  if (auto s = impl_->CheckLayer(layer, places.size()); !s.ok()) return s;
  if (auto s = impl_->DrainResponses(); !s.ok()) return s;
  for (uint32_t i = 0; i < places.size(); ++i) {
    if (!impl_->blocks[i].wanted) continue;
    const absl::Status s =
        CheckBuffer(impl_->plan.group, impl_->plan.shard, places[i], impl_->blocks[i].info.tokens);
    if (!s.ok()) return absl::InvalidArgumentError(absl::StrCat("places[", i, "]: ", s.message()));
  }
  if (impl_->plan.options.form == Form::kEncoded) {
    if (auto s = impl_->SendEncodedLayer(layer, places); !s.ok()) return s;
    return impl_->EndLayer();
  }
  for (uint32_t i = 0; i < places.size(); ++i) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (!impl_->blocks[i].wanted || !impl_->plan.group.has(tensor)) continue;
      if (auto s = impl_->SendDecoded(i, layer, tensor, places[i]); !s.ok()) return s;
    }
  }
  return impl_->EndLayer();
}

absl::Status PutStream::PushContainerLayer(uint32_t layer,
                                           std::span<const codec::ContainerView* const> containers) {
  if (auto s = impl_->CheckLayer(layer, containers.size()); !s.ok()) return s;
  for (uint32_t i = 0; i < containers.size(); ++i) {
    if (!impl_->blocks[i].wanted) continue;
    const codec::ContainerView& view = *containers[i];
    v1::PutChunk chunk = impl_->ChunkOf(i, layer, Tensor::kK);
    if (layer == 0) {
      chunk.set_container_part(v1::CONTAINER_HEADER);
      if (auto s = impl_->AddCopiedPart(chunk, view.header_bytes()); !s.ok()) return s;
    }
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      if (!impl_->plan.group.has(tensor)) continue;
      chunk = impl_->ChunkOf(i, layer, tensor);
      chunk.set_container_part(v1::CONTAINER_SEGMENT);
      const ByteSpan segment = view.SegmentBytes(view.header().segment_index(layer, tensor));
      if (auto s = impl_->AddCopiedPart(chunk, segment); !s.ok()) return s;
    }
    if (!impl_->last_layer(layer)) continue;
    chunk.set_container_part(v1::CONTAINER_FOOTER);
    if (auto s = impl_->AddCopiedPart(chunk, view.footer_bytes()); !s.ok()) return s;
  }
  return impl_->EndLayer();
}

absl::Status PutStream::Commit(std::span<const uint32_t> blocks) {
  if (impl_->end.has_value()) return impl_->end->status;
  for (uint32_t i : blocks) {
    if (i >= impl_->blocks.size())
      return absl::InvalidArgumentError(absl::StrCat("the put has no block ", i));
    if (impl_->next_layer < layers()) {
      return absl::FailedPreconditionError(
          absl::StrCat("block ", i, " has ", impl_->next_layer, " of ", layers(), " layers"));
    }
    Impl::Block& block = impl_->blocks[i];
    if (!block.wanted || block.committed) continue;
    block.committed = true;
    impl_->pending.mutable_commit()->add_blocks(i);
  }
  return impl_->Flush();
}

absl::StatusOr<std::vector<PutResult>> PutStream::Finish() {
  Impl& impl = *impl_;
  if (!impl.end.has_value() && impl.next_layer == layers()) {
    std::vector<uint32_t> all(impl.blocks.size());
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
    if (auto s = Commit(all); !s.ok()) return s;
  }
  if (!impl.end.has_value()) {
    impl.stream->WritesDone();
    grpc::ByteBuffer buffer;
    while (impl.stream->Read(&buffer)) {
      if (auto s = impl.HandleResponse(buffer); !s.ok()) return s;
    }
    impl.end = impl.stream->Finish();
  }
  const bool open = std::any_of(impl.blocks.begin(), impl.blocks.end(),
                                [](const Impl::Block& b) { return !b.result.has_value(); });
  if (open && !impl.end->status.ok()) return impl.end->status;
  return results();
}

std::vector<PutResult> PutStream::results() const {
  std::vector<PutResult> out;
  out.reserve(impl_->blocks.size());
  for (const Impl::Block& block : impl_->blocks) {
    if (block.result.has_value()) {
      out.push_back(*block.result);
    } else if (block.committed) {
      out.push_back({.status = absl::InternalError("the daemon did not say what became of the block")});
    } else {
      out.push_back(
          {.status = absl::CancelledError("the block was not sent whole"), .reason = v1::REASON_INCOMPLETE});
    }
  }
  return out;
}

}  // namespace kvcompd::client
