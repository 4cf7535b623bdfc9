#include "tests/client/fake_daemon.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "codec/base/crc32c.h"
#include "codec/base/types.h"
#include "proto/convert.h"
#include "proto/kvcompd/v1/admin.grpc.pb.h"

namespace kvcompd::client {
namespace {

constexpr size_t kPieceBytes = 1000;  // so that pieces end within rows

grpc::Status Unavailable() { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "scripted break"); }

}  // namespace

ModelDescriptor TestModel() {
  ModelDescriptor model;
  model.model_id = "test/model";
  AttentionGroup group;
  group.layers = {0, 1};
  group.kv_heads = 3;
  group.head_dim_k = 24;
  group.head_dim_v = 16;
  model.groups = {group};
  return model;
}

struct FakeDaemon::PutState {
  v1::PutHeader header;
  grpc::ServerReaderWriter<v1::PutResponse, v1::PutRequest>* stream = nullptr;
  std::vector<Stored> blocks;
  std::vector<bool> wanted;
  uint64_t credit = 0;
  uint64_t owed = 0;
};

struct FakeDaemon::Watcher {
  std::vector<v1::WatchResponse> queue;
};

struct FakeDaemon::Admin final : v1::Admin::Service {
  explicit Admin(FakeDaemon* daemon) : daemon(daemon) {}
  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest*, v1::DrainResponse*) override {
    ++daemon->drains;
    return Unavailable();
  }
  FakeDaemon* const daemon;
};

FakeDaemon::FakeDaemon(const ModelDescriptor& model) : model_(model), admin_(std::make_unique<Admin>(this)) {
  policy.set_profile("raw");
  Start();
}

FakeDaemon::~FakeDaemon() { Stop(); }

void FakeDaemon::Start() {
  {
    MutexLock lock(&mutex_);
    stopping_ = false;
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(this);
  builder.RegisterService(admin_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) std::abort();
}

void FakeDaemon::Stop() {
  if (server_ == nullptr) return;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    cond_.SignalAll();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_ = nullptr;
}

void FakeDaemon::Forget() {
  MutexLock lock(&mutex_);
  known_ = false;
  ++epoch_;
  blocks_.clear();
  uploaded_sets_.clear();
}

ClientOptions FakeDaemon::Options() const {
  ClientOptions options;
  options.address = address();
  options.deadlines.lookup_ms = 20'000;
  options.retry.initial_backoff_ms = 1;
  options.retry.max_backoff_ms = 20;
  options.retry.max_attempts = 1000;
  options.codebook_refresh_ms = 0;
  return options;
}

std::vector<v1::GetRequest> FakeDaemon::get_requests() const {
  MutexLock lock(&mutex_);
  return get_requests_;
}
std::vector<v1::OpenNamespaceRequest> FakeDaemon::open_requests() const {
  MutexLock lock(&mutex_);
  return open_requests_;
}
std::vector<v1::PutHeader> FakeDaemon::put_headers() const {
  MutexLock lock(&mutex_);
  return put_headers_;
}
v1::SealRequest FakeDaemon::last_seal() const {
  MutexLock lock(&mutex_);
  return last_seal_;
}
size_t FakeDaemon::stored_blocks() const {
  MutexLock lock(&mutex_);
  return blocks_.size();
}
std::set<std::string> FakeDaemon::released_leases() const {
  MutexLock lock(&mutex_);
  return released_;
}
uint64_t FakeDaemon::sequence_tokens() const {
  MutexLock lock(&mutex_);
  return sequence_tokens_;
}
std::vector<std::string> FakeDaemon::sequence_keys() const {
  MutexLock lock(&mutex_);
  return sequence_keys_;
}

grpc::Status FakeDaemon::CheckId(grpc::ServerContext* context, const std::string& id,
                                 const std::string& method) {
  if (before) {
    if (auto status = before(method); !status.ok()) return status;
  }
  if (draining) {
    context->AddTrailingMetadata("kvcompd-draining", "1");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  }
  MutexLock lock(&mutex_);
  if (known_ && id == std::string(16, 'n')) return grpc::Status::OK;
  context->AddTrailingMetadata("kvcompd-reopen", "1");
  return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no such namespace");
}

grpc::Status FakeDaemon::OpenNamespace(grpc::ServerContext*, const v1::OpenNamespaceRequest* request,
                                       v1::OpenNamespaceResponse* response) {
  ++opens;
  if (before_open) {
    if (auto status = before_open(); !status.ok()) return status;
  }
  MutexLock lock(&mutex_);
  open_requests_.push_back(*request);
  absl::StatusOr<ModelDescriptor> model = model_;
  if (!request->has_model()) {
    if (!known_ || request->name() != name_) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such name");
    *response->mutable_model() = ToProto(model_);
  } else {
    model = ModelFromProto(request->model());
    if (!model.ok())
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, std::string(model.status().message()));
  }
  if (!known_) {
    name_ = request->name();
    if (!request->policy().profile().empty()) policy = request->policy();
  }
  *response->mutable_hello() = MakeHello("fake", 0, 0);
  response->set_namespace_id(std::string(16, 'n'));
  response->set_fingerprint(std::string(model->Fingerprint().view()));
  response->set_created(!known_);
  response->set_epoch(epoch_);
  *response->mutable_policy() = policy;
  response->mutable_limits()->set_max_message_bytes(4 << 20);
  response->mutable_limits()->set_max_blocks(max_blocks);
  response->mutable_limits()->set_max_keys(max_keys);
  known_ = true;
  return grpc::Status::OK;
}

// ---- Put

grpc::Status FakeDaemon::TakeChunks(const v1::PutRequest& request, PutState* state) {
  size_t at = 0;
  if (request.data().size() > state->credit) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "more bytes than credit");
  }
  state->credit -= request.data().size();
  most_message_bytes = std::max<int>(most_message_bytes, static_cast<int>(request.data().size()));
  for (const auto& chunk : request.chunks()) {
    const std::string piece = request.data().substr(at, chunk.bytes());
    at += chunk.bytes();
    if (piece.size() != chunk.bytes() || Crc32c(AsBytes(piece)) != chunk.crc32c()) {
      return grpc::Status(grpc::StatusCode::DATA_LOSS, "crc");
    }
    state->owed += chunk.bytes();
    if (!state->wanted[chunk.block()]) continue;
    if (fail_put_block == static_cast<int>(chunk.block())) {
      state->wanted[chunk.block()] = false;
      v1::PutResponse response;
      auto* result = response.add_results();
      result->set_block(chunk.block());
      result->mutable_status()->set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
      result->mutable_status()->set_reason(v1::REASON_QUOTA);
      state->stream->Write(response);
      continue;
    }
    Stored& block = state->blocks[chunk.block()];
    std::string& whole = chunk.container_part() == v1::CONTAINER_HEADER ? block.header
                         : chunk.container_part() == v1::CONTAINER_FOOTER
                             ? block.footer
                             : block.tensors[{chunk.layer(), chunk.tensor()}];
    if (chunk.offset() != whole.size()) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "offset");
    whole += piece;
    if (whole.size() > chunk.total_bytes()) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "total");
  }
  if (at != request.data().size()) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "data is longer");
  if (state->owed >= put_credit / 4) {
    v1::PutResponse response;
    response.set_credit_bytes(state->owed);
    state->credit += std::exchange(state->owed, 0);
    state->stream->Write(response);
  }
  return grpc::Status::OK;
}

void FakeDaemon::Dispose(const v1::PutHeader& header, int block, v1::PutDisposition* disposition) {
  const auto refuse = [disposition](v1::Reason reason) {
    disposition->set_verdict(v1::PutDisposition::REFUSED);
    disposition->mutable_status()->set_code(grpc::StatusCode::FAILED_PRECONDITION);
    disposition->mutable_status()->set_reason(reason);
  };
  disposition->set_verdict(v1::PutDisposition::WANTED);
  if (check_put && header.form() == v1::FORM_ENCODED) {
    if (header.profile() != policy.profile()) return refuse(v1::REASON_POLICY);
    if (!header.codebook_set().empty() && !uploaded_sets_.contains(header.codebook_set())) {
      return refuse(v1::REASON_CODEBOOK_MISSING);
    }
  }
  const auto stored = blocks_.find(header.blocks(block).key());
  if (stored != blocks_.end()) {
    disposition->set_verdict(v1::PutDisposition::ALREADY_STORED);
    *disposition->mutable_generation() = ToProto(stored->second.generation);
    disposition->set_raw_bytes(1000);
    disposition->set_encoded_bytes(100);
  } else if (dispose) {
    *disposition = dispose(block);
  }
}

grpc::Status FakeDaemon::Put(grpc::ServerContext* context,
                             grpc::ServerReaderWriter<v1::PutResponse, v1::PutRequest>* stream) {
  ++puts;
  v1::PutRequest request;
  if (!stream->Read(&request) || !request.has_header()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no header");
  }
  if (auto s = CheckId(context, request.header().namespace_id(), "Put"); !s.ok()) return s;
  PutState state;
  state.header = request.header();
  state.stream = stream;
  state.credit = put_credit;
  state.blocks.resize(state.header.blocks_size());
  v1::PutResponse reply;
  reply.mutable_header()->set_credit_bytes(state.credit);
  {
    MutexLock lock(&mutex_);
    put_headers_.push_back(state.header);
    reply.mutable_header()->set_profile(policy.profile());
    for (int i = 0; i < state.header.blocks_size(); ++i) {
      auto* disposition = reply.mutable_header()->add_blocks();
      Dispose(state.header, i, disposition);
      state.wanted.push_back(disposition->verdict() == v1::PutDisposition::WANTED);
    }
  }
  stream->Write(reply);
  int messages = 0;
  while (stream->Read(&request)) {
    if (break_put_after >= 0 && messages++ == break_put_after) {
      break_put_after = -1;
      return Unavailable();
    }
    if (auto s = TakeChunks(request, &state); !s.ok()) return s;
    for (uint32_t i : request.commit().blocks()) {
      if (!state.wanted[i]) continue;
      state.wanted[i] = false;
      Stored& block = state.blocks[i];
      v1::PutResponse response;
      auto* result = response.add_results();
      result->set_block(i);
      {
        MutexLock lock(&mutex_);
        block.generation = {epoch_, ++counter_};
        block.tokens = state.header.blocks(static_cast<int>(i)).tokens();
        block.encoded = state.header.form() == v1::FORM_ENCODED;
        block.codebook_set = state.header.codebook_set();
        *result->mutable_generation() = ToProto(block.generation);
        blocks_[state.header.blocks(static_cast<int>(i)).key()] = std::move(block);
      }
      stream->Write(response);
    }
  }
  return grpc::Status::OK;
}

// ---- Get

void FakeDaemon::AddPieces(const v1::GetChunk& base, const std::string& bytes,
                           v1::GetResponse* message) const {
  for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
    const std::string piece = bytes.substr(at, kPieceBytes);
    v1::GetChunk* chunk = message->add_chunks();
    *chunk = base;
    chunk->set_offset(at);
    chunk->set_bytes(piece.size());
    chunk->set_total_bytes(bytes.size());
    chunk->set_crc32c(Crc32c(AsBytes(piece)));
    message->mutable_data()->append(piece);
  }
}

v1::GetResponse FakeDaemon::LayerMessage(const v1::GetRequest& request, int block, uint32_t layer) {
  v1::GetResponse message;
  auto* result = message.add_layer_results();
  result->set_block(static_cast<uint32_t>(block));
  result->set_layer(layer);
  MutexLock lock(&mutex_);
  const auto it = blocks_.find(request.blocks(block).key());
  const bool replaced = it != blocks_.end() && request.blocks(block).has_generation() &&
                        FromProto(request.blocks(block).generation()) != it->second.generation;
  if (it == blocks_.end() || replaced) {
    result->mutable_status()->set_code(replaced ? grpc::StatusCode::ABORTED : grpc::StatusCode::NOT_FOUND);
    result->mutable_status()->set_reason(replaced ? v1::REASON_GENERATION : v1::REASON_NOT_STORED);
    return message;
  }
  const Stored& stored = it->second;
  result->set_form(stored.encoded ? v1::FORM_ENCODED : v1::FORM_DECODED);
  v1::GetChunk base;
  base.set_block(static_cast<uint32_t>(block));
  base.set_layer(layer);
  base.set_form(result->form());
  base.set_tokens(stored.tokens);
  *base.mutable_generation() = ToProto(stored.generation);
  const AttentionGroup& group = model_.groups[0];
  if (stored.encoded && layer == request.shard().layer_begin()) {
    base.set_container_part(v1::CONTAINER_HEADER);
    base.set_codebook_set(stored.codebook_set);
    AddPieces(base, stored.header, &message);
    base.clear_codebook_set();
  }
  for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
    if (!group.has(tensor) || (tensor == Tensor::kK ? request.without_k() : request.without_v())) continue;
    const std::string& bytes = stored.tensors.at({layer, static_cast<int>(tensor)});
    base.set_tensor(ToProto(tensor));
    if (stored.encoded) {
      base.set_container_part(v1::CONTAINER_SEGMENT);
      base.set_head_begin(0);
      base.set_head_count(group.kv_heads);
      AddPieces(base, bytes, &message);
      continue;
    }
    // Two runs: the first head, and the rest, cut to what was asked for.
    const size_t head_bytes = bytes.size() / group.kv_heads;
    const uint32_t begin = request.shard().head_begin();
    const uint32_t end = begin + request.shard().head_count();
    for (const auto& [from, to] : {std::pair<uint32_t, uint32_t>{begin, begin + 1}, {begin + 1, end}}) {
      if (from >= to) continue;
      base.set_head_begin(from);
      base.set_head_count(to - from);
      AddPieces(base, bytes.substr(from * head_bytes, (to - from) * head_bytes), &message);
    }
  }
  return message;
}

std::vector<v1::GetResponse> FakeDaemon::MessagesOf(const v1::GetRequest& request) {
  std::vector<v1::GetResponse> out;
  std::set<int> over;
  for (uint32_t i = 0; i < request.shard().layer_count(); ++i) {
    for (int b = 0; b < request.blocks_size(); ++b) {
      if (over.contains(b)) continue;
      out.push_back(LayerMessage(request, b, request.shard().layer_begin() + i));
      if (out.back().layer_results(0).status().code() != 0) over.insert(b);
    }
  }
  return out;
}

grpc::Status FakeDaemon::Get(grpc::ServerContext* context, const v1::GetRequest* request,
                             grpc::ServerWriter<v1::GetResponse>* writer) {
  ++gets;
  if (auto s = CheckId(context, request->namespace_id(), "Get"); !s.ok()) return s;
  {
    MutexLock lock(&mutex_);
    get_requests_.push_back(*request);
  }
  std::vector<v1::GetResponse> messages = MessagesOf(*request);
  if (edit_get) edit_get(&messages);
  int sent = 0;
  for (const v1::GetResponse& message : messages) {
    if (break_get_after >= 0 && sent++ == break_get_after) {
      break_get_after = -1;
      return Unavailable();
    }
    writer->Write(message);
  }
  return grpc::Status::OK;
}

// ---- keys

grpc::Status FakeDaemon::Match(grpc::ServerContext* context, const v1::MatchRequest* request,
                               v1::MatchResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Match"); !s.ok()) return s;
  MutexLock lock(&mutex_);
  for (const std::string& key : request->keys()) {
    const auto it = blocks_.find(key);
    if (it == blocks_.end()) break;
    response->set_matched_blocks(response->matched_blocks() + 1);
    response->set_matched_tokens(response->matched_tokens() + it->second.tokens);
    auto* info = response->add_blocks();
    info->set_tokens(it->second.tokens);
    *info->mutable_generation() = ToProto(it->second.generation);
  }
  if (request->lease() && response->matched_blocks() > 0) {
    response->set_lease_id("lease-" + std::to_string(++counter_));
    response->set_lease_ms(1000);
  }
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Exists(grpc::ServerContext* context, const v1::ExistsRequest* request,
                                v1::ExistsResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Exists"); !s.ok()) return s;
  if (request->keys_size() > static_cast<int>(max_keys)) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many keys");
  }
  MutexLock lock(&mutex_);
  for (const std::string& key : request->keys()) response->add_exists(blocks_.contains(key));
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Delete(grpc::ServerContext* context, const v1::DeleteRequest* request,
                                v1::DeleteResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Delete"); !s.ok()) return s;
  MutexLock lock(&mutex_);
  for (const std::string& key : request->keys()) response->add_deleted(blocks_.erase(key) > 0);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Pin(grpc::ServerContext* context, const v1::PinRequest* request,
                             v1::PinResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Pin"); !s.ok()) return s;
  MutexLock lock(&mutex_);
  for (const std::string& key : request->keys()) {
    if (blocks_.contains(key)) pinned_.insert(key);
    response->add_blocks()->set_code(blocks_.contains(key) ? grpc::StatusCode::OK
                                                           : grpc::StatusCode::NOT_FOUND);
  }
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Unpin(grpc::ServerContext* context, const v1::UnpinRequest* request,
                               v1::UnpinResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Unpin"); !s.ok()) return s;
  MutexLock lock(&mutex_);
  for (const std::string& key : request->keys()) response->add_unpinned(pinned_.erase(key) > 0);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Release(grpc::ServerContext* context, const v1::ReleaseRequest* request,
                                 v1::ReleaseResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Release"); !s.ok()) return s;
  MutexLock lock(&mutex_);
  response->set_released(released_.insert(request->lease_id()).second);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::PutCodebooks(grpc::ServerContext* context, const v1::PutCodebooksRequest* request,
                                      v1::PutCodebooksResponse* response) {
  ++codebook_uploads;
  if (auto s = CheckId(context, request->namespace_id(), "PutCodebooks"); !s.ok()) return s;
  const std::string id(Sha256(request->set()).view());
  response->set_set_id(id);
  MutexLock lock(&mutex_);
  uploaded_sets_.insert(id);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::GetCodebooks(grpc::ServerContext* context, const v1::GetCodebooksRequest* request,
                                      v1::GetCodebooksResponse* response) {
  ++codebook_fetches;
  if (auto s = CheckId(context, request->namespace_id(), "GetCodebooks"); !s.ok()) return s;
  if (codebooks == nullptr || (!request->set_id().empty() && request->set_id() != codebooks->id().view())) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such set");
  }
  response->set_set_id(std::string(codebooks->id().view()));
  response->set_set(codebooks->canonical_bytes());
  return grpc::Status::OK;
}

// ---- sequences

grpc::Status FakeDaemon::OpenSequence(grpc::ServerContext* context, const v1::OpenSequenceRequest* request,
                                      v1::OpenSequenceResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "OpenSequence"); !s.ok()) return s;
  response->set_sequence("sequence");
  response->set_ttl_ms(1000);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Append(grpc::ServerContext* context, const v1::AppendRequest* request,
                                v1::AppendResponse* response) {
  ++appends;
  if (auto s = CheckId(context, request->namespace_id(), "Append"); !s.ok()) return s;
  const AttentionGroup& group = model_.groups[0];
  const uint64_t token_bytes =
      (group.TensorBytes(Tensor::kK, group.kv_heads, 1) + group.TensorBytes(Tensor::kV, group.kv_heads, 1)) *
      group.layers.size();
  if (request->data().size() != token_bytes * request->tokens() ||
      Crc32c(AsBytes(request->data())) != request->crc32c()) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "data");
  }
  MutexLock lock(&mutex_);
  if (request->first_token() > sequence_tokens_)
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "gap");
  const uint64_t end = request->first_token() + request->tokens();
  sequence_tokens_ = std::max(sequence_tokens_, end);
  size_t block = request->first_token() / model_.tokens_per_block;
  for (const std::string& key : request->block_keys()) {
    v1::PutResult* result = response->add_committed();
    result->set_block(static_cast<uint32_t>(block));
    result->set_already_stored(block < sequence_keys_.size());
    if (block++ >= sequence_keys_.size()) sequence_keys_.push_back(key);
  }
  if (fail_append_after >= 0 && fail_append_after-- == 0) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "scripted failure");
  }
  if (drop_append_reply > 0) {
    --drop_append_reply;
    return Unavailable();
  }
  response->set_tokens(sequence_tokens_);
  response->set_committed_tokens(sequence_keys_.size() * model_.tokens_per_block);
  return grpc::Status::OK;
}

grpc::Status FakeDaemon::Seal(grpc::ServerContext* context, const v1::SealRequest* request,
                              v1::SealResponse* response) {
  if (auto s = CheckId(context, request->namespace_id(), "Seal"); !s.ok()) return s;
  ++seals;
  MutexLock lock(&mutex_);
  if (sealed_ && request->last_key() != last_seal_.last_key()) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "sealed with another key");
  }
  const bool again = std::exchange(sealed_, true);
  last_seal_ = *request;
  response->set_tokens(sequence_tokens_);
  if (!request->last_key().empty()) {
    if (request->tokens() != sequence_tokens_) {
      sealed_ = false;
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "another number of tokens");
    }
    if (!again) sequence_keys_.push_back(request->last_key());
    response->mutable_last()->set_already_stored(again);
  }
  if (drop_seal_reply > 0) {
    --drop_seal_reply;
    return grpc::Status(grpc::StatusCode::ABORTED, "still encoding");
  }
  return grpc::Status::OK;
}

// ---- watch

void FakeDaemon::Publish(const v1::WatchResponse& response) {
  MutexLock lock(&mutex_);
  for (Watcher* watcher : watchers_) watcher->queue.push_back(response);
  cond_.SignalAll();
}

int FakeDaemon::watchers() const {
  MutexLock lock(&mutex_);
  return static_cast<int>(watchers_.size());
}

grpc::Status FakeDaemon::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                               grpc::ServerWriter<v1::WatchResponse>* writer) {
  if (auto s = CheckId(context, request->namespace_id(), "Watch"); !s.ok()) return s;
  Watcher self;
  MutexLock lock(&mutex_);
  watchers_.push_back(&self);
  writer->Write(v1::WatchResponse());
  while (!stopping_ && !context->IsCancelled()) {
    for (const auto& response : std::exchange(self.queue, {})) writer->Write(response);
    cond_.WaitFor(&mutex_, absl::Milliseconds(10));
  }
  watchers_.erase(std::find(watchers_.begin(), watchers_.end(), &self));
  return Unavailable();
}

}  // namespace kvcompd::client
