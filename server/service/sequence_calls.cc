#include "server/service/sequence_calls.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/block_encoder.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

// The sequence for this call alone. ABORTED while another call has it: appends of one sequence come one by
// one.
absl::StatusOr<SequenceLock> Acquire(ServiceContext& context, const Namespace& ns,
                                     const std::string& handle) {
  auto lock = context.sequences->Acquire(ns, handle, absl::ZeroDuration());
  if (lock.ok() || !absl::IsDeadlineExceeded(lock.status())) return lock;
  return absl::AbortedError("another call is using this sequence; repeat this one when it has ended");
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
absl::Status CommitTail(ServiceContext& context, Sequence& sequence, const BlockKey& key,
                        codec::Workspace& ws, v1::PutResult* result) {
  const auto& ns = sequence.ns();
  BlockEncoder encoder(ns, key, sequence.shard(), sequence.tail_tokens(), ns->policy().profile);
  PutReply put = context.store->BeginPut(ns, {.key = key,
                                              .parent = sequence.parent(),
                                              .shard = sequence.shard(),
                                              .tokens = sequence.tail_tokens(),
                                              .bound_bytes = encoder.memory_bytes(),
                                              .put_id = ""});
  switch (put.verdict) {
    case PutVerdict::kAlreadyStored:
      result->set_already_stored(true);
      *result->mutable_generation() = ToProto(put.generation);
      return absl::OkStatus();
    case PutVerdict::kInProgress:
      return absl::AbortedError("another put of this block is under way; repeat the append");
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
  result->set_already_stored(commit->already_stored);
  *result->mutable_generation() = ToProto(commit->generation);
  result->set_encoded_bytes(info->bytes);
  result->set_raw_bytes(info->raw_bytes);
  return absl::OkStatus();
}

// Keys of the blocks that an append fills, as the store uses them. The salt was given with OpenSequence, so
// the client sends salted keys here; see kvcache.proto.
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

absl::Status AppendRows(ServiceContext& context, const v1::AppendRequest& request, ByteSpan data,
                        const std::shared_ptr<Namespace>& ns, codec::Workspace& ws,
                        v1::AppendResponse* response) {
  const uint32_t tokens_per_block = ns->descriptor().tokens_per_block;
  if (request.tokens() == 0) return absl::InvalidArgumentError("an append brings at least one token");
  if (request.first_token() > UINT64_MAX - request.tokens())
    return absl::InvalidArgumentError("first_token is too large");
  auto keys = FilledKeys(request, tokens_per_block);
  if (!keys.ok()) return keys.status();
  auto lock = Acquire(context, *ns, request.sequence());
  if (!lock.ok()) return lock.status();
  Sequence& sequence = **lock;
  const uint64_t end = request.first_token() + request.tokens();
  do {
    auto copied = sequence.Append(request.first_token(), request.tokens(), data);
    if (absl::IsFailedPrecondition(copied.status())) return WithReason(copied.status(), Reason::kGap);
    if (!copied.ok()) return copied.status();
    if (!sequence.tail_full()) break;
    const uint64_t block = sequence.committed_tokens() / tokens_per_block;
    const uint64_t first_block = request.first_token() / tokens_per_block;
    if (block < first_block || block - first_block >= keys->size()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "block ", block, " of the sequence is full and not committed; repeat the append that filled it"));
    }
    auto* result = response->add_committed();
    const BlockKey& key = (*keys)[block - first_block];
    if (auto status = CommitTail(context, sequence, key, ws, result); !status.ok()) return status;
    result->set_block(static_cast<uint32_t>(block - first_block));
    sequence.TailCommitted(key);
  } while (sequence.tokens() < end);
  response->set_tokens(sequence.tokens());
  response->set_committed_tokens(sequence.committed_tokens());
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
  if (auto status = CheckNotDraining(context); !status.ok()) return status;
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
  OnPool(
      context,
      [&context, request, bulk = std::move(bulk), ns = *std::move(ns), response](codec::Workspace& ws) {
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
      [&context, ns = *std::move(ns), handle = request.sequence(), key, response](codec::Workspace& ws) {
        auto lock = Acquire(context, *ns, handle);
        if (!lock.ok()) return lock.status();
        Sequence& sequence = **lock;
        response->set_tokens(sequence.committed_tokens());
        if (sequence.tail_tokens() > 0 && !key.empty()) {
          const uint64_t tokens = sequence.tokens();
          if (auto status = CommitTail(context, sequence, key, ws, response->mutable_last()); !status.ok()) {
            return status;
          }
          response->set_tokens(tokens);
        }
        lock->Drop();
        return absl::OkStatus();
      },
      std::move(done));
}

}  // namespace kvcompd::server
