#include "client/byte_stream.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "proto/bulk.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"

namespace kvcompd::client {
namespace {

using PutServerStream = grpc::ServerReaderWriter<v1::PutResponse, v1::PutRequest>;

// A server whose Put does what the test says.
class Peer final : public v1::KvCache::Service {
 public:
  explicit Peer(std::function<grpc::Status(grpc::ServerContext*, PutServerStream*)> put)
      : put_(std::move(put)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    options_.address = "127.0.0.1:" + std::to_string(port);
    pool_ = std::make_unique<ChannelPool>(options_);
  }
  ~Peer() override { server_->Shutdown(std::chrono::system_clock::now()); }
  grpc::Status Put(grpc::ServerContext* context, PutServerStream* stream) override {
    return put_(context, stream);
  }

  std::unique_ptr<ByteStream> Start(uint32_t deadline_ms = 60'000) {
    return ByteStream::Start(pool_->Next(), {.method = "/kvcompd.v1.KvCache/Put",
                                             .deadline = Deadline::AfterMs(&clock_, deadline_ms),
                                             .read_ahead = 3,
                                             .write_ahead = 2});
  }

 private:
  std::function<grpc::Status(grpc::ServerContext*, PutServerStream*)> put_;
  std::unique_ptr<grpc::Server> server_;
  ClientOptions options_;
  std::unique_ptr<ChannelPool> pool_;
  SteadyClock clock_;
};

grpc::ByteBuffer Message(uint64_t number, size_t bulk_bytes = 0) {
  v1::PutRequest request;
  request.mutable_commit()->add_blocks(static_cast<uint32_t>(number));
  const grpc::Slice bulk(std::string(bulk_bytes, 'x'));
  return EncodeBulk(request, {&bulk, 1});
}

uint64_t NumberOf(const grpc::ByteBuffer& buffer) {
  v1::PutResponse response;
  BulkView no_bulk;
  EXPECT_TRUE(DecodeBulk(buffer, &response, &no_bulk).ok());
  return response.credit_bytes();
}

grpc::Status Echo(grpc::ServerContext*, PutServerStream* stream) {
  v1::PutRequest request;
  while (stream->Read(&request)) {
    v1::PutResponse response;
    response.set_credit_bytes(request.commit().blocks(0));
    stream->Write(response);
  }
  return grpc::Status::OK;
}

void WaitForCancel(grpc::ServerContext* context) {
  while (!context->IsCancelled()) std::this_thread::yield();
}

TEST(ByteStreamTest, MessagesGoBothWaysInOrder) {
  Peer peer(Echo);
  auto stream = peer.Start();
  uint64_t expected = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream->Write(Message(i)));
    grpc::ByteBuffer buffer;
    while (stream->TryRead(&buffer)) EXPECT_EQ(NumberOf(buffer), expected++);
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Write(Message(0)));
  grpc::ByteBuffer buffer;
  while (stream->Read(&buffer)) EXPECT_EQ(NumberOf(buffer), expected++);
  EXPECT_EQ(expected, 100u);
  EXPECT_TRUE(stream->Finish().status.ok());
  EXPECT_TRUE(stream->Finish().status.ok());
}

TEST(ByteStreamTest, NobodyListens) {
  SteadyClock clock;
  ClientOptions options;
  options.address = "127.0.0.1:1";
  ChannelPool pool(options);
  auto stream = ByteStream::Start(
      pool.Next(), {.method = "/kvcompd.v1.KvCache/Put", .deadline = Deadline::AfterMs(&clock, 60'000)});
  grpc::ByteBuffer buffer;
  EXPECT_FALSE(stream->Read(&buffer));
  EXPECT_FALSE(stream->Write(Message(0)));
  EXPECT_EQ(stream->Finish().status.code(), absl::StatusCode::kUnavailable);
}

TEST(ByteStreamTest, APeerThatNeverAnswersIsLeftAtTheDeadline) {
  Peer peer([](grpc::ServerContext* context, PutServerStream*) {
    WaitForCancel(context);
    return grpc::Status::OK;
  });
  auto stream = peer.Start(/*deadline_ms=*/300);
  SteadyClock clock;
  const int64_t start_us = clock.NowUs();
  grpc::ByteBuffer buffer;
  EXPECT_FALSE(stream->Read(&buffer));
  EXPECT_EQ(stream->Finish().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(clock.NowUs() - start_us, 250'000);
  EXPECT_LT(clock.NowUs() - start_us, 20'000'000);
}

TEST(ByteStreamTest, AWriterThatThePeerDoesNotReadIsLeftAtTheDeadline) {
  Peer peer([](grpc::ServerContext* context, PutServerStream*) {
    WaitForCancel(context);
    return grpc::Status::OK;
  });
  auto stream = peer.Start(/*deadline_ms=*/500);
  int written = 0;
  while (stream->Write(Message(0, 1 << 20)) && written < 1000) ++written;
  EXPECT_LT(written, 1000);  // the transport takes some, not a gigabyte
  EXPECT_EQ(stream->Finish().status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ByteStreamTest, AReaderThatDoesNotReadStopsThePeer) {
  constexpr int kMessages = 64;
  std::atomic<int> sent{0};
  Peer peer([&sent](grpc::ServerContext*, PutServerStream* stream) {
    for (int i = 0; i < kMessages; ++i) {
      v1::PutResponse response;
      response.set_credit_bytes(static_cast<uint64_t>(i));
      response.add_results()->mutable_status()->set_message(std::string(1 << 20, 'x'));
      // Four megabytes each: together far more than all windows between the two.
      v1::PutResponse padded = response;
      for (int k = 0; k < 3; ++k) *padded.add_results() = response.results(0);
      if (!stream->Write(padded)) break;
      ++sent;
    }
    return grpc::Status::OK;
  });
  auto stream = peer.Start();
  while (stream->held_messages() < 3) std::this_thread::yield();
  EXPECT_LT(sent, kMessages);
  uint64_t expected = 0;
  grpc::ByteBuffer buffer;
  while (stream->Read(&buffer)) {
    EXPECT_LE(stream->held_messages(), 3u);
    ++expected;
  }
  EXPECT_EQ(expected, static_cast<uint64_t>(kMessages));
  EXPECT_TRUE(stream->Finish().status.ok());
}

TEST(ByteStreamTest, CancelWakesAReader) {
  std::atomic<bool> entered{false};
  Peer peer([&entered](grpc::ServerContext* context, PutServerStream*) {
    entered = true;
    WaitForCancel(context);
    return grpc::Status::OK;
  });
  auto stream = peer.Start();
  bool read = true;
  std::thread reader([&] {
    grpc::ByteBuffer buffer;
    read = stream->Read(&buffer);
  });
  while (!entered) std::this_thread::yield();
  stream->Cancel();
  reader.join();
  EXPECT_FALSE(read);
  EXPECT_EQ(stream->Finish().status.code(), absl::StatusCode::kCancelled);
}

TEST(ByteStreamTest, APeerThatCancelsIsUnavailable) {
  Peer peer([](grpc::ServerContext*, PutServerStream*) {
    return grpc::Status(grpc::StatusCode::CANCELLED, "shutting down");
  });
  auto stream = peer.Start();
  grpc::ByteBuffer buffer;
  EXPECT_FALSE(stream->Read(&buffer));
  EXPECT_EQ(stream->Finish().status.code(), absl::StatusCode::kUnavailable);
}

TEST(ByteStreamTest, APeerThatEndsEarlyEndsTheWriter) {
  Peer peer([](grpc::ServerContext* context, PutServerStream* stream) {
    v1::PutRequest request;
    stream->Read(&request);
    context->AddTrailingMetadata(kReopenMetadata, "1");
    return grpc::Status(grpc::StatusCode::ABORTED, "enough");
  });
  auto stream = peer.Start();
  int written = 0;
  while (stream->Write(Message(0, 64 << 10)) && written < 1'000'000) ++written;
  EXPECT_LT(written, 1'000'000);
  const ByteStream::End end = stream->Finish();
  EXPECT_EQ(end.status, absl::AbortedError("enough"));
  EXPECT_TRUE(end.reopen);
}

TEST(ByteStreamTest, AStreamThatIsDroppedCancelsThePeer) {
  std::atomic<int> cancelled{0};
  Peer peer([&cancelled](grpc::ServerContext* context, PutServerStream* stream) {
    v1::PutResponse response;
    while (stream->Write(response)) {
    }
    WaitForCancel(context);
    ++cancelled;
    return grpc::Status::OK;
  });
  for (int i = 0; i < 4; ++i) {
    auto stream = peer.Start();
    grpc::ByteBuffer buffer;
    EXPECT_TRUE(stream->Read(&buffer));
    stream = nullptr;
  }
  while (cancelled < 4) std::this_thread::yield();
}

TEST(ByteStreamTest, UnaryCallsAreStreamsOfOne) {
  Peer peer(Echo);
  SteadyClock clock;
  ClientOptions options;
  options.address = "127.0.0.1:1";
  ChannelPool nobody(options);
  const ByteStream::Options put{.method = "/kvcompd.v1.KvCache/Put",
                                .deadline = Deadline::AfterMs(&clock, 60'000)};
  EXPECT_EQ(CallUnaryBytes(nobody.Next(), put, Message(1)).end.status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace kvcompd::client
