#include "client/sequence_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/namespace_session.h"
#include "client/put_plan.h"
#include "client/unary_call.h"
#include "codec/base/chain_hash.h"
#include "codec/base/crc32c.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"

namespace kvcompd::client {
namespace {

PutResult ResultOf(const v1::PutResult& m) {
  PutResult result;
  result.status = FromBlockStatus(m.status());
  result.reason = m.status().reason();
  result.already_stored = m.already_stored();
  result.generation = FromProto(m.generation());
  result.encoded_bytes = m.encoded_bytes();
  result.raw_bytes = m.raw_bytes();
  return result;
}

Deadline AppendDeadline(NamespaceSession& session, const SequenceOptions& options) {
  return session.core().DeadlineOf(options.deadline_ms, session.core().options().deadlines.append_ms);
}

}  // namespace

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
                         AppendDeadline(*session, options), &request, &response);
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
    auto piece = AppendPiece(at, n, block_keys.subspan(key, keys), place);
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
                                                         const BlockPlace& source) {
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
  SessionCall call(session_, Repeat::kContention, AppendDeadline(*session_, options_));
  for (;;) {
    request.set_namespace_id(call.StartAttempt());
    const grpc::Slice slice = SliceOf(data, memory);
    UnaryBytesReply reply =
        CallUnaryBytes(session_->core().channels().Next(), session_->StreamOptions("Append", call.deadline()),
                       EncodeBulk(request, {&slice, 1}));
    if (!reply.end.status.ok()) {
      if (auto s = call.Next(reply.end.status, reply.end.reopen); !s.ok()) return WithVerb("append", s);
      continue;
    }
    v1::AppendResponse response;
    BulkView no_bulk;
    if (auto s = DecodeBulk(reply.message, &response, &no_bulk); !s.ok()) {
      return absl::InternalError(absl::StrCat("append: the daemon's answer: ", s.message()));
    }
    AppendResult result{.tokens = response.tokens(), .committed_tokens = response.committed_tokens()};
    for (const v1::PutResult& r : response.committed()) result.committed.push_back(ResultOf(r));
    return result;
  }
}

absl::StatusOr<SealResult> SequenceWriter::Seal(const BlockKey& last_key) {
  v1::SealRequest request;
  v1::SealResponse response;
  request.set_sequence(handle_);
  request.set_last_key(std::string(last_key.view()));
  request.set_cache_salt(options_.cache_salt);
  if (auto s = CallUnary(session_, &v1::KvCache::Stub::Seal, "seal", Repeat::kTransport,
                         AppendDeadline(*session_, options_), &request, &response);
      !s.ok()) {
    return s;
  }
  SealResult result{.tokens = response.tokens()};
  if (response.has_last()) result.last = ResultOf(response.last());
  return result;
}

AppendBuffer::AppendBuffer(std::unique_ptr<SequenceWriter> sequence, std::vector<std::string> extra_keys)
    : sequence_(std::move(sequence)),
      extra_keys_(std::move(extra_keys)),
      parent_(sequence_->options().parent) {}

absl::StatusOr<AppendResult> AppendBuffer::Append(std::span<const uint32_t> token_ids,
                                                  const BlockPlace& source) {
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
  auto result = sequence_->Append(tokens_, static_cast<uint32_t>(token_ids.size()), filled, source);
  if (!result.ok()) return result;
  tokens_ += token_ids.size();
  parent_ = parent;
  keys_.insert(keys_.end(), filled.begin(), filled.end());
  tail_ids_.assign(ids.begin() + static_cast<std::ptrdiff_t>(at), ids.end());
  return result;
}

absl::StatusOr<SealResult> AppendBuffer::Seal(bool keep_tail) {
  BlockKey last;
  if (keep_tail && !tail_ids_.empty()) last = ChainHash(parent_, tail_ids_, extra_keys_);
  return sequence_->Seal(last);
}

}  // namespace kvcompd::client
