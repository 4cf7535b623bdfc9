#include "server/service/sequence_calls.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/block_encoder.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

void FillResult(const SequenceBlock& block, v1::PutResult* result) {
  result->set_already_stored(block.already_stored);
  *result->mutable_generation() = ToProto(block.generation);
  result->set_encoded_bytes(block.encoded_bytes);
  result->set_raw_bytes(block.raw_bytes);
}

// Values of one layer tensor of the tail, [heads, tail_tokens, channels], into `out`.
void CopyTail(const Sequence& sequence, uint32_t layer_index, Tensor tensor, MutableByteSpan out) {
  const ByteSpan rows = sequence.TailRows(layer_index, tensor);
  const uint64_t stride = rows.size() / sequence.shard().head_count;
  const uint64_t bytes = stride / sequence.tokens_per_block() * sequence.tail_tokens();
  for (uint32_t h = 0; h < sequence.shard().head_count; ++h) {
    std::memcpy(out.data() + h * bytes, rows.data() + h * stride, bytes);
  }
}

// Encodes the tail and commits it as block `key`.
absl::StatusOr<SequenceBlock> CommitTail(ServiceContext& context, Sequence& sequence, const BlockKey& key,
                                         codec::Workspace& ws) {
  const auto& ns = sequence.ns();
  BlockEncoder encoder(ns, key, sequence.shard(), sequence.tail_tokens(), ns->policy().profile,
                       context.encode_threads);
  PutReply put = context.store->BeginPut(ns, {.key = key,
                                              .parent = sequence.parent(),
                                              .shard = sequence.shard(),
                                              .tokens = sequence.tail_tokens(),
                                              .bound_bytes = encoder.memory_bytes(),
                                              .put_id = ""});
  switch (put.verdict) {
    case PutVerdict::kAlreadyStored:
      return SequenceBlock{key, put.generation, put.encoded_bytes, put.raw_bytes, /*already_stored=*/true};
    case PutVerdict::kInProgress:
      return absl::AbortedError("another put of this block is under way; repeat this call");
    case PutVerdict::kRefused:
      return WithReason(put.status, put.reason);
    case PutVerdict::kWanted:
      break;
  }
  const MutableByteSpan memory = put.staging->memory();
  while (!encoder.complete()) {
    const uint32_t s = encoder.next_segment();
    CopyTail(sequence, encoder.segment_layer(s), encoder.segment_tensor(s), encoder.AssemblyArea(memory));
    if (auto status = encoder.EncodeNext(memory, ws); !status.ok()) return status;
  }
  auto info = encoder.Finish(memory);
  if (!info.ok()) return info.status();
  auto commit = context.store->Commit(std::move(put.staging), *info);
  if (!commit.ok()) return commit.status();
  return SequenceBlock{key, commit->generation, info->bytes, info->raw_bytes, commit->already_stored};
}

// Keys of the blocks that an append fills, as the store uses them.
absl::StatusOr<std::vector<BlockKey>> FilledKeys(const v1::AppendRequest& request,
                                                 uint32_t tokens_per_block) {
  const uint64_t first = request.first_token() / tokens_per_block;
  const uint64_t end = (request.first_token() + request.tokens()) / tokens_per_block;
  if (static_cast<uint64_t>(request.block_keys_size()) != end - first) {
    return absl::InvalidArgumentError(absl::StrCat("this append fills ", end - first,
                                                   " blocks, block_keys names ", request.block_keys_size()));
  }
  return KeysFromProto(request.block_keys(), request.cache_salt());
}

// What an earlier attempt at this append committed, and whose answer may have been lost.
absl::Status TellCommitted(const Sequence& sequence, uint64_t first_block, const std::vector<BlockKey>& keys,
                           v1::AppendResponse* response) {
  const uint64_t committed = sequence.committed_tokens() / sequence.tokens_per_block();
  for (uint64_t block = first_block; block < committed && block - first_block < keys.size(); ++block) {
    const SequenceBlock* known = sequence.Committed(block);
    if (known == nullptr) continue;
    if (known->key != keys[block - first_block]) {
      return absl::FailedPreconditionError(absl::StrCat(
          "block ", block, " of the sequence is committed under another key; seal it and open another"));
    }
    auto* result = response->add_committed();
    FillResult(*known, result);
    result->set_block(static_cast<uint32_t>(block - first_block));
    result->set_already_stored(true);
  }
  return absl::OkStatus();
}

absl::Status AppendRows(ServiceContext& context, const v1::AppendRequest& request, ByteSpan data,
                        const std::shared_ptr<Namespace>& ns, codec::Workspace& ws,
                        v1::AppendResponse* response) {
  const uint32_t tokens_per_block = ns->descriptor().tokens_per_block;
  if (request.tokens() == 0) return absl::InvalidArgumentError("an append brings at least one token");
  if (request.first_token() > UINT64_MAX - request.tokens())
    return absl::InvalidArgumentError("first_token is too large");
  auto keys = FilledKeys(request, tokens_per_block);
  if (!keys.ok()) return keys.status();
  auto lock = context.sequences->Acquire(*ns, request.sequence());
  if (!lock.ok()) return lock.status();
  Sequence& sequence = **lock;
  const uint64_t end = request.first_token() + request.tokens();
  const uint64_t first_block = request.first_token() / tokens_per_block;
  if (auto status = TellCommitted(sequence, first_block, *keys, response); !status.ok()) {
    return WithReason(status, Reason::kWrongPlace);
  }
  do {
    Reason reason = Reason::kNone;
    auto copied = sequence.Append(request.first_token(), request.tokens(), data, &reason);
    if (!copied.ok()) return WithReason(copied.status(), reason);
    sequence.ForgetBefore(first_block);
    if (!sequence.tail_full()) break;
    const uint64_t block = sequence.committed_tokens() / tokens_per_block;
    if (block < first_block || block - first_block >= keys->size()) {
      // All that this append brings is held, and the one after it, which has the key, commits the block.
      if (sequence.tokens() >= end) break;
      return WithReason(absl::FailedPreconditionError(absl::StrCat(
                            "block ", block,
                            " of the sequence is full and not committed; repeat the append that filled it")),
                        Reason::kIncomplete);
    }
    auto committed = CommitTail(context, sequence, (*keys)[block - first_block], ws);
    if (!committed.ok()) return committed.status();
    auto* result = response->add_committed();
    FillResult(*committed, result);
    result->set_block(static_cast<uint32_t>(block - first_block));
    sequence.TailCommitted(*committed);
  } while (sequence.tokens() < end);
  lock->Renew();
  response->set_tokens(sequence.tokens());
  response->set_committed_tokens(sequence.committed_tokens());
  return absl::OkStatus();
}

// FAILED_PRECONDITION where the sequence was sealed otherwise, or does not hold the tokens that the last key
// stands for.
absl::Status CheckSeal(const Sequence& sequence, const BlockKey& last_key, uint64_t tokens) {
  if (sequence.sealed().has_value()) {
    if (sequence.sealed()->last_key == last_key) return absl::OkStatus();
    return absl::FailedPreconditionError("the sequence is sealed already, with another last key");
  }
  if (last_key.empty() || tokens == sequence.tokens()) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("last_key stands for ", tokens, " tokens, the sequence has ",
                                                 sequence.tokens(), "; append the rest, or drop the tail")),
      Reason::kGap);
}

absl::Status SealSequence(ServiceContext& context, SequenceLock& lock, const BlockKey& last_key,
                          codec::Workspace& ws) {
  Sequence& sequence = *lock;
  SealRecord record{.last_key = last_key, .tokens = sequence.committed_tokens()};
  if (sequence.tail_tokens() > 0 && !last_key.empty()) {
    record.tokens = sequence.tokens();
    auto last = CommitTail(context, sequence, last_key, ws);
    if (!last.ok()) return last.status();
    record.last = *last;
  }
  sequence.Seal(std::move(record));
  lock.Renew();
  return absl::OkStatus();
}

// Runs `work` on the pool and answers with its status.
void OnPool(ServiceContext& context, std::function<absl::Status(codec::Workspace&)> work, DoneFn done) {
  auto shared_done = std::make_shared<DoneFn>(std::move(done));
  const bool taken = context.pool->TrySubmit(
      WorkerPool::Priority::kWrite,
      [work = std::move(work), shared_done](codec::Workspace& ws) { (*shared_done)(work(ws)); });
  if (taken) return;
  (*shared_done)(absl::ResourceExhaustedError("the daemon has too much to do; try again later"));
}

}  // namespace

absl::Status OpenSequence(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::OpenSequenceRequest& request, v1::OpenSequenceResponse* response) {
  if (auto status = CheckNotDraining(context, call); !status.ok()) return status;
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  auto shard = (*ns)->descriptor().ResolveShard(FromProto(request.shard()));
  if (!shard.ok()) return shard.status();
  BlockKey parent;
  if (!request.parent_key().empty()) {
    auto key = KeyFromProto(request.parent_key(), request.cache_salt());
    if (!key.ok()) return key.status();
    parent = *key;
  }
  auto opened = context.sequences->Open(*ns, parent, *shard, request.ttl_ms());
  if (!opened.ok()) return opened.status();
  response->set_sequence(opened->handle);
  response->set_ttl_ms(opened->ttl_ms);
  return absl::OkStatus();
}

void Append(ServiceContext& context, grpc::CallbackServerContext* call, const grpc::ByteBuffer& buffer,
            grpc::ByteBuffer* response, DoneFn done) {
  auto request = std::make_shared<v1::AppendRequest>();
  BulkView bulk;
  if (auto status = DecodeBulk(buffer, request.get(), &bulk); !status.ok()) return done(status);
  auto ns = ResolveNamespace(context, request->namespace_id(), call);
  if (!ns.ok()) return done(ns.status());
  if (bulk.bytes() > context.options.max_chunk_bytes) {
    return done(
        absl::ResourceExhaustedError(absl::StrCat(bulk.bytes(), " bytes in one append; the limit is ",
                                                  context.options.max_chunk_bytes, ": append fewer tokens")));
  }
  // The message as it came, and its values as they are copied out of it.
  auto memory = context.messages->Take(2 * bulk.bytes(), 2 * bulk.bytes());
  if (memory.bytes() < 2 * bulk.bytes()) return done(NoMessageMemory());
  OnPool(
      context,
      [&context, request, bulk = std::move(bulk), ns = *std::move(ns), response,
       memory = std::make_shared<MessageBudget::Share>(std::move(memory))](codec::Workspace& ws) {
        auto values = context.buffers->Take(bulk.bytes());
        if (bulk.CopyWithCrc32c(values->bytes().data()) != request->crc32c()) {
          return absl::DataLossError("the appended bytes do not match their CRC32C; send them again");
        }
        v1::AppendResponse reply;
        const absl::Status status =
            AppendRows(context, *request, values->bytes().subspan(0, bulk.bytes()), ns, ws, &reply);
        if (status.ok()) *response = EncodeBulk(reply, {});
        return status;
      },
      std::move(done));
}

void Seal(ServiceContext& context, grpc::CallbackServerContext* call, const v1::SealRequest& request,
          v1::SealResponse* response, DoneFn done) {
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return done(ns.status());
  BlockKey key;
  if (!request.last_key().empty()) {
    auto parsed = KeyFromProto(request.last_key(), request.cache_salt());
    if (!parsed.ok()) return done(parsed.status());
    key = *parsed;
  }
  OnPool(
      context,
      [&context, ns = *std::move(ns), handle = request.sequence(), key, tokens = request.tokens(),
       response](codec::Workspace& ws) {
        auto lock = context.sequences->Acquire(*ns, handle);
        if (!lock.ok()) return lock.status();
        Sequence& sequence = **lock;
        if (auto status = CheckSeal(sequence, key, tokens); !status.ok()) return status;
        const bool again = sequence.sealed().has_value();
        if (!again) {
          if (auto status = SealSequence(context, *lock, key, ws); !status.ok()) return status;
        }
        const SealRecord& record = *sequence.sealed();
        response->set_tokens(record.tokens);
        if (record.last.has_value()) {
          FillResult(*record.last, response->mutable_last());
          if (again) response->mutable_last()->set_already_stored(true);
        }
        return absl::OkStatus();
      },
      std::move(done));
}

}  // namespace kvcompd::server
