#include "tests/server/service/daemon_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/time/clock.h"

namespace kvcompd::server {

DaemonOptions SmallDaemonOptions() {
  DaemonOptions options;
  options.address.port = 0;
  options.store.host.capacity_bytes = uint64_t{8} << 20;
  options.store.host.slab_bytes = uint64_t{1} << 20;
  options.pool.threads = 2;
  options.manual_tick = true;
  return options;
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

std::unique_ptr<grpc::ClientContext> Call() {
  auto call = std::make_unique<grpc::ClientContext>();
  call->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kPatience));
  return call;
}

bool Eventually(const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!done()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

DaemonFixture::DaemonFixture(const DaemonOptions& options, Daemon::ExitCallback on_exit) {
  auto daemon = Daemon::Start(options, &clock_, std::move(on_exit));
  if (!daemon.ok()) {
    std::fprintf(stderr, "%s\n", daemon.status().ToString().c_str());
    std::abort();
  }
  daemon_ = *std::move(daemon);
  channel_ = ConnectTo(daemon_->address());
  admin_ = v1::Admin::NewStub(channel_);
  kvcache_ = v1::KvCache::NewStub(channel_);
}

std::shared_ptr<Namespace> DaemonFixture::OpenNamespace(const std::string& tenant) {
  ModelDescriptor model;
  model.model_id = "test/model";
  AttentionGroup group;
  group.layers = {0};
  group.kv_heads = 1;
  group.head_dim_k = 8;
  group.head_dim_v = 8;
  model.groups = {group};
  auto opened = store().OpenNamespace(tenant, "", model, NamespacePolicy());
  return opened.ok() ? opened->ns : nullptr;
}

BlockKey DaemonFixture::Key(int number) {
  return BlockKey::FromDigest(Sha256("block " + std::to_string(number)));
}

bool DaemonFixture::StoreBlock(const std::shared_ptr<Namespace>& ns, int number, uint64_t bytes) {
  PutRequestInfo info;
  info.key = Key(number);
  info.shard = {.group = 0, .head_begin = 0, .head_count = 1, .layer_begin = 0, .layer_count = 1};
  info.tokens = 64;
  info.bound_bytes = bytes;
  info.put_id = std::string(16, 'p');
  PutReply reply = store().BeginPut(ns, info);
  if (reply.verdict != PutVerdict::kWanted) return false;
  CommitInfo commit;
  commit.bytes = bytes;
  commit.raw_bytes = 2 * bytes;
  commit.profile = Profile().Text();
  return store().Commit(std::move(reply.staging), commit).ok();
}

}  // namespace kvcompd::server
