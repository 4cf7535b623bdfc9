// ByteStream: one gRPC call of any shape whose messages are byte buffers, with blocking calls.
//
// Called by the bulk calls (Put, Get, Append) and Watch, because a ByteBuffer is slices and costs no copy.
// A unary or server-streaming method is called the same way: Write once, WritesDone, Read.
//
//   auto stream = ByteStream::Start(lane, {.method = "/kvcompd.v1.KvCache/Get", .deadline = deadline});
//   stream->Write(EncodeBulk(request, {})); stream->WritesDone();
//   while (stream->Read(&buffer)) Use(buffer);
//   ByteStream::End end = stream->Finish();
//
// Thread-safety: one thread writes, one reads (they may be the same), any may Cancel. No call outlasts the
// deadline. A reader that does not read makes the transport, and so the peer, stop: at most read_ahead
// messages are held here, and what HTTP/2's window lets through.
#ifndef KVCOMPD_CLIENT_BYTE_STREAM_H_
#define KVCOMPD_CLIENT_BYTE_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/cancellation.h"
#include "client/channel.h"
#include "client/retry.h"

namespace kvcompd::client {

// Trailing metadata by which a daemon says that it does not know the namespace's id (value "1").
inline constexpr char kReopenMetadata[] = "kvcompd-reopen";
// The same, by which it says that it is draining: asking again does not help.
inline constexpr char kDrainingMetadata[] = "kvcompd-draining";

// The status of a call that this end did not cancel. A server that shuts down cancels what is under way, and
// that is the transport's end, not the caller's wish: UNAVAILABLE.
absl::Status FromPeer(const grpc::Status& status);

class ByteStream {
 public:
  struct Options {
    std::string method;
    Deadline deadline;
    uint32_t read_ahead = 3;
    uint32_t write_ahead = 2;
    std::shared_ptr<Cancellation> cancel;  // may be null
  };
  // How the call ended.
  struct End {
    absl::Status status;
    bool reopen = false;    // the daemon asks to open the namespace again
    bool draining = false;  // the daemon is about to leave
  };

  static std::unique_ptr<ByteStream> Start(std::shared_ptr<Lane> lane, const Options& options);
  // Cancels, and waits for the transport to let go (which asks nothing of the peer). Not from a gRPC
  // callback.
  ~ByteStream();
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  // Blocks while write_ahead messages wait. False: the stream is over, and Finish says why.
  bool Write(grpc::ByteBuffer message);
  // No more Writes; what waits is sent first.
  void WritesDone();
  // Blocks for the next message. False: there is none, and Finish says why.
  bool Read(grpc::ByteBuffer* message);
  // The next message if it is here already.
  bool TryRead(grpc::ByteBuffer* message);
  void Cancel();
  // Drops what was not read and waits for the end.
  End Finish();
  // Messages held for Read; at most read_ahead.
  size_t held_messages() const;

 private:
  class Reactor;
  ByteStream(std::unique_ptr<Reactor> reactor, const std::shared_ptr<Cancellation>& cancel);
  std::unique_ptr<Reactor> reactor_;
  Cancellation::Link link_;  // goes before the reactor
};

// How a call with this context ended; status: as FromPeer gives it.
ByteStream::End EndOf(const grpc::ClientContext& context, absl::Status status);

// A unary call of bytes: one message there, one back.
struct UnaryBytesReply {
  ByteStream::End end;
  grpc::ByteBuffer message;  // where end.status is OK
};
UnaryBytesReply CallUnaryBytes(std::shared_ptr<Lane> lane, const ByteStream::Options& options,
                               grpc::ByteBuffer request);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_BYTE_STREAM_H_
