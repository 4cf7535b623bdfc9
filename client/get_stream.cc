#include "client/get_stream.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/block_receiver.h"
#include "client/namespace_session.h"
#include "client/put_plan.h"
#include "client/unary_call.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "proto/status_convert.h"

namespace kvcompd::client {

struct GetStream::Impl {
  struct Block {
    Block(const GetPlan* plan, uint32_t number, const GetBlock& block, bool is_tail)
        : receiver(plan, number, block, is_tail) {}
    BlockReceiver receiver;
    bool over = false;
    absl::Status status;
    v1::Reason reason = v1::REASON_UNSPECIFIED;
    Form form = Form::kDecoded;
  };

  explicit Impl(GetPlan p)
      : call(p.session, Repeat::kContention, p.deadline, p.options.cancel),
        plan(OfCall(std::move(p), call.token())) {}
  static GetPlan OfCall(GetPlan plan, std::shared_ptr<Cancellation> token) {
    plan.cancel = std::move(token);
    return plan;
  }

  SessionCall call;
  const GetPlan plan;
  std::deque<Block> blocks;
  std::unique_ptr<ByteStream> stream;
  std::vector<uint32_t> asked;  // block number for each index of the request under way
  bool progressed = false;      // something was delivered by this stream
  std::deque<LayerDone> done;

  bool AnyOpen() const {
    return std::any_of(blocks.begin(), blocks.end(), [](const Block& b) { return !b.over; });
  }
  void Start();
  void StreamEnded();
  void FailOpen(const absl::Status& status);
  void FailBlock(uint32_t number, const absl::Status& status, v1::Reason reason);
  absl::Status HandleMessage(const grpc::ByteBuffer& buffer);
  void HandleChunks(const v1::GetResponse& response, BulkView data);
  void HandleLayerResult(const v1::LayerResult& result);
};

// Asks for what is not delivered yet. Blocks may differ by layers; those that are ahead skip what they have.
void GetStream::Impl::Start() {
  v1::GetRequest request;
  request.set_namespace_id(call.StartAttempt());
  asked.clear();
  uint32_t first_layer = plan.shard.layer_count;
  for (uint32_t i = 0; i < blocks.size(); ++i) {
    Block& block = blocks[i];
    if (block.over) continue;
    block.receiver.Restart();
    first_layer = std::min(first_layer, block.receiver.next_layer());
    asked.push_back(i);
    if (block.receiver.is_tail()) {
      request.set_sequence(plan.options.sequence);
      continue;
    }
    v1::GetBlock* b = request.add_blocks();
    b->set_key(std::string(block.receiver.key().view()));
    if (block.receiver.generation().has_value())
      *b->mutable_generation() = ToProto(*block.receiver.generation());
  }
  ShardRange rest = plan.shard;
  rest.layer_begin += first_layer;
  rest.layer_count -= first_layer;
  *request.mutable_shard() = ToProto(rest);
  request.set_without_k(!plan.options.k);
  request.set_without_v(!plan.options.v);
  if (plan.options.form == Form::kEncoded) {
    request.set_form(v1::FORM_ENCODED);
    for (const std::string& codec : plan.options.accept_codecs) request.mutable_accept()->add_codecs(codec);
    request.mutable_accept()->add_format_versions(codec::kFormatVersion);
    request.set_encoded_only(plan.options.encoded_only);
  } else {
    request.set_form(v1::FORM_DECODED);
  }
  if (plan.options.max_error.has_value()) request.set_max_error(*plan.options.max_error);
  request.set_max_chunk_bytes(plan.session->core().options().message_bytes);
  request.set_cache_salt(plan.options.cache_salt);
  request.set_lease_id(plan.options.lease_id);
  progressed = false;
  stream = ByteStream::Start(plan.session->core().channels().Next(),
                             plan.session->StreamOptions("Get", plan.deadline, plan.cancel));
  stream->Write(EncodeBulk(request, {}));
  stream->WritesDone();
}

void GetStream::Impl::FailBlock(uint32_t number, const absl::Status& status, v1::Reason reason) {
  Block& block = blocks[number];
  if (block.over) return;
  block.over = true;
  block.status = status;
  block.reason = reason;
  done.push_back({.block = number,
                  .layer = block.receiver.next_layer(),
                  .status = status,
                  .reason = reason,
                  .form = block.form,
                  .tokens = block.receiver.tokens()});
}

void GetStream::Impl::FailOpen(const absl::Status& status) {
  for (uint32_t i = 0; i < blocks.size(); ++i) FailBlock(i, WithVerb("get", status), v1::REASON_UNSPECIFIED);
}

void GetStream::Impl::StreamEnded() {
  const ByteStream::End end = stream->Finish();
  stream = nullptr;
  if (!AnyOpen()) return;
  if (end.status.ok())
    return FailOpen(absl::InternalError("the daemon ended the get before it was complete"));
  if (progressed) call.Progress();
  if (auto next = call.Next(end); !next.ok()) FailOpen(next);
}

absl::Status GetStream::Impl::HandleMessage(const grpc::ByteBuffer& buffer) {
  v1::GetResponse response;
  BulkView data;
  if (auto s = DecodeBulk(buffer, &response, &data); !s.ok()) return absl::DataLossError(s.message());
  uint64_t left = data.bytes();
  for (const v1::GetChunk& chunk : response.chunks()) {
    if (chunk.bytes() > left) return absl::DataLossError("a message's pieces are longer than its bytes");
    left -= chunk.bytes();
    if (chunk.block() >= asked.size())
      return absl::DataLossError("a piece is of a block that was not asked for");
  }
  if (left != 0) return absl::DataLossError("a message's bytes are longer than its pieces");
  HandleChunks(response, data);
  for (const v1::LayerResult& result : response.layer_results()) {
    if (result.block() >= asked.size())
      return absl::DataLossError("a result is of a block that was not asked for");
    HandleLayerResult(result);
  }
  return absl::OkStatus();
}

void GetStream::Impl::HandleChunks(const v1::GetResponse& response, BulkView data) {
  struct Job {
    BlockReceiver* receiver;
    BlockReceiver::Run* run;
  };
  std::vector<Job> jobs;
  for (const v1::GetChunk& chunk : response.chunks()) {
    const uint32_t number = asked[chunk.block()];
    Block& block = blocks[number];
    const BulkView piece = data.TakeFront(chunk.bytes());
    if (block.over) continue;
    std::vector<BlockReceiver::Run*> complete;
    if (auto s = block.receiver.OnChunk(chunk, piece, &complete); !s.ok()) {
      FailBlock(number, s, block.receiver.last_reason());
      continue;
    }
    for (BlockReceiver::Run* run : complete) jobs.push_back({&block.receiver, run});
  }
  ParallelFor(&plan.session->core().codec_pool(), jobs.size(),
              [&jobs](size_t i) { jobs[i].receiver->Unpack(jobs[i].run); });
}

void GetStream::Impl::HandleLayerResult(const v1::LayerResult& result) {
  const uint32_t number = asked[result.block()];
  Block& block = blocks[number];
  if (block.over) return;
  block.form = result.form() == v1::FORM_ENCODED ? Form::kEncoded : Form::kDecoded;
  if (result.status().code() != 0) {
    return FailBlock(number, FromBlockStatus(result.status()), result.status().reason());
  }
  const uint32_t layer = result.layer() - plan.shard.layer_begin;  // may wrap; then it is no layer of ours
  if (layer < block.receiver.next_layer()) return;                 // delivered before the stream broke
  if (auto s = block.receiver.OnLayerEnd(layer); !s.ok())
    return FailBlock(number, s, block.receiver.last_reason());
  progressed = true;
  if (block.receiver.next_layer() == plan.shard.layer_count) block.over = true;
  done.push_back({.block = number,
                  .layer = layer,
                  .status = absl::OkStatus(),
                  .form = block.form,
                  .tokens = block.receiver.tokens()});
}

GetStream::GetStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GetStream::~GetStream() = default;

absl::StatusOr<std::unique_ptr<GetStream>> GetStream::Open(std::shared_ptr<NamespaceSession> session,
                                                           std::vector<GetBlock> blocks, GetOptions options) {
  const Deadline deadline = GetDeadline(*session, options);
  return Open(std::move(session), std::move(blocks), std::move(options), deadline);
}

Deadline GetDeadline(NamespaceSession& session, const GetOptions& options) {
  return session.core().DeadlineOf(options.deadline_ms, session.core().options().deadlines.get_ms);
}

absl::StatusOr<std::unique_ptr<GetStream>> GetStream::Open(std::shared_ptr<NamespaceSession> session,
                                                           std::vector<GetBlock> blocks, GetOptions options,
                                                           const Deadline& deadline) {
  auto shard = session->model().ResolveShard(options.shard);
  if (!shard.ok()) return shard.status();
  const AttentionGroup& group = *session->model().FindGroup(shard->group);
  const uint32_t limit = session->state().limits.max_blocks();
  if (limit > 0 && blocks.size() > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(blocks.size(), " blocks in one get, the daemon takes ", limit));
  }
  if (blocks.empty() && options.sequence.empty()) {
    return absl::InvalidArgumentError("a get names at least one block, or a sequence");
  }
  if (options.cache_salt.size() > kMaxSaltBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cache_salt is longer than ", kMaxSaltBytes, " bytes"));
  }
  const bool may_lack_target = options.form == Form::kEncoded && options.on_segment != nullptr;
  const auto check = [&](absl::string_view what, const BlockPlace& place) -> absl::Status {
    if (place.buffer == nullptr && may_lack_target) return absl::OkStatus();
    const absl::Status s = CheckBuffer(group, *shard, place, /*tokens=*/1);
    return s.ok() ? s : absl::InvalidArgumentError(absl::StrCat(what, ": ", s.message()));
  };
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].key.empty())
      return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "].key is empty"));
    if (auto s = check(absl::StrCat("blocks[", i, "].target"), blocks[i].target); !s.ok()) return s;
  }
  GetPlan plan{std::move(session), std::move(options), *shard, group, deadline, /*cancel=*/nullptr};
  if (!plan.wants(Tensor::kK) && !plan.wants(Tensor::kV)) {
    return absl::InvalidArgumentError("neither K nor V is wanted");
  }
  if (!plan.options.sequence.empty()) {
    if (auto s = check("tail_target", plan.options.tail_target); !s.ok()) return s;
  }
  auto impl = std::make_unique<Impl>(std::move(plan));
  for (uint32_t i = 0; i < blocks.size(); ++i) impl->blocks.emplace_back(&impl->plan, i, blocks[i], false);
  if (!impl->plan.options.sequence.empty()) {
    const GetBlock tail{.target = impl->plan.options.tail_target};
    impl->blocks.emplace_back(&impl->plan, static_cast<uint32_t>(blocks.size()), tail, true);
  }
  return std::unique_ptr<GetStream>(new GetStream(std::move(impl)));
}

void GetStream::Cancel() { impl_->call.token()->Cancel(); }
uint32_t GetStream::layers() const { return impl_->plan.shard.layer_count; }

bool GetStream::Next(LayerDone* done) {
  Impl& impl = *impl_;
  while (impl.done.empty() && impl.AnyOpen()) {
    if (impl.stream == nullptr) impl.Start();
    grpc::ByteBuffer buffer;
    if (!impl.stream->Read(&buffer)) {
      impl.StreamEnded();
    } else if (auto s = impl.HandleMessage(buffer); !s.ok()) {
      impl.stream->Cancel();
      impl.FailOpen(s);
    }
  }
  if (impl.done.empty()) return false;
  *done = std::move(impl.done.front());
  impl.done.pop_front();
  return true;
}

std::vector<GetResult> GetStream::Finish() {
  LayerDone done;
  while (Next(&done)) {
  }
  std::vector<GetResult> results;
  for (const Impl::Block& block : impl_->blocks) {
    GetResult result;
    result.status = block.status;
    result.reason = block.reason;
    result.layers = block.receiver.next_layer();
    result.tokens = block.receiver.tokens();
    if (block.receiver.generation().has_value()) result.generation = *block.receiver.generation();
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace kvcompd::client
