// FakeDaemon: a small kvcompd for the client's tests: a gRPC server on 127.0.0.1 that keeps blocks in maps
// and does, on request, what a real daemon should not.
//
//   FakeDaemon daemon(TestModel());
//   daemon.break_get_after = 2;                     // the next Get ends UNAVAILABLE after two messages
//   auto client = Client::Connect(daemon.Options());
//
// Faults are set before the call that meets them. Thread-safe where it says so.
#ifndef KVCOMPD_TESTS_CLIENT_FAKE_DAEMON_H_
#define KVCOMPD_TESTS_CLIENT_FAKE_DAEMON_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/client_options.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/mutex.h"
#include "codec/codebook.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"

namespace kvcompd::client {

// Two layers, three KV heads, 24 channels of K and 16 of V, 64 tokens a block, bf16.
ModelDescriptor TestModel();

class FakeDaemon final : public v1::KvCache::Service {
 public:
  explicit FakeDaemon(const ModelDescriptor& model);
  ~FakeDaemon() override;

  // On the port it had before, or any for the first time.
  void Start();
  // Streams and calls end UNAVAILABLE.
  void Stop();
  // What a restart does: blocks and namespaces are gone, the epoch is another.
  void Forget();
  ClientOptions Options() const;
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // ---- faults and scripts
  // Before each call but OpenNamespace; not OK is the call's status. Any thread.
  std::function<grpc::Status(const std::string& method)> before;
  std::function<grpc::Status()> before_open;
  std::atomic<int> break_get_after{-1};  // messages; then UNAVAILABLE, once
  std::atomic<int> break_put_after{-1};
  std::atomic<int> drop_append_reply{0};   // appends that are taken and answered UNAVAILABLE
  std::atomic<int> fail_append_after{-1};  // appends from now on; then one is taken and answered INTERNAL
  std::atomic<int> drop_seal_reply{0};     // seals that are taken and answered UNAVAILABLE
  std::atomic<bool> draining{false};       // UNAVAILABLE with the trailing metadata that says so
  std::function<void(std::vector<v1::GetResponse>*)> edit_get;  // of each Get, before it is sent
  // Not null: instead of WANTED. Index of the block in the header.
  std::function<v1::PutDisposition(int)> dispose;
  std::atomic<int> fail_put_block{-1};  // its first chunk gets a PutResult with RESOURCE_EXHAUSTED
  std::atomic<uint64_t> put_credit{64 << 10};
  std::atomic<uint32_t> max_blocks{64};
  std::atomic<uint32_t> max_keys{1024};
  // What a namespace has that is registered without one. As the last one was registered; a test may change
  // it.
  v1::NamespacePolicy policy;
  std::atomic<bool> check_put{false};  // ENCODED puts of another profile or an unknown set are refused
  std::shared_ptr<const codec::CodebookSet> codebooks;  // the current set; null: NOT_FOUND

  // ---- what happened
  std::atomic<int> opens{0};
  std::atomic<int> puts{0};
  std::atomic<int> gets{0};
  std::atomic<int> appends{0};
  std::atomic<int> codebook_fetches{0};
  std::atomic<int> codebook_uploads{0};
  std::atomic<int> seals{0};
  std::atomic<int> drains{0};
  std::vector<v1::OpenNamespaceRequest> open_requests() const;
  std::vector<v1::PutHeader> put_headers() const;
  v1::SealRequest last_seal() const;
  std::atomic<int> most_message_bytes{0};
  std::vector<v1::GetRequest> get_requests() const;
  size_t stored_blocks() const;
  std::set<std::string> released_leases() const;
  uint64_t sequence_tokens() const;
  std::vector<std::string> sequence_keys() const;
  // Sends to every Watch that is open.
  void Publish(const v1::WatchResponse& response);
  int watchers() const;

  grpc::Status OpenNamespace(grpc::ServerContext*, const v1::OpenNamespaceRequest*,
                             v1::OpenNamespaceResponse*) override;
  grpc::Status Put(grpc::ServerContext*, grpc::ServerReaderWriter<v1::PutResponse, v1::PutRequest>*) override;
  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest*,
                   grpc::ServerWriter<v1::GetResponse>*) override;
  grpc::Status Match(grpc::ServerContext*, const v1::MatchRequest*, v1::MatchResponse*) override;
  grpc::Status Exists(grpc::ServerContext*, const v1::ExistsRequest*, v1::ExistsResponse*) override;
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest*, v1::DeleteResponse*) override;
  grpc::Status Pin(grpc::ServerContext*, const v1::PinRequest*, v1::PinResponse*) override;
  grpc::Status Unpin(grpc::ServerContext*, const v1::UnpinRequest*, v1::UnpinResponse*) override;
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest*, v1::ReleaseResponse*) override;
  grpc::Status PutCodebooks(grpc::ServerContext*, const v1::PutCodebooksRequest*,
                            v1::PutCodebooksResponse*) override;
  grpc::Status GetCodebooks(grpc::ServerContext*, const v1::GetCodebooksRequest*,
                            v1::GetCodebooksResponse*) override;
  grpc::Status OpenSequence(grpc::ServerContext*, const v1::OpenSequenceRequest*,
                            v1::OpenSequenceResponse*) override;
  grpc::Status Append(grpc::ServerContext*, const v1::AppendRequest*, v1::AppendResponse*) override;
  grpc::Status Seal(grpc::ServerContext*, const v1::SealRequest*, v1::SealResponse*) override;
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::WatchResponse>*) override;

 private:
  struct Stored {
    uint32_t tokens = 0;
    Generation generation;
    bool encoded = false;
    std::string header, footer, codebook_set;
    std::map<std::pair<uint32_t, int>, std::string> tensors;  // by (layer, tensor): values or a segment
  };
  struct PutState;
  struct Watcher;
  struct Admin;

  grpc::Status CheckId(grpc::ServerContext* context, const std::string& id, const std::string& method);
  grpc::Status TakeChunks(const v1::PutRequest& request, PutState* state);
  void AddPieces(const v1::GetChunk& base, const std::string& bytes, v1::GetResponse* message) const;
  std::vector<v1::GetResponse> MessagesOf(const v1::GetRequest& request);
  v1::GetResponse LayerMessage(const v1::GetRequest& request, int block, uint32_t layer);

  void Dispose(const v1::PutHeader& header, int block, v1::PutDisposition* disposition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ModelDescriptor model_;
  const std::unique_ptr<Admin> admin_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable Mutex mutex_;
  CondVar cond_;
  bool known_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t counter_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Stored> blocks_ ABSL_GUARDED_BY(mutex_);
  std::string name_ ABSL_GUARDED_BY(mutex_);  // of the namespace
  std::vector<v1::GetRequest> get_requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::OpenNamespaceRequest> open_requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::PutHeader> put_headers_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> uploaded_sets_ ABSL_GUARDED_BY(mutex_);
  v1::SealRequest last_seal_ ABSL_GUARDED_BY(mutex_);
  bool sealed_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::string> pinned_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> released_ ABSL_GUARDED_BY(mutex_);
  uint64_t sequence_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> sequence_keys_ ABSL_GUARDED_BY(mutex_);
  std::vector<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_TESTS_CLIENT_FAKE_DAEMON_H_
