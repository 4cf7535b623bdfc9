#include "client/sequence_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/async_call.h"
#include "client/namespace_session.h"
#include "client/put_plan.h"
#include "client/put_result.h"
#include "client/unary_call.h"
#include "codec/base/chain_hash.h"
#include "codec/base/crc32c.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"

namespace kvcompd::client {
namespace {

Deadline AppendDeadline(NamespaceSession& session, const SequenceOptions& options) {
  return session.core().DeadlineOf(options.deadline_ms, session.core().options().deadlines.append_ms);
}

}  // namespace

Deadline SequenceWriter::CallDeadline() const { return AppendDeadline(*session_, options_); }

absl::StatusOr<std::unique_ptr<SequenceWriter>> SequenceWriter::Open(
    std::shared_ptr<NamespaceSession> session, SequenceOptions options) {
  auto shard = session->model().ResolveShard(options.shard);
  if (!shard.ok()) return shard.status();
  options.shard = *shard;
  v1::OpenSequenceRequest request;
  v1::OpenSequenceResponse response;
  request.set_parent_key(std::string(options.parent.view()));
  *request.mutable_shard() = ToProto(*shard);
  request.set_ttl_ms(options.ttl_ms);
  request.set_cache_salt(options.cache_salt);
  // A lost answer leaves a sequence without an owner behind; its TTL ends it.
  if (auto s = CallUnary(session, &v1::KvCache::Stub::OpenSequence, "open sequence", Repeat::kTransport,
                         AppendDeadline(*session, options), options.cancel, &request, &response);
      !s.ok()) {
    return s;
  }
  std::unique_ptr<SequenceWriter> writer(new SequenceWriter());
  writer->session_ = std::move(session);
  writer->options_ = std::move(options);
  writer->handle_ = response.sequence();
  writer->ttl_ms_ = response.ttl_ms();
  return writer;
}

uint32_t SequenceWriter::tokens_per_block() const { return session_->model().tokens_per_block; }

absl::StatusOr<AppendResult> SequenceWriter::Append(uint64_t first_token, uint32_t tokens,
                                                    std::span<const BlockKey> block_keys,
                                                    const BlockPlace& source) {
  return AppendUntil(first_token, tokens, block_keys, source, CallDeadline());
}

absl::Status SequenceWriter::AsyncAppend(uint64_t first_token, uint32_t tokens,
                                         std::vector<BlockKey> block_keys, BlockPlace source,
                                         AppendDone done) {
  return SubmitCall(session_->core(), CallDeadline(), options_.cancel, std::move(done),
                    [this, first_token, tokens, block_keys = std::move(block_keys),
                     source = std::move(source)](const Deadline& deadline) {
                      return AppendUntil(first_token, tokens, block_keys, source, deadline);
                    });
}

absl::StatusOr<AppendResult> SequenceWriter::AppendUntil(uint64_t first_token, uint32_t tokens,
                                                         std::span<const BlockKey> block_keys,
                                                         const BlockPlace& source, const Deadline& deadline) {
  const uint32_t per_block = tokens_per_block();
  const uint64_t filled = (first_token + tokens) / per_block - first_token / per_block;
  if (tokens == 0) return absl::InvalidArgumentError("append: no tokens");
  if (block_keys.size() != filled) {
    return absl::InvalidArgumentError(absl::StrCat("append: tokens ", first_token, " to ",
                                                   first_token + tokens, " fill ", filled, " blocks, ",
                                                   block_keys.size(), " keys were given"));
  }
  const AttentionGroup& group = *session_->model().FindGroup(options_.shard.group);
  if (auto s = CheckBuffer(group, options_.shard, source, tokens); !s.ok()) return WithVerb("append", s);
  const uint64_t token_bytes =
      uint64_t{options_.shard.layer_count} * (group.TensorBytes(Tensor::kK, options_.shard.head_count, 1) +
                                              group.TensorBytes(Tensor::kV, options_.shard.head_count, 1));
  uint64_t limit = session_->core().options().message_bytes;
  if (const uint64_t most = session_->state().limits.max_message_bytes(); most > 0)
    limit = std::min(limit, most);
  const uint32_t step = static_cast<uint32_t>(std::clamp<uint64_t>(limit / token_bytes, 1, tokens));
  AppendResult result;
  size_t key = 0;
  for (uint32_t done = 0; done < tokens; done += step) {
    const uint32_t n = std::min(step, tokens - done);
    const uint64_t at = first_token + done;
    const size_t keys = static_cast<size_t>((at + n) / per_block - at / per_block);
    BlockPlace place = source;
    place.first_token += done;
    if (deadline.expired()) {
      return absl::DeadlineExceededError(
          absl::StrCat("append: the deadline passed after ", done, " of ", tokens, " tokens"));
    }
    auto piece = AppendPiece(at, n, block_keys.subspan(key, keys), place, deadline);
    if (!piece.ok()) return piece.status();
    key += keys;
    result.tokens = piece->tokens;
    result.committed_tokens = piece->committed_tokens;
    for (PutResult& r : piece->committed) result.committed.push_back(std::move(r));
  }
  return result;
}

absl::StatusOr<AppendResult> SequenceWriter::AppendPiece(uint64_t first_token, uint32_t tokens,
                                                         std::span<const BlockKey> block_keys,
                                                         const BlockPlace& source, const Deadline& deadline) {
  v1::AppendRequest request;
  request.set_sequence(handle_);
  request.set_first_token(first_token);
  request.set_tokens(tokens);
  request.set_cache_salt(options_.cache_salt);
  for (const BlockKey& key : block_keys) request.add_block_keys(std::string(key.view()));
  const PagedBuffer& buffer = *source.buffer;
  uint64_t total = 0;
  for (Tensor t : {Tensor::kK, Tensor::kV}) {
    if (buffer.has(t)) total += buffer.TensorBytes(t, tokens) * buffer.layers();
  }
  auto memory = std::make_shared_for_overwrite<std::byte[]>(total);
  uint64_t at = 0;
  for (uint32_t layer = 0; layer < buffer.layers(); ++layer) {
    for (Tensor t : {Tensor::kK, Tensor::kV}) {
      if (!buffer.has(t)) continue;
      const MutableByteSpan out(memory.get() + at, buffer.TensorBytes(t, tokens));
      if (auto s = buffer.Gather(source, layer, t, 0, tokens, 0, out); !s.ok()) return WithVerb("append", s);
      at += out.size();
    }
  }
  const ByteSpan data(memory.get(), total);
  request.set_crc32c(Crc32c(data));

  // A repeat may meet its own first attempt, still encoding: that is ABORTED, and safe to try again.
  SessionCall call(session_, Repeat::kContention, deadline, options_.cancel);
  sent_tokens_ = std::max(sent_tokens_, first_token + tokens);
  for (;;) {
    request.set_namespace_id(call.StartAttempt());
    const grpc::Slice slice = SliceOf(data, memory);
    UnaryBytesReply reply = CallUnaryBytes(session_->core().channels().Next(),
                                           session_->StreamOptions("Append", deadline, call.token()),
                                           EncodeBulk(request, {&slice, 1}));
    if (!reply.end.status.ok()) {
      if (auto s = call.Next(reply.end); !s.ok()) return WithVerb("append", s);
      continue;
    }
    v1::AppendResponse response;
    BulkView no_bulk;
    if (auto s = DecodeBulk(reply.message, &response, &no_bulk); !s.ok()) {
      return absl::InternalError(absl::StrCat("append: the daemon's answer: ", s.message()));
    }
    AppendResult result{.tokens = response.tokens(), .committed_tokens = response.committed_tokens()};
    for (const v1::PutResult& r : response.committed()) result.committed.push_back(PutResultOf(r));
    return result;
  }
}

absl::StatusOr<SealResult> SequenceWriter::Seal(const BlockKey& last_key, uint64_t tokens) {
  if (!last_key.empty() && tokens == 0) {
    return absl::InvalidArgumentError("seal: a last_key stands for the tokens of the sequence; say how many");
  }
  v1::SealRequest request;
  v1::SealResponse response;
  request.set_sequence(handle_);
  request.set_last_key(std::string(last_key.view()));
  request.set_cache_salt(options_.cache_salt);
  if (!last_key.empty()) request.set_tokens(tokens);
  // As with Append, a repeat may meet its own first attempt.
  if (auto s = CallUnary(session_, &v1::KvCache::Stub::Seal, "seal", Repeat::kContention, CallDeadline(),
                         options_.cancel, &request, &response);
      !s.ok()) {
    return s;
  }
  SealResult result{.tokens = response.tokens()};
  if (response.has_last()) result.last = PutResultOf(response.last());
  return result;
}

AppendBuffer::AppendBuffer(std::unique_ptr<SequenceWriter> sequence, std::vector<std::string> extra_keys)
    : sequence_(std::move(sequence)),
      extra_keys_(std::move(extra_keys)),
      parent_(sequence_->options().parent) {}

absl::Status AppendBuffer::CheckNext(std::span<const uint32_t> token_ids) const {
  if (token_ids.size() >= pending_ids_.size() &&
      std::equal(pending_ids_.begin(), pending_ids_.end(), token_ids.begin())) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("append: the last one failed, and the daemon may hold its ", pending_ids_.size(),
                   " tokens from token ", tokens_, " on; append those first"));
}

absl::StatusOr<AppendResult> AppendBuffer::Append(std::span<const uint32_t> token_ids,
                                                  const BlockPlace& source) {
  if (busy_) return absl::FailedPreconditionError("append: another one is under way");
  return AppendUntil(token_ids, source, sequence_->CallDeadline());
}

absl::Status AppendBuffer::AsyncAppend(std::vector<uint32_t> token_ids, BlockPlace source, AppendDone done) {
  if (done == nullptr) return absl::InvalidArgumentError("append: there is no callback");
  if (busy_.exchange(true)) return absl::FailedPreconditionError("append: another one is under way");
  const auto release = [this, done = std::move(done)](absl::StatusOr<AppendResult> result) {
    busy_ = false;
    done(std::move(result));
  };
  const absl::Status submitted =
      SubmitCall(sequence_->session_->core(), sequence_->CallDeadline(), sequence_->options().cancel,
                 AppendDone(release),
                 [this, token_ids = std::move(token_ids), source = std::move(source)](
                     const Deadline& deadline) { return AppendUntil(token_ids, source, deadline); });
  if (!submitted.ok()) busy_ = false;
  return submitted;
}

absl::StatusOr<AppendResult> AppendBuffer::AppendUntil(std::span<const uint32_t> token_ids,
                                                       const BlockPlace& source, const Deadline& deadline) {
  if (auto s = CheckNext(token_ids); !s.ok()) return s;
  const size_t per_block = sequence_->tokens_per_block();
  std::vector<uint32_t> ids = tail_ids_;
  ids.insert(ids.end(), token_ids.begin(), token_ids.end());
  std::vector<BlockKey> filled;
  BlockKey parent = parent_;
  size_t at = 0;
  for (; ids.size() - at >= per_block; at += per_block) {
    parent = ChainHash(parent, std::span(ids).subspan(at, per_block), extra_keys_);
    filled.push_back(parent);
  }
  auto result =
      sequence_->AppendUntil(tokens_, static_cast<uint32_t>(token_ids.size()), filled, source, deadline);
  if (!result.ok()) {
    // What was not sent may be something else the next time.
    const uint64_t sent = std::max(sequence_->sent_tokens(), tokens_) - tokens_;
    pending_ids_.assign(token_ids.begin(), token_ids.begin() + static_cast<std::ptrdiff_t>(sent));
    return result;
  }
  pending_ids_.clear();
  tokens_ += token_ids.size();
  parent_ = parent;
  keys_.insert(keys_.end(), filled.begin(), filled.end());
  tail_ids_.assign(ids.begin() + static_cast<std::ptrdiff_t>(at), ids.end());
  return result;
}

absl::StatusOr<SealResult> AppendBuffer::Seal(bool keep_tail) {
  if (busy_) return absl::FailedPreconditionError("seal: an append is under way");
  if (keep_tail && !pending_ids_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("seal: the last append failed, and the daemon may hold its ", pending_ids_.size(),
                     " tokens; append them again, or drop the tail"));
  }
  BlockKey last;
  if (keep_tail && !tail_ids_.empty()) last = ChainHash(parent_, tail_ids_, extra_keys_);
  return sequence_->Seal(last, tokens_);
}

}  // namespace kvcompd::client
