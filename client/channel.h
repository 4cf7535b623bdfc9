// ChannelPool: the client's connections, taken in turn. Thread-safe.
//
//   std::shared_ptr<Lane> lane = pool.Next();
//   lane->kv->Match(&context, request, &response);
#ifndef KVCOMPD_CLIENT_CHANNEL_H_
#define KVCOMPD_CLIENT_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <memory>
#include <vector>

#include "client/client_options.h"
#include "client/retry.h"
#include "proto/kvcompd/v1/admin.grpc.pb.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"

namespace kvcompd::client {

// One connection and its stubs; immutable.
struct Lane {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::KvCache::Stub> kv;
  std::unique_ptr<v1::Admin::Stub> admin;
  std::unique_ptr<grpc::GenericStub> generic;
};

class ChannelPool {
 public:
  explicit ChannelPool(const ClientOptions& options);
  std::shared_ptr<Lane> Next();
  // UNAVAILABLE unless the first connection is made in time.
  absl::Status WaitConnected(const Deadline& deadline);

 private:
  std::vector<std::shared_ptr<Lane>> lanes_;
  std::atomic<uint32_t> next_{0};
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CHANNEL_H_
