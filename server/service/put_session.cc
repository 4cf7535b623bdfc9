#include "server/service/put_session.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

constexpr uint32_t kStrandsPerPut = 4;  // blocks of one put that are encoded side by side
constexpr size_t kPutIdBytes = 16;
constexpr int kMaxChunksPerMessage = 4096;
// A small piece of a message would keep all of it while it waits.
constexpr uint64_t kCopyBelowBytes = 4096;

BulkView Copy(const BulkView& bulk) {
  std::string bytes(bulk.bytes(), '\0');
  bulk.CopyTo(reinterpret_cast<std::byte*>(bytes.data()));
  BulkView copy;
  copy.Append(grpc::Slice(bytes));
  return copy;
}

v1::Reason ToProto(Reason reason) { return static_cast<v1::Reason>(reason); }

// Whether the namespace's policy takes blocks that a client encoded with this profile.
absl::Status CheckPolicy(const NamespacePolicy& policy, const Profile& profile) {
  if (policy.max_error > 0 && profile.ErrorBound() > policy.max_error) {
    return absl::FailedPreconditionError(absl::StrCat("profile ", profile.Text(), " has an error bound of ",
                                                      profile.ErrorBound(), ", the namespace allows ",
                                                      policy.max_error));
  }
  if (profile.lossless() || profile == policy.profile) return absl::OkStatus();
  for (const Profile& accepted : policy.accepted_profiles) {
    if (profile == accepted) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the namespace does not take blocks of profile ", profile.Text(), "; its own is ",
                   policy.profile.Text(), ": use that one, put raw values, or have the operator allow it"));
}

}  // namespace

std::shared_ptr<PutSession> PutSession::Create(ServiceContext* context, grpc::CallbackServerContext* call,
                                               Activity activity, SendFn send, FinishFn finish) {
  return std::shared_ptr<PutSession>(
      new PutSession(context, call, std::move(activity), std::move(send), std::move(finish)));
}

PutSession::PutSession(ServiceContext* context, grpc::CallbackServerContext* call, Activity activity,
                       SendFn send, FinishFn finish)
    : context_(context),
      call_(call),
      activity_(std::move(activity)),
      store_touch_us_(context->store->claim_touch_us()),
      send_(std::move(send)),
      finish_(std::move(finish)) {
  const uint32_t n = std::min(kStrandsPerPut, std::max(1u, context_->pool->stats().threads));
  for (uint32_t i = 0; i < n; ++i) {
    strands_.push_back(std::make_shared<Strand>(context_->pool, WorkerPool::Priority::kWrite));
  }
}

void PutSession::OnMessage(const grpc::ByteBuffer& buffer) {
  {
    MutexLock lock(&mutex_);
    if (over_) return;
  }
  v1::PutRequest request;
  BulkView data;
  absl::Status status = DecodeBulk(buffer, &request, &data);
  if (status.ok()) {
    if (header_seen_ == request.has_header()) {
      status = absl::InvalidArgumentError("a put starts with one header, and has only one");
    } else if (request.has_header()) {
      header_seen_ = true;
      status = request.chunks_size() > 0 || request.has_commit() || !data.empty()
                   ? absl::InvalidArgumentError("the header stands alone in the first message")
                   : HandleHeader(request.header());
    } else {
      status = HandleChunks(request, std::move(data));
      if (status.ok() && request.has_commit()) status = HandleCommit(request.commit());
    }
  }
  if (!status.ok()) Fail(status);
}

void PutSession::Progress() {
  const int64_t now = context_->clock->NowUs();
  activity_->Progress(now);
  TouchClaims(now);
}

// Layer by layer over many blocks, each block alone may wait for long.
void PutSession::TouchClaims(int64_t now) {
  int64_t touched = touched_us_.load();
  if (now - touched < store_touch_us_ || !touched_us_.compare_exchange_strong(touched, now)) return;
  for (const auto& block : blocks_) {
    if (block != nullptr && !block->resolved()) block->TouchClaim();
  }
}

absl::Status PutSession::CheckHeader(const v1::PutHeader& header) {
  if (auto status = CheckNotDraining(*context_, call_); !status.ok()) return status;
  auto ns = ResolveNamespace(*context_, header.namespace_id(), call_);
  if (!ns.ok()) return ns.status();
  ns_ = *std::move(ns);
  if (header.put_id().size() != kPutIdBytes)
    return absl::InvalidArgumentError("put_id must be 16 random bytes");
  if (header.blocks_size() == 0) return absl::InvalidArgumentError("a put names at least one block");
  if (static_cast<uint64_t>(header.blocks_size()) > context_->options.max_blocks) {
    return absl::ResourceExhaustedError(absl::StrCat(header.blocks_size(),
                                                     " blocks in one put; the limit is ",
                                                     context_->options.max_blocks, ": split it"));
  }
  if (header.form() != v1::FORM_DECODED && header.form() != v1::FORM_ENCODED) {
    return absl::InvalidArgumentError("form must be DECODED (raw values) or ENCODED");
  }
  absl::flat_hash_set<std::string_view> keys;
  for (int i = 0; i < header.blocks_size(); ++i) {
    if (!keys.insert(header.blocks(i).key()).second) {
      return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "] names a key twice; name each once"));
    }
  }
  return absl::OkStatus();
}

absl::Status PutSession::TakeMessageMemory() {
  MutexLock lock(&mutex_);
  // Puts leave a part to reads and appends.
  share_ = context_->messages->Take(context_->options.put_credit_bytes, context_->options.max_chunk_bytes,
                                    context_->messages->capacity_bytes() / 4);
  if (share_.bytes() == 0) return NoMessageMemory();
  credit_left_ = share_.bytes();
  return absl::OkStatus();
}

absl::Status PutSession::HandleHeader(const v1::PutHeader& header) {
  if (auto status = CheckHeader(header); !status.ok()) return status;
  auto shard = ns_->descriptor().ResolveShard(FromProto(header.shard()));
  if (!shard.ok()) return shard.status();
  v1::PutHeader resolved = header;
  *resolved.mutable_shard() = kvcompd::ToProto(*shard);

  blocks_.resize(header.blocks_size());
  unwanted_.resize(header.blocks_size());
  std::vector<PutRequestInfo> infos;  // all are checked before the first one costs anybody memory
  for (int i = 0; i < header.blocks_size(); ++i) {
    auto info = ParseBlock(resolved, i);
    if (!info.ok()) return info.status();
    infos.push_back(*std::move(info));
  }
  if (auto status = TakeMessageMemory(); !status.ok()) return status;
  const NamespacePolicy policy = ns_->policy();
  v1::PutResponse response;
  for (int i = 0; i < header.blocks_size(); ++i) {
    auto* disposition = response.mutable_header()->add_blocks();
    if (auto status = BeginBlock(resolved, policy, i, std::move(infos[i]), disposition); !status.ok()) {
      return status;
    }
  }
  response.mutable_header()->set_profile(policy.profile.Text());
  {
    MutexLock lock(&mutex_);
    response.mutable_header()->set_credit_bytes(share_.bytes());
  }
  touched_us_ = context_->clock->NowUs();
  activity_->Progress(touched_us_.load());
  Send(response);
  return absl::OkStatus();
}

absl::StatusOr<PutRequestInfo> PutSession::ParseBlock(const v1::PutHeader& header, int index) const {
  const v1::PutBlock& block = header.blocks(index);
  PutRequestInfo info;
  auto key = KeyFromProto(block.key(), header.cache_salt());
  if (!key.ok())
    return absl::InvalidArgumentError(absl::StrCat("blocks[", index, "]: ", key.status().message()));
  info.key = *key;
  if (!block.parent_key().empty()) {
    auto parent = KeyFromProto(block.parent_key(), header.cache_salt());
    if (!parent.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("blocks[", index, "].parent: ", parent.status().message()));
    }
    info.parent = *parent;
  }
  const uint32_t tokens_per_block = ns_->descriptor().tokens_per_block;
  if (block.tokens() == 0 || block.tokens() > tokens_per_block) {
    return absl::InvalidArgumentError(absl::StrCat("blocks[", index, "].tokens is ", block.tokens(),
                                                   "; a block has 1 to ", tokens_per_block));
  }
  info.shard = FromProto(header.shard());
  info.tokens = block.tokens();
  info.put_id = header.put_id();
  return info;
}

absl::Status PutSession::BeginBlock(const v1::PutHeader& header, const NamespacePolicy& policy, int index,
                                    PutRequestInfo info, v1::PutDisposition* disposition) {
  const auto refuse = [&](const absl::Status& status, Reason reason) {
    disposition->set_verdict(v1::PutDisposition::REFUSED);
    FillBlockStatus(status, ToProto(reason), disposition->mutable_status());
    CountRejected(*context_, reason);
    unwanted_[index] = {.status = status, .reason = reason};
    return absl::OkStatus();
  };
  Profile profile = policy.profile;
  IngestExpectation expected;
  if (header.form() == v1::FORM_ENCODED) {
    auto parsed = Profile::Parse(header.profile());
    if (!parsed.ok()) return parsed.status();
    profile = *parsed;
    if (auto status = CheckPolicy(policy, profile); !status.ok()) return refuse(status, Reason::kPolicy);
    Digest set;
    if (!header.codebook_set().empty()) {
      auto digest = Digest::FromBytes(header.codebook_set());
      if (!digest.ok()) return digest.status();
      set = *digest;
    }
    expected = {ns_, info.key, info.shard, info.tokens, profile, ns_->codebooks().Find(set, profile)};
    if (expected.codebooks == nullptr && !set.IsZero()) {
      return refuse(
          absl::FailedPreconditionError("the codebook set is not known here; send it with PutCodebooks"),
          Reason::kCodebookMissing);
    }
  }
  auto encoder = std::make_unique<BlockEncoder>(ns_, info.key, info.shard, info.tokens, profile,
                                                context_->encode_threads);
  info.bound_bytes = header.form() == v1::FORM_ENCODED ? encoder->container_bound() : encoder->memory_bytes();
  info.probe = !no_room_.status.ok();  // the blocks after it would not fit, either
  PutReply reply = context_->store->BeginPut(ns_, info);
  switch (reply.verdict) {
    case PutVerdict::kWanted: {
      disposition->set_verdict(v1::PutDisposition::WANTED);
      const uint32_t segments = encoder->header().num_segments();
      blocks_[index] = header.form() == v1::FORM_ENCODED
                           ? std::make_shared<PutBlock>(index, std::move(reply.staging), expected, segments)
                           : std::make_shared<PutBlock>(index, std::move(reply.staging), std::move(encoder));
      return absl::OkStatus();
    }
    case PutVerdict::kAlreadyStored:
      disposition->set_verdict(v1::PutDisposition::ALREADY_STORED);
      unwanted_[index] = {.already_stored = true,
                          .generation = reply.generation,
                          .encoded_bytes = reply.encoded_bytes,
                          .raw_bytes = reply.raw_bytes};
      *disposition->mutable_generation() = kvcompd::ToProto(reply.generation);
      disposition->set_encoded_bytes(reply.encoded_bytes);
      disposition->set_raw_bytes(reply.raw_bytes);
      return absl::OkStatus();
    case PutVerdict::kInProgress:
      disposition->set_verdict(v1::PutDisposition::IN_PROGRESS);
      unwanted_[index] = {.status = absl::AbortedError(
                              "another put of this shard is under way; ask again, or leave it to that one"),
                          .reason = Reason::kInProgress};
      FillBlockStatus(unwanted_[index].status, v1::REASON_IN_PROGRESS, disposition->mutable_status());
      return absl::OkStatus();
    case PutVerdict::kRefused:
      break;
  }
  if (info.probe && reply.reason == Reason::kNone) return refuse(no_room_.status, no_room_.reason);
  if (reply.no_room) no_room_ = {.status = reply.status, .reason = reply.reason};
  return refuse(reply.status, reply.reason);
}

absl::Status PutSession::CheckChunks(const v1::PutRequest& request, uint64_t data_bytes) const {
  if (request.chunks_size() > kMaxChunksPerMessage) {
    return absl::ResourceExhaustedError(
        absl::StrCat(request.chunks_size(), " chunks in one message; the limit is ", kMaxChunksPerMessage));
  }
  uint64_t sum = 0;
  for (const auto& chunk : request.chunks()) {
    if (chunk.bytes() > data_bytes - sum) return absl::InvalidArgumentError("chunks are longer than data");
    sum += chunk.bytes();
    if (chunk.block() >= blocks_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a chunk is of block ", chunk.block(), ", the put has ", blocks_.size()));
    }
  }
  if (sum != data_bytes) return absl::InvalidArgumentError("data is longer than its chunks");
  return absl::OkStatus();
}

absl::Status PutSession::HandleChunks(const v1::PutRequest& request, BulkView data) {
  const uint64_t bytes = data.bytes();
  if (auto status = CheckChunks(request, bytes); !status.ok()) return status;
  {
    MutexLock lock(&mutex_);
    if (bytes > credit_left_) {
      return absl::ResourceExhaustedError(
          absl::StrCat(bytes, " bytes sent where ", credit_left_, " were allowed; wait for credit"));
    }
    credit_left_ -= bytes;
  }
  for (const auto& chunk : request.chunks()) {
    BulkView piece = data.TakeFront(chunk.bytes());
    if (piece.bytes() < kCopyBelowBytes) piece = Copy(piece);
    HandleChunk(chunk, std::move(piece));
  }
  MutexLock lock(&mutex_);
  TellCreditWhereIdle();  // all of them may have been of blocks that failed
  return absl::OkStatus();
}

void PutSession::HandleChunk(const v1::PutChunk& chunk, BulkView piece) {
  const std::shared_ptr<PutBlock>& block = blocks_[chunk.block()];
  if (block == nullptr || block->resolved()) {  // not wanted, or failed while this was on its way
    ReturnCredit(chunk.bytes());
    return;
  }
  if (absl::Status status = block->Announce(chunk); !status.ok()) {
    ReturnCredit(chunk.bytes());
    if (block->TryResolve()) {
      Resolve(block->index(), {.status = status, .reason = Reason::kMalformed});
      Post(block, [block](codec::Workspace&) { block->Drop(); });
    }
    return;
  }
  Progress();
  Post(block, [this, block, chunk, piece = std::move(piece)](codec::Workspace& ws) {
    if (!block->resolved()) {
      if (absl::Status status = block->TakeIn(chunk, piece, ws); !status.ok() && block->TryResolve()) {
        block->Drop();
        const Reason reason = absl::IsAborted(status) ? Reason::kTimeout : Reason::kMalformed;
        Resolve(block->index(), {.status = status, .reason = reason});
      }
    }
    ReturnCredit(chunk.bytes());
  });
}

absl::Status PutSession::HandleCommit(const v1::PutCommit& commit) {
  // Once each, and once more to be told again.
  commits_named_ += static_cast<size_t>(commit.blocks_size());
  if (commits_named_ > 2 * blocks_.size()) {
    return absl::InvalidArgumentError(
        "the commits name blocks over and over; name each once, and half-close");
  }
  for (uint32_t index : commit.blocks()) {
    if (index >= blocks_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a commit names block ", index, ", the put has ", blocks_.size()));
    }
    std::shared_ptr<PutBlock> block = blocks_[index];
    if (block == nullptr) {
      Resolve(index, unwanted_[index], /*first=*/false);
      continue;
    }
    if (block->AnnounceCommit()) Progress();
    Post(block, [this, block](codec::Workspace& ws) {
      if (block->TryResolve()) {
        Resolve(block->index(), block->Commit(context_->store, ws));
      } else if (block->committed().has_value()) {  // named in a commit once more
        PutBlock::Outcome again = *block->committed();
        again.already_stored = true;
        Resolve(block->index(), again);
      }  // else it failed, and said so
    });
  }
  return absl::OkStatus();
}

void PutSession::Post(const std::shared_ptr<PutBlock>& block, std::function<void(codec::Workspace&)> job) {
  {
    MutexLock lock(&mutex_);
    ++jobs_;
  }
  activity_->BeginWork();
  const bool taken = strands_[block->index() % strands_.size()]->Submit(
      [self = shared_from_this(), job = std::move(job)](codec::Workspace& ws) {
        job(ws);
        self->JobDone();
      });
  if (taken) return;
  JobDone();
  Fail(absl::UnavailableError("the daemon is stopping; use another or try again later"));
}

void PutSession::JobDone() {
  const int64_t now = context_->clock->NowUs();
  activity_->EndWork(now);
  TouchClaims(now);
  {
    MutexLock lock(&mutex_);
    --jobs_;
    TellCreditWhereIdle();
    MaybeFinish();
  }
  if (on_job_done_) on_job_done_();
}

void PutSession::Send(const v1::PutResponse& response) {
  MutexLock lock(&mutex_);
  if (!over_) send_(response);
}

void PutSession::Resolve(uint32_t index, const PutBlock::Outcome& outcome, bool first) {
  v1::PutResponse response;
  auto* result = response.add_results();
  result->set_block(index);
  FillBlockStatus(outcome.status, ToProto(outcome.reason), result->mutable_status());
  if (outcome.status.ok()) {
    result->set_already_stored(outcome.already_stored);
    *result->mutable_generation() = kvcompd::ToProto(outcome.generation);
    result->set_encoded_bytes(outcome.encoded_bytes);
    result->set_raw_bytes(outcome.raw_bytes);
  } else if (first) {
    CountRejected(*context_, outcome.reason);
  }
  Send(response);
}

void PutSession::ReturnCredit(uint64_t bytes) {
  MutexLock lock(&mutex_);
  credit_owed_ += bytes;
  if (credit_owed_ >= share_.bytes() / 4) TellCredit();
}

// With nothing left to do here, a client that waits for credit must not wait for more than there is.
void PutSession::TellCreditWhereIdle() {
  if (jobs_ == 0 && !half_closed_ && credit_left_ < context_->options.max_chunk_bytes) TellCredit();
}

void PutSession::TellCredit() {
  if (over_ || credit_owed_ == 0) return;
  v1::PutResponse response;
  response.set_credit_bytes(credit_owed_);
  credit_left_ += credit_owed_;
  credit_owed_ = 0;
  send_(response);
}

void PutSession::OnHalfClose() {
  MutexLock lock(&mutex_);
  half_closed_ = true;
  MaybeFinish();
}

void PutSession::MaybeFinish() {
  if (over_ || !half_closed_ || jobs_ > 0) return;
  over_ = true;
  finish_(absl::OkStatus());
}

void PutSession::OnCancel() {
  Abandon();
  MutexLock lock(&mutex_);
  over_ = true;
}

void PutSession::Abandon() {
  for (const auto& block : blocks_) {
    if (block != nullptr) block->TryResolve();
  }
}

void PutSession::Fail(const absl::Status& status) {
  Abandon();
  MutexLock lock(&mutex_);
  if (over_) return;
  over_ = true;
  CountRejected(*context_, status);
  finish_(status);
}

}  // namespace kvcompd::server
