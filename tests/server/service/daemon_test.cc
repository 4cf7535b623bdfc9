#include "server/service/daemon.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/server/service/daemon_fixture.h"

namespace kvcompd::server {
namespace {

using testing::HasSubstr;

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices)
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

// One stream of a service that this test has no stub for.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel), call_(Call()), stream_(stub_.PrepareCall(call_.get(), method, &queue_)) {
    stream_->StartCall(this);
    started_ = Wait();
  }
  ~RawStream() {
    call_->TryCancel();
    grpc::Status status;
    stream_->Finish(&status, this);
    Wait();
  }
  bool Write(const std::string& bytes) {
    stream_->Write(BufferOf(bytes), this);
    return Wait();
  }
  // "(none)" at the end of the stream.
  std::string Read() {
    grpc::ByteBuffer buffer;
    stream_->Read(&buffer, this);
    return Wait() ? BytesOf(buffer) : "(none)";
  }
  bool started() const { return started_; }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::ClientContext> call_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  bool started_ = false;
};

// grpc.health.v1.HealthCheckRequest and the two answers, by hand: field 1 is a string, and an enum.
std::string HealthRequest(const std::string& service) {
  return service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
}
const char kServing[] = "\x08\x01";
const char kNotServing[] = "\x08\x02";

std::string Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  RawStream stream(channel, "/grpc.health.v1.Health/Check");
  stream.Write(HealthRequest(service));
  return stream.Read();
}

grpc::StatusCode Ping(v1::Admin::Stub* admin) {
  v1::StatsResponse response;
  return admin->Stats(Call().get(), {}, &response).error_code();
}

// A Put that sends nothing: it stands still until somebody ends it.
struct SilentPut {
  explicit SilentPut(DaemonFixture& fixture) : call(Call()), stream(fixture.kvcache()->Put(call.get())) {
    EXPECT_TRUE(Eventually([&] { return fixture.daemon().context().streams->busy() == 1; }));
  }
  grpc::StatusCode Wait() {
    v1::PutResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish().error_code();
  }
  std::unique_ptr<grpc::ClientContext> call;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PutRequest, v1::PutResponse>> stream;
};

TEST(Daemon, ListensOnAPortThatTheSystemChose) {
  DaemonFixture fixture;
  EXPECT_GT(fixture.daemon().port(), 0);
  EXPECT_EQ(fixture.daemon().address(), "127.0.0.1:" + std::to_string(fixture.daemon().port()));
  EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::OK);
}

TEST(Daemon, SeveralInOneProcess) {
  DaemonFixture a, b;
  EXPECT_NE(a.daemon().port(), b.daemon().port());
  a.daemon().Stop();
  EXPECT_EQ(Ping(a.admin()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ping(b.admin()), grpc::StatusCode::OK);
}

TEST(Daemon, ATakenPortIsSaidSo) {
  DaemonFixture fixture;
  DaemonOptions options = SmallDaemonOptions();
  options.address.port = static_cast<uint16_t>(fixture.daemon().port());
  const auto second = Daemon::Start(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Address already in use"));
  fixture.daemon().Stop();
  EXPECT_TRUE(Daemon::Start(options).ok());
}

TEST(Daemon, RefusesToListenForOthersWithoutConsent) {
  DaemonOptions options = SmallDaemonOptions();
  options.address.host = "0.0.0.0";
  EXPECT_EQ(Daemon::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.allow_insecure = true;
  EXPECT_TRUE(Daemon::Start(options).ok());
}

TEST(Daemon, UnixSocketIsNotTakenFromItsOwner) {
  DaemonOptions options = SmallDaemonOptions();
  // In /tmp: the path of a test's own directory is longer than a socket's may be.
  options.address = {.unix_path = "/tmp/kvcompd-daemon-test-" + std::to_string(getpid()) + ".sock"};
  {
    DaemonFixture fixture(options);
    EXPECT_EQ(fixture.daemon().address(), options.address.Text());
    EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::OK);
    const auto second = Daemon::Start(options);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::OK);
  }
  EXPECT_TRUE(Daemon::Start(options).ok());
}

TEST(Daemon, UnixSocketThatCannotBe) {
  DaemonOptions options = SmallDaemonOptions();
  options.address = {.unix_path = "/nonexistent/kvcompd.sock"};
  const auto daemon = Daemon::Start(options);
  EXPECT_EQ(daemon.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(daemon.status().message()), HasSubstr("No such file or directory"));
}

TEST(Daemon, HealthFollowsTheDrain) {
  DaemonFixture fixture;
  for (const char* service : {"", "kvcompd.v1.KvCache", "kvcompd.v1.Admin"}) {
    EXPECT_EQ(Health(fixture.channel(), service), kServing) << service;
  }
  EXPECT_EQ(Health(fixture.channel(), "kvcompd.v1.Nothing"), "(none)");
  fixture.daemon().BeginDrain();
  EXPECT_EQ(Health(fixture.channel(), ""), kNotServing);
  EXPECT_EQ(Health(fixture.channel(), "kvcompd.v1.KvCache"), kNotServing);
}

TEST(Daemon, ReflectionListsItsServices) {
  DaemonFixture fixture;
  RawStream stream(fixture.channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  ASSERT_TRUE(stream.started());
  ASSERT_TRUE(stream.Write("\x3a\x01*"));  // list_services
  const std::string answer = stream.Read();
  for (const char* service : {"kvcompd.v1.KvCache", "kvcompd.v1.Admin", "grpc.health.v1.Health"}) {
    EXPECT_THAT(answer, HasSubstr(service));
  }
}

TEST(Daemon, AHealthWatcherHoldsNoDrainUp) {
  DaemonFixture fixture;
  RawStream watch(fixture.channel(), "/grpc.health.v1.Health/Watch");
  ASSERT_TRUE(watch.Write(HealthRequest("")));
  EXPECT_EQ(watch.Read(), kServing);
  const absl::Time begin = absl::Now();
  std::thread drain([&] { fixture.daemon().Drain(kPatience); });
  EXPECT_EQ(watch.Read(), kNotServing);
  drain.join();
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
}

TEST(Daemon, ADrainWithoutCallsIsQuick) {
  DaemonFixture fixture;
  EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::OK);
  const absl::Time begin = absl::Now();
  fixture.daemon().Drain(kPatience);
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
  EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::UNAVAILABLE);
  fixture.daemon().Drain(kPatience);
}

TEST(Daemon, ADrainWaitsForARunningStream) {
  DaemonFixture fixture;
  SilentPut put(fixture);
  std::thread drain([&] { fixture.daemon().Drain(kPatience); });
  EXPECT_TRUE(Eventually([&] { return fixture.daemon().context().draining.load(); }));
  EXPECT_EQ(fixture.daemon().context().streams->busy(), 1u);
  put.stream->WritesDone();  // the client ends it in its own time
  EXPECT_EQ(put.Wait(), grpc::StatusCode::OK);
  drain.join();
  EXPECT_EQ(fixture.daemon().context().streams->open(), 0u);
}

TEST(Daemon, NothingBeginsWhileADrainWaits) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  ASSERT_TRUE(fixture.StoreBlock(ns, 1));
  v1::ExistsRequest exists;
  exists.set_namespace_id(ns->id());
  exists.add_keys(std::string(fixture.Key(1).view()));
  v1::ExistsResponse response;
  fixture.daemon().BeginDrain();
  EXPECT_TRUE(fixture.kvcache()->Exists(Call().get(), exists, &response).ok());  // still served

  SilentPut put(fixture);
  std::thread drain([&] { fixture.daemon().Drain(kPatience); });
  EXPECT_TRUE(Eventually([&] { return fixture.daemon().context().stopping.load(); }));
  EXPECT_EQ(fixture.kvcache()->Exists(Call().get(), exists, &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  v1::GetRequest get;
  get.set_namespace_id(ns->id());
  const auto call = Call();
  EXPECT_EQ(fixture.kvcache()->Get(call.get(), get)->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  put.call->TryCancel();
  put.Wait();
  drain.join();
}

TEST(Daemon, ADrainCancelsWhatOutlastsItsGrace) {
  DaemonFixture fixture;
  SilentPut put(fixture);
  fixture.daemon().Drain(absl::Milliseconds(50));
  EXPECT_EQ(fixture.daemon().context().streams->open(), 0u);
  EXPECT_NE(put.Wait(), grpc::StatusCode::OK);
}

TEST(Daemon, DrainsFromManyThreadsAreOne) {
  DaemonFixture fixture;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { fixture.daemon().Drain(kPatience); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Ping(fixture.admin()), grpc::StatusCode::UNAVAILABLE);
}

TEST(Daemon, AStreamThatStandsStillIsCancelled) {
  DaemonFixture fixture;
  SilentPut put(fixture);
  const int64_t idle_us = int64_t{ServiceOptions().stream_idle_ms} * 1000;
  fixture.clock().AdvanceUs(idle_us - 1);
  fixture.daemon().Tick();
  Metrics& metrics = *fixture.daemon().context().metrics;
  EXPECT_EQ(metrics.Value("kvcompd_streams_cancelled_total", {{"reason", "idle"}}), 0);
  fixture.clock().AdvanceUs(1);
  fixture.daemon().Tick();
  EXPECT_EQ(metrics.Value("kvcompd_streams_cancelled_total", {{"reason", "idle"}}), 1);
  EXPECT_EQ(put.Wait(), grpc::StatusCode::CANCELLED);
}

TEST(Daemon, TheTimerTicksByItself) {
  DaemonOptions options = SmallDaemonOptions();
  options.manual_tick = false;
  DaemonFixture fixture(options);
  SilentPut put(fixture);
  fixture.clock().AdvanceUs(int64_t{ServiceOptions().stream_idle_ms} * 1000);
  EXPECT_EQ(put.Wait(), grpc::StatusCode::CANCELLED);
}

TEST(Daemon, TickExpiresLeases) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  ASSERT_TRUE(fixture.StoreBlock(ns, 1));
  const std::vector<BlockKey> keys = {fixture.Key(1)};
  ASSERT_FALSE(fixture.store().Lease(ns, keys, 1000).lease_id.empty());
  fixture.daemon().Tick();
  EXPECT_EQ(fixture.store().stats().leases, 1u);
  fixture.clock().AdvanceUs(1'000'001);
  fixture.daemon().Tick();
  EXPECT_EQ(fixture.store().stats().leases, 0u);
}

TEST(Daemon, OverlongMessagesAreRefused) {
  DaemonFixture fixture;
  v1::FlushRequest request;
  request.set_namespace_id(std::string(ServiceOptions().max_chunk_bytes + (uint64_t{3} << 20), 'x'));
  v1::FlushResponse response;
  EXPECT_EQ(fixture.admin()->Flush(Call().get(), request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace kvcompd::server
