// A Daemon of a test's own on a free port, a channel to it, and short ways to fill its store.
//
//   DaemonFixture fixture;                     // or with options and a clock
//   auto ns = fixture.OpenNamespace("acme");
//   fixture.StoreBlock(ns, 7);                 // complete, visible
//   fixture.admin()->Stats(&context, ...);
#ifndef KVCOMPD_TESTS_SERVER_SERVICE_DAEMON_FIXTURE_H_
#define KVCOMPD_TESTS_SERVER_SERVICE_DAEMON_FIXTURE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "codec/base/clock.h"
#include "proto/kvcompd/v1/admin.grpc.pb.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"
#include "server/ops/daemon_options.h"
#include "server/service/daemon.h"

namespace kvcompd::server {

// Port 0, little memory, two workers, time by hand.
DaemonOptions SmallDaemonOptions();

// A channel that no other one shares its connection with.
std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address);

// No test waits longer than this for anything.
inline constexpr absl::Duration kPatience = absl::Seconds(60);
// A call that ends after kPatience at the latest.
std::unique_ptr<grpc::ClientContext> Call();
// True once `done` is; false after kPatience.
bool Eventually(const std::function<bool()>& done);

class DaemonFixture {
 public:
  explicit DaemonFixture(const DaemonOptions& options = SmallDaemonOptions(),
                         Daemon::ExitCallback on_exit = nullptr);

  Daemon& daemon() { return *daemon_; }
  ManualClock& clock() { return clock_; }
  Store& store() { return *daemon_->context().store; }
  v1::Admin::Stub* admin() { return admin_.get(); }
  v1::KvCache::Stub* kvcache() { return kvcache_.get(); }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }

  // One group of one layer and head, so that one shard is a block.
  std::shared_ptr<Namespace> OpenNamespace(const std::string& tenant);
  static BlockKey Key(int number);
  // False where the store refused it.
  bool StoreBlock(const std::shared_ptr<Namespace>& ns, int number, uint64_t bytes = 256);

 private:
  ManualClock clock_;
  std::unique_ptr<Daemon> daemon_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::unique_ptr<v1::KvCache::Stub> kvcache_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_TESTS_SERVER_SERVICE_DAEMON_FIXTURE_H_
