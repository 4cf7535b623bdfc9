// What the tests of the data service share: a daemon, puts and gets through the generated stubs (so that
// messages are made by protobuf and not by the code under test), and the account check after each test.
//
//   class PutTest : public ServiceTest {};
//   TEST_F(PutTest, Stores) {
//     const std::string ns = Open();
//     EXPECT_TRUE(Put({.ns = ns, .blocks = {1, 2}}).ok());
//     const Got got = Get(GetOf(ns, {1, 2}));
//     EXPECT_EQ(got.Values(0, 3, Tensor::kV), ExpectedValues(1, WholeShard(), 3, Tensor::kV));
//   }
#ifndef KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_FIXTURE_H_
#define KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_FIXTURE_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"
#include "proto/status_convert.h"
#include "tests/server/service/daemon_fixture.h"
#include "tests/server/service/service_samples.h"

namespace kvcompd::server {

// One Put stream.
class PutCall {
 public:
  explicit PutCall(v1::KvCache::Stub* stub);
  bool Send(const v1::PutRequest& request) { return stream_->Write(request); }
  bool Receive();  // one response; false at the end
  bool ReceiveResults(size_t count);
  absl::Status Finish();  // half-closes and reads what is left
  void Cancel() { context_->TryCancel(); }

  std::vector<v1::PutDisposition> verdicts;
  std::map<uint32_t, std::vector<v1::PutResult>> results;  // by block
  uint64_t credit = 0;                                     // granted in all

  v1::PutDisposition::Verdict verdict(size_t block) const { return verdicts.at(block).verdict(); }
  // Of the one result that the block has; INTERNAL where there is none or more than one.
  absl::Status StatusOf(uint32_t block) const;
  v1::Reason ReasonOf(uint32_t block) const;

 private:
  std::unique_ptr<grpc::ClientContext> context_ = Call();
  std::unique_ptr<grpc::ClientReaderWriter<v1::PutRequest, v1::PutResponse>> stream_;
};

// What a Get brought.
struct Got {
  absl::Status status;
  std::vector<v1::GetChunk> chunks;  // in order
  std::vector<v1::LayerResult> layers;
  // By (block, layer, tensor), then head: [tokens, channels].
  std::map<std::tuple<uint32_t, uint32_t, Tensor>, std::map<uint32_t, std::string>> heads;

  // All heads that came, one after the other.
  std::string Values(uint32_t block, uint32_t layer, Tensor tensor) const;
  // Of the block's last layer result; NOT_FOUND where nothing was said.
  absl::Status BlockStatus(uint32_t block) const;
  v1::Reason BlockReason(uint32_t block) const;
  size_t LayersOf(uint32_t block) const;  // layers that came well
};
// The test's daemon; after each test nothing may be left in it.
class ServiceTest : public ::testing::Test {
 public:
  explicit ServiceTest(const DaemonOptions& options = SmallDaemonOptions());
  void TearDown() override;

  v1::KvCache::Stub* stub() { return fixture_->kvcache(); }
  DaemonFixture& fixture() { return *fixture_; }
  Store& store() { return fixture_->store(); }
  ManualClock& clock() { return fixture_->clock(); }
  void Restart(const DaemonOptions& options);
  // Moves the clock and does what is due.
  void Advance(uint32_t ms);
  // Lets so much time pass that every stream that stands still is ended. More than once, because the last
  // write may be done only now, and count as progress.
  void CancelSilentStreams();

  v1::OpenNamespaceRequest OpenRequest(const std::string& tenant = "acme",
                                       const std::string& profile = "raw");
  absl::Status OpenNamespace(const v1::OpenNamespaceRequest& request, v1::OpenNamespaceResponse* response);
  // The namespace's id.
  std::string Open(const std::string& tenant = "acme", const std::string& profile = "raw");
  std::string Open(const v1::OpenNamespaceRequest& request);

  // Header, wanted pieces, commit, all of it; the first error of call or blocks.
  absl::Status Put(const PutSpec& spec);
  Got Get(const v1::GetRequest& request);
  bool Exists(const std::string& ns, int block);
  uint32_t Matched(const std::string& ns, const std::vector<int>& blocks);

  double Rejected(const std::string& reason) { return Metric("kvcompd_rejected_total", reason); }
  double Missed(const std::string& reason) { return Metric("kvcompd_misses_total", reason); }
  double Metric(const std::string& name, const std::string& reason);
  // Waits for all streams and jobs to be over; what is stored stays.
  void Quiesce();

 private:
  std::unique_ptr<DaemonFixture> fixture_;
};

// A unary call's status.
#define KVCOMPD_CALL(method, request, response) \
  ::kvcompd::FromGrpc(stub()->method(::kvcompd::server::Call().get(), request, response))

}  // namespace kvcompd::server

#endif  // KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_FIXTURE_H_
