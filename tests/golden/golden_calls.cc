#include "tests/golden/golden_calls.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <map>
#include <utility>

#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/base/types.h"
#include "proto/convert.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "tests/server/service/service_samples.h"

namespace kvcompd {
namespace {

using google::protobuf::Message;

template <typename Request, typename Response>
struct Types {
  static std::unique_ptr<Message> NewRequest() { return std::make_unique<Request>(); }
  static std::unique_ptr<Message> NewResponse() { return std::make_unique<Response>(); }
};

struct Method {
  std::unique_ptr<Message> (*request)();
  std::unique_ptr<Message> (*response)();
};

#define KVCOMPD_METHOD(name, prefix)                                     \
  {                                                                      \
    name, {                                                              \
      &Types<v1::prefix##Request, v1::prefix##Response>::NewRequest,     \
          &Types<v1::prefix##Request, v1::prefix##Response>::NewResponse \
    }                                                                    \
  }

const std::map<std::string, Method>& Methods() {
  static const auto& methods = *new std::map<std::string, Method>{
      KVCOMPD_METHOD("OpenNamespace", OpenNamespace),
      KVCOMPD_METHOD("Put", Put),
      KVCOMPD_METHOD("PutCodebooks", PutCodebooks),
      KVCOMPD_METHOD("GetCodebooks", GetCodebooks),
      KVCOMPD_METHOD("Get", Get),
      KVCOMPD_METHOD("OpenSequence", OpenSequence),
      KVCOMPD_METHOD("Append", Append),
      KVCOMPD_METHOD("Seal", Seal),
      KVCOMPD_METHOD("Match", Match),
      KVCOMPD_METHOD("Prefetch", Prefetch),
      KVCOMPD_METHOD("Exists", Exists),
      KVCOMPD_METHOD("Delete", Delete),
      KVCOMPD_METHOD("Lease", Lease),
      KVCOMPD_METHOD("Release", Release),
      KVCOMPD_METHOD("Pin", Pin),
      KVCOMPD_METHOD("Unpin", Unpin),
  };
  return methods;
}

void WriteText(std::string_view text, ByteWriter* w) {
  w->U32(static_cast<uint32_t>(text.size()));
  w->Bytes(text);
}

std::string ReadText(ByteReader* r) {
  const uint32_t size = r->U32();
  return std::string(AsChars(r->Bytes(size)));
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const auto& s : slices) out.append(reinterpret_cast<const char*>(s.begin()), s.size());
  return out;
}

// One stream of any bytes, step by step.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    stream_ = stub_.PrepareCall(&context_, "/kvcompd.v1.KvCache/" + method, &queue_);
    stream_->StartCall(nullptr);
    Done();
  }
  ~RawStream() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  void Send(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    Done();
  }
  bool Receive(std::vector<std::string>* out) {
    grpc::ByteBuffer reply;
    stream_->Read(&reply, nullptr);
    if (!Done()) return false;
    out->push_back(BytesOf(reply));
    return true;
  }
  int Finish(std::vector<std::string>* out) {
    stream_->WritesDone(nullptr);
    Done();
    while (Receive(out)) {
    }
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Done();
    return status.error_code();
  }

 private:
  bool Done() {
    void* tag;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

// One response of a stream's many.
template <typename Response>
Response Merged(const std::vector<std::string>& responses) {
  Response out;
  std::string data;
  for (const std::string& bytes : responses) {
    Response one;
    if (!one.ParseFromString(bytes)) return Response();
    if constexpr (std::is_same_v<Response, v1::GetResponse>) data += one.data();
    out.MergeFrom(one);
  }
  if constexpr (std::is_same_v<Response, v1::GetResponse>) out.set_data(data);
  return out;
}

RecordedCall CallOf(const char* method, const Message& request) {
  return {method, {request.SerializeAsString()}, {}, 0};
}

RecordedCall PutOf(const server::PutSpec& spec) {
  RecordedCall call{"Put", {HeaderOf(spec).SerializeAsString()}, {}, 0};
  for (uint32_t i = 0; i < spec.blocks.size(); ++i) {
    for (const auto& piece : PiecesOf(spec, i)) call.requests.push_back(piece.SerializeAsString());
    call.requests.push_back(server::CommitOf({i}).SerializeAsString());
  }
  return call;
}

template <typename Request>
Request KeysOf(const std::string& ns, const std::vector<int>& blocks) {
  Request request;
  request.set_namespace_id(ns);
  for (int block : blocks) request.add_keys(server::KeyOf(block));
  return request;
}

}  // namespace

std::string SerializeCalls(const std::vector<RecordedCall>& calls) {
  std::string out;
  ByteWriter w(&out);
  w.U32(static_cast<uint32_t>(calls.size()));
  for (const RecordedCall& call : calls) {
    WriteText(call.method, &w);
    w.U32(static_cast<uint32_t>(call.code));
    w.U32(static_cast<uint32_t>(call.requests.size()));
    w.U32(static_cast<uint32_t>(call.responses.size()));
    for (const auto& message : call.requests) WriteText(message, &w);
    for (const auto& message : call.responses) WriteText(message, &w);
  }
  return out;
}

absl::StatusOr<std::vector<RecordedCall>> ParseCalls(std::string_view bytes) {
  ByteReader r(AsBytes(bytes));
  std::vector<RecordedCall> calls;
  for (uint32_t n = r.U32(); n > 0 && r.ok(); --n) {
    RecordedCall& call = calls.emplace_back();
    call.method = ReadText(&r);
    call.code = static_cast<int>(r.U32());
    const uint32_t requests = r.U32();
    const uint32_t responses = r.U32();
    for (uint32_t i = 0; i < requests && r.ok(); ++i) call.requests.push_back(ReadText(&r));
    for (uint32_t i = 0; i < responses && r.ok(); ++i) call.responses.push_back(ReadText(&r));
  }
  if (!r.ok() || r.remaining() != 0) return absl::DataLossError("recorded calls: truncated");
  return calls;
}

std::unique_ptr<Message> NewRequest(const std::string& method) { return Methods().at(method).request(); }
std::unique_ptr<Message> NewResponse(const std::string& method) { return Methods().at(method).response(); }

RecordedCall Play(const std::shared_ptr<grpc::Channel>& channel, const RecordedCall& call) {
  RecordedCall out{call.method, call.requests, {}, 0};
  RawStream stream(channel, call.method);
  for (size_t i = 0; i < call.requests.size(); ++i) {
    stream.Send(call.requests[i]);
    if (i == 0 && call.method == "Put") stream.Receive(&out.responses);
  }
  out.code = stream.Finish(&out.responses);
  return out;
}

std::string Normalized(const RecordedCall& call) {
  const std::string head = call.method + " code " + std::to_string(call.code) + "\n";
  if (call.method == "Put") return head + Merged<v1::PutResponse>(call.responses).DebugString();
  if (call.method == "Get") return head + Merged<v1::GetResponse>(call.responses).DebugString();
  if (call.responses.empty()) return head;
  auto response = NewResponse(call.method);
  if (!response->ParseFromString(call.responses[0])) return head + "unreadable";
  if (auto* open = dynamic_cast<v1::OpenNamespaceResponse*>(response.get())) {
    open->mutable_hello()->clear_software();
    open->mutable_hello()->clear_features();
    open->mutable_hello()->clear_protocol_minor();
    open->mutable_hello()->clear_format_versions();
    open->clear_limits();
  } else if (auto* sequence = dynamic_cast<v1::OpenSequenceResponse*>(response.get())) {
    sequence->clear_sequence();
  } else if (auto* match = dynamic_cast<v1::MatchResponse*>(response.get())) {
    match->clear_lease_id();
  } else if (auto* lease = dynamic_cast<v1::LeaseResponse*>(response.get())) {
    lease->clear_lease_id();
  }
  return head + response->DebugString();
}

std::string HandleOf(const RecordedCall& call) {
  if (call.responses.empty()) return "";
  v1::OpenSequenceResponse sequence;
  v1::MatchResponse match;
  if (call.method == "OpenSequence" && sequence.ParseFromString(call.responses[0]))
    return sequence.sequence();
  if (call.method == "Match" && match.ParseFromString(call.responses[0])) return match.lease_id();
  return "";
}

std::vector<RecordedCall> GoldenSession() {
  using namespace server;                 // NOLINT: the samples' names
  const ShardRange small{0, 1, 1, 0, 1};  // one head of one layer keeps the file short
  std::vector<RecordedCall> calls;
  v1::OpenNamespaceRequest open;
  *open.mutable_hello() = MakeHello("golden/1", 0xf, 0);
  open.set_tenant("golden");
  open.set_name("session");
  ModelDescriptor model = ServiceModel();
  *open.mutable_model() = ToProto(model);
  open.mutable_policy()->set_profile("raw");
  open.mutable_policy()->add_accepted_profiles(kKvcomp);
  calls.push_back(CallOf("OpenNamespace", open));
  calls.push_back(CallOf("OpenNamespace", open));

  PutSpec spec;
  // The id of (tenant, fingerprint) is part of the contract: the same after a restart and an upgrade.
  spec.ns = std::string(Sha256(std::string("kvcompd.namespace.v1") + std::string("\x06\0\0\0", 4) + "golden" +
                               std::string(model.Fingerprint().view()))
                            .view()
                            .substr(0, 16));
  spec.blocks = {1};
  spec.tokens = 9;
  calls.push_back(PutOf(spec));
  spec.put_id = 2;
  calls.push_back({"Put", {HeaderOf(spec).SerializeAsString()}, {}, 0});  // stored already
  spec.blocks = {2};
  spec.encoded = true;
  spec.profile = kKvcomp;
  calls.push_back(PutOf(spec));
  spec.blocks = {3};
  spec.shard = small;
  spec.encoded = false;
  spec.salt = "salt";
  calls.push_back(PutOf(spec));

  v1::GetRequest get = GetOf(spec.ns, {1, 2, 9}, small);
  calls.push_back(CallOf("Get", get));
  get.set_form(v1::FORM_ENCODED);
  calls.push_back(CallOf("Get", get));
  get.set_max_error(0);
  get.set_without_v(true);
  get.mutable_accept()->add_codecs("raw");
  calls.push_back(CallOf("Get", get));
  get = GetOf(spec.ns, {3}, small);
  get.set_cache_salt("salt");
  calls.push_back(CallOf("Get", get));
  calls.push_back(CallOf("Get", v1::GetRequest()));  // FAILED_PRECONDITION

  v1::MatchRequest match = KeysOf<v1::MatchRequest>(spec.ns, {1, 2, 9});
  calls.push_back(CallOf("Match", match));
  match.set_lease(true);
  match.set_lease_ms(5000);
  calls.push_back(CallOf("Match", match));
  v1::ReleaseRequest release;
  release.set_namespace_id(spec.ns);
  release.set_lease_id(kLeasePlaceholder);
  calls.push_back(CallOf("Release", release));
  calls.push_back(CallOf("Exists", KeysOf<v1::ExistsRequest>(spec.ns, {1, 3, 9})));
  calls.push_back(CallOf("Prefetch", KeysOf<v1::PrefetchRequest>(spec.ns, {1, 9})));
  calls.push_back(CallOf("Pin", KeysOf<v1::PinRequest>(spec.ns, {1, 9})));
  calls.push_back(CallOf("Unpin", KeysOf<v1::UnpinRequest>(spec.ns, {1, 9})));
  calls.push_back(CallOf("Delete", KeysOf<v1::DeleteRequest>(spec.ns, {1, 9})));
  calls.push_back(CallOf("Exists", KeysOf<v1::ExistsRequest>(spec.ns, {1})));

  v1::OpenSequenceRequest sequence;
  sequence.set_namespace_id(spec.ns);
  sequence.set_parent_key(KeyOf(2));
  *sequence.mutable_shard() = ToProto(small);
  sequence.set_ttl_ms(60'000);
  calls.push_back(CallOf("OpenSequence", sequence));
  v1::AppendRequest append;
  append.set_namespace_id(spec.ns);
  append.set_sequence(kSequencePlaceholder);
  append.set_tokens(5);
  for (Tensor tensor : {Tensor::kK, Tensor::kV})
    append.mutable_data()->append(ExpectedValues(4, small, 0, tensor, 5));
  append.set_crc32c(Crc32c(AsBytes(append.data())));
  calls.push_back(CallOf("Append", append));
  append.set_first_token(6);
  calls.push_back(CallOf("Append", append));  // a gap
  get = GetOf(spec.ns, {}, small);
  get.set_sequence(kSequencePlaceholder);
  calls.push_back(CallOf("Get", get));
  v1::SealRequest seal;
  seal.set_namespace_id(spec.ns);
  seal.set_sequence(kSequencePlaceholder);
  seal.set_last_key(KeyOf(4));
  seal.set_tokens(append.tokens());
  calls.push_back(CallOf("Seal", seal));
  return calls;
}

}  // namespace kvcompd
