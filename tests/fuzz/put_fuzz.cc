// Fuzzes a Put stream: the input is a sequence of messages, each with its length as a u32 before it (a length
// of 0xffffffff is the peer going away; at the end the stream half-closes). Run as it is and again with the
// pieces' CRCs made right, so that the fuzzer gets to what stands behind them.
//
// Whatever comes: no crash; the stream finishes exactly once, or is cancelled; nothing is sent after that;
// and when the session is gone and the namespace flushed, no byte is left on any account.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "codec/base/byte_io.h"
#include "codec/base/clock.h"
#include "codec/base/crc32c.h"
#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "server/ops/metrics.h"
#include "server/service/put_session.h"
#include "server/service/service_context.h"
#include "server/service/worker_pool.h"
#include "server/store/namespace.h"
#include "server/store/store.h"
#include "tests/server/service/service_samples.h"

namespace kvcompd::server {
namespace {

constexpr uint32_t kGone = 0xffffffff;
constexpr size_t kMaxMessages = 64;

void Require(bool condition) {
  if (!condition) std::abort();
}

// A store of 2 MiB and one worker; made once.
struct Service {
  Service() {
    Store::Options options;
    options.host.capacity_bytes = 2 << 20;
    options.host.slab_bytes = 1 << 20;
    options.epoch = 1;
    store = std::make_unique<Store>(options, &clock, &metrics);
    context.options.put_credit_bytes = 64 << 10;
    context.options.max_blocks = 64;
    context.clock = &clock;
    context.store = store.get();
    context.pool = &pool;
    context.metrics = &metrics;
    context.buffers = &buffers;
    context.messages = &messages;
    context.streams = &streams;
    NamespacePolicy policy;
    policy.profile = *Profile::Parse(kKvcomp);
    auto opened = store->OpenNamespace("fuzz", "", ServiceModel(), policy);
    Require(opened.ok());
    ns = opened->ns;
  }
  void Settle() {
    for (;;) {
      const WorkerPool::Stats stats = pool.stats();
      if (stats.running == 0 && stats.queued_reads + stats.queued_writes == 0) return;
      std::this_thread::yield();
    }
  }

  ManualClock clock;
  Metrics metrics;
  BufferPool buffers{1 << 20};
  MessageBudget messages{64 << 20};
  ActiveStreams streams{16};
  std::unique_ptr<Store> store;
  WorkerPool pool{{.threads = 1}};
  ServiceContext context;
  std::shared_ptr<Namespace> ns;
};

std::vector<std::optional<std::string>> Messages(ByteSpan input) {
  std::vector<std::optional<std::string>> out;
  ByteReader reader(input);
  while (reader.remaining() > 4 && out.size() < kMaxMessages) {
    const uint32_t length = reader.U32();
    if (length == kGone) {
      out.emplace_back();
      continue;
    }
    out.emplace_back(std::string(AsChars(reader.Bytes(std::min<size_t>(length, reader.remaining())))));
  }
  return out;
}

void Repair(std::string* bytes) {
  v1::PutRequest request;
  if (!request.ParseFromString(*bytes)) return;
  size_t at = 0;
  for (auto& chunk : *request.mutable_chunks()) {
    if (chunk.bytes() > request.data().size() - at) break;
    chunk.set_crc32c(Crc32c(AsBytes(std::string_view(request.data()).substr(at, chunk.bytes()))));
    at += chunk.bytes();
  }
  *bytes = request.SerializeAsString();
}

void Run(Service& service, const std::vector<std::optional<std::string>>& messages) {
  struct Outcome {
    Mutex mutex;
    int finished ABSL_GUARDED_BY(mutex) = 0;
    bool cancelled ABSL_GUARDED_BY(mutex) = false;
  };
  auto outcome = std::make_shared<Outcome>();
  auto session = PutSession::Create(
      &service.context, nullptr, std::make_shared<ActiveStreams::Activity>(0),
      [outcome](const v1::PutResponse&) {
        MutexLock lock(&outcome->mutex);
        Require(outcome->finished == 0);
      },
      [outcome](const absl::Status&) {
        MutexLock lock(&outcome->mutex);
        Require(outcome->finished == 0 && !outcome->cancelled);
        ++outcome->finished;
      });
  bool gone = false;
  for (const auto& message : messages) {
    if (!message.has_value()) {
      session->OnCancel();
      gone = true;
      break;
    }
    const grpc::Slice slice(*message);
    session->OnMessage(grpc::ByteBuffer(&slice, 1));
    service.Settle();  // in order: the same input takes the same way every time
  }
  {
    MutexLock lock(&outcome->mutex);
    outcome->cancelled = gone;
  }
  if (!gone) session->OnHalfClose();
  service.Settle();
  {
    MutexLock lock(&outcome->mutex);
    Require(gone ? outcome->finished <= 1 : outcome->finished == 1);
  }
  const std::weak_ptr<PutSession> alive = session;
  session.reset();
  Require(alive.expired());
  service.store->Flush(service.ns);
  const Store::Stats stats = service.store->stats();
  Require(stats.host.used_bytes == 0 && stats.host.slots == 0);
  Require(stats.stored_bytes == 0 && stats.staged_bytes == 0 && stats.blocks == 0);
  Require(service.ns->account().charged_bytes == 0);
  Require(service.messages.used_bytes() == 0);
}

}  // namespace
}  // namespace kvcompd::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using kvcompd::server::Service;
  static Service& service = *new Service();
  auto messages = kvcompd::server::Messages(std::as_bytes(std::span(data, size)));
  kvcompd::server::Run(service, messages);
  for (auto& message : messages) {
    if (message.has_value()) kvcompd::server::Repair(&*message);
  }
  kvcompd::server::Run(service, messages);
  return 0;
}
