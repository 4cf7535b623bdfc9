#include "server/service/data_session_reactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/server/service/daemon_fixture.h"

namespace kvcompd::server {
namespace {

using testing::HasSubstr;

v1::DataSessionRequest Offer(const std::string& namespace_id, const std::vector<std::string>& planes) {
  v1::DataSessionRequest request;
  request.set_namespace_id(namespace_id);
  for (const std::string& plane : planes) request.add_planes(plane);
  return request;
}

// One session, as a client holds it.
struct Session {
  explicit Session(DaemonFixture& fixture)
      : call(Call()), stream(fixture.kvcache()->OpenDataSession(call.get())) {}
  std::unique_ptr<grpc::ClientContext> call;
  std::unique_ptr<grpc::ClientReaderWriter<v1::DataSessionRequest, v1::DataSessionResponse>> stream;
};

grpc::Status StatusOfOffer(DaemonFixture& fixture, const std::string& namespace_id,
                           const std::vector<std::string>& planes) {
  Session session(fixture);
  session.stream->Write(Offer(namespace_id, planes));
  v1::DataSessionResponse response;
  EXPECT_FALSE(session.stream->Read(&response));
  return session.stream->Finish();
}

TEST(DataSession, PicksGrpcAndSaysWhyNotTheOthers) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  Session first(fixture), later(fixture);
  v1::DataSessionResponse response;
  ASSERT_TRUE(first.stream->Write(Offer(ns->id(), {"grpc", "shm"})));
  ASSERT_TRUE(first.stream->Read(&response));
  EXPECT_EQ(response.plane(), "grpc");
  EXPECT_EQ(response.reason(), "");
  EXPECT_EQ(response.session_id().size(), 16u);
  const std::string first_id = response.session_id();

  ASSERT_TRUE(later.stream->Write(Offer(ns->id(), {"cuda_ipc", "teleport", "grpc"})));
  ASSERT_TRUE(later.stream->Read(&response));
  EXPECT_EQ(response.plane(), "grpc");
  EXPECT_EQ(response.reason(), "cuda_ipc: not served by this version; teleport: no such data plane");
  EXPECT_NE(response.session_id(), first_id);
}

TEST(DataSession, StaysOpenUntilTheClientHalfCloses) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  Session session(fixture);
  v1::DataSessionResponse response;
  ASSERT_TRUE(session.stream->Write(Offer(ns->id(), {"grpc"})));
  ASSERT_TRUE(session.stream->Read(&response));
  // However long it is quiet.
  fixture.clock().AdvanceUs(int64_t{3600} * 1'000'000);
  fixture.daemon().Tick();
  EXPECT_EQ(fixture.daemon().context().streams->open(), 1u);
  ASSERT_TRUE(session.stream->WritesDone());
  EXPECT_FALSE(session.stream->Read(&response));
  EXPECT_TRUE(session.stream->Finish().ok());
}

TEST(DataSession, HalfCloseWithoutARequestIsNoError) {
  DaemonFixture fixture;
  Session session(fixture);
  session.stream->WritesDone();
  EXPECT_TRUE(session.stream->Finish().ok());
}

TEST(DataSession, RefusesWhatItCannotServe) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  const grpc::Status unserved = StatusOfOffer(fixture, ns->id(), {"shm", "nccl"});
  EXPECT_EQ(unserved.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(unserved.error_message(), HasSubstr("shm: not served by this version; nccl: not served"));
  EXPECT_EQ(StatusOfOffer(fixture, ns->id(), {}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(StatusOfOffer(fixture, ns->id(), std::vector<std::string>(17, "shm")).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(StatusOfOffer(fixture, std::string(16, 'x'), {"grpc"}).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(fixture.daemon().context().metrics->Value("kvcompd_rejected_total", {{"reason", "unsupported"}}),
            1);
}

TEST(DataSession, AnUnknownNamespaceIsToBeOpenedAgain) {
  DaemonFixture fixture;
  Session session(fixture);
  ASSERT_TRUE(session.stream->Write(Offer(std::string(16, 'x'), {"grpc"})));
  EXPECT_EQ(session.stream->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(session.call->GetServerTrailingMetadata().count("kvcompd-reopen"), 1u);
}

TEST(DataSession, OneRequestASession) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  Session session(fixture);
  v1::DataSessionResponse response;
  ASSERT_TRUE(session.stream->Write(Offer(ns->id(), {"grpc"})));
  ASSERT_TRUE(session.stream->Read(&response));
  ASSERT_TRUE(session.stream->Write(Offer(ns->id(), {"grpc"})));
  EXPECT_FALSE(session.stream->Read(&response));
  EXPECT_EQ(session.stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(DataSession, OverTheLimitOfStreams) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.max_streams = 1;
  DaemonFixture fixture(options);
  const auto ns = fixture.OpenNamespace("a");
  Session session(fixture);
  v1::DataSessionResponse response;
  ASSERT_TRUE(session.stream->Write(Offer(ns->id(), {"grpc"})));
  ASSERT_TRUE(session.stream->Read(&response));
  EXPECT_EQ(StatusOfOffer(fixture, ns->id(), {"grpc"}).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  session.call->TryCancel();
  EXPECT_EQ(session.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return fixture.daemon().context().streams->open() == 0; }));
}

TEST(DataSession, ADrainSendsItElsewhere) {
  DaemonFixture fixture;
  const auto ns = fixture.OpenNamespace("a");
  Session session(fixture);
  v1::DataSessionResponse response;
  ASSERT_TRUE(session.stream->Write(Offer(ns->id(), {"grpc"})));
  ASSERT_TRUE(session.stream->Read(&response));
  fixture.daemon().BeginDrain();
  const grpc::Status refused = StatusOfOffer(fixture, ns->id(), {"grpc"});
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  fixture.daemon().Drain(kPatience);
  EXPECT_FALSE(session.stream->Read(&response));
  const grpc::Status ended = session.stream->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(ended.error_message(), HasSubstr("draining"));
}

}  // namespace
}  // namespace kvcompd::server
