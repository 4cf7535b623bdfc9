#include "client/byte_stream.h"

#include <grpcpp/support/client_callback.h>

#include <deque>
#include <utility>

#include "codec/base/mutex.h"
#include "proto/status_convert.h"

namespace kvcompd::client {

absl::Status FromPeer(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::CANCELLED) return FromGrpc(status);
  return absl::UnavailableError("the daemon cancelled the call: " + status.error_message());
}

ByteStream::End EndOf(const grpc::ClientContext& context, absl::Status status) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto says = [&trailers](const char* name) {
    const auto it = trailers.find(name);
    return it != trailers.end() && it->second == "1";
  };
  return {.status = std::move(status), .reopen = says(kReopenMetadata), .draining = says(kDrainingMetadata)};
}

// Outlives the call: the ByteStream waits for OnDone before it lets go, so that nothing of a call is left
// behind when a client, or the process, ends. Operations are started under mutex_: gRPC runs reactions on its
// own threads, never within Start*.
//
// A hold keeps OnDone away while operations may be started from outside of reactions; it goes when a read
// fails, which is how the end of every call shows. Nothing is started from outside after that (over_).
class ByteStream::Reactor final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Reactor(std::shared_ptr<Lane> lane, const Options& options)
      : lane_(std::move(lane)), read_ahead_(options.read_ahead), write_ahead_(options.write_ahead) {
    if (!options.deadline.never()) context_.set_deadline(options.deadline.SystemTime());
  }

  void Start(const std::string& method) {
    {
      MutexLock lock(&mutex_);
      reading_ = true;
    }
    lane_->generic->PrepareBidiStreamingCall(&context_, method, /*options=*/{}, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  bool Write(grpc::ByteBuffer message) {
    MutexLock lock(&mutex_);
    while (!over_ && !write_broken_ && writes_.size() >= write_ahead_) cond_.Wait(&mutex_);
    if (over_ || write_broken_ || half_close_) return false;
    writes_.push_back(std::move(message));
    if (writes_.size() == 1) StartWrite(&writes_.front());
    return true;
  }

  void WritesDone() {
    MutexLock lock(&mutex_);
    if (over_ || half_close_) return;
    half_close_ = true;
    if (writes_.empty() && !write_broken_) StartWritesDone();
  }

  bool Read(grpc::ByteBuffer* message, bool wait) {
    MutexLock lock(&mutex_);
    while (reads_.empty() && wait && !over_) cond_.Wait(&mutex_);
    if (reads_.empty()) return false;
    *message = std::move(reads_.front());
    reads_.pop_front();
    ContinueReading();
    return true;
  }

  void Cancel() {
    {
      MutexLock lock(&mutex_);
      if (done_) return;
      cancelled_ = true;
    }
    context_.TryCancel();
    Discard();
  }

  // Reads on to the end without a reader, so that the end comes.
  void Discard() {
    MutexLock lock(&mutex_);
    discard_ = true;
    reads_.clear();
    ContinueReading();
  }

  End WaitDone() {
    MutexLock lock(&mutex_);
    while (!done_) cond_.Wait(&mutex_);
    return end_;
  }

  size_t held() const {
    MutexLock lock(&mutex_);
    return reads_.size();
  }

  void OnReadDone(bool ok) override {
    {
      MutexLock lock(&mutex_);
      reading_ = false;
      if (ok) {
        if (!discard_) reads_.push_back(std::move(incoming_));
        incoming_.Clear();
        ContinueReading();
      } else {
        over_ = true;
      }
      cond_.SignalAll();
    }
    if (!ok) RemoveHold();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writes_.pop_front();
    if (!ok || over_) {
      write_broken_ = true;
      writes_.clear();
    } else if (!writes_.empty()) {
      StartWrite(&writes_.front());
    } else if (half_close_) {
      StartWritesDone();
    }
    cond_.SignalAll();
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    end_ = EndOf(context_, cancelled_ ? FromGrpc(status) : FromPeer(status));
    over_ = true;
    done_ = true;
    cond_.SignalAll();
  }

 private:
  void ContinueReading() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (reading_ || over_ || (!discard_ && reads_.size() >= read_ahead_)) return;
    reading_ = true;
    StartRead(&incoming_);
  }

  const std::shared_ptr<Lane> lane_;
  const size_t read_ahead_;
  const size_t write_ahead_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;  // of the read under way

  mutable Mutex mutex_;
  CondVar cond_;  // anything below changed
  std::deque<grpc::ByteBuffer> reads_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> writes_ ABSL_GUARDED_BY(mutex_);  // the first is under way
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool discard_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_close_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // by this end
  bool write_broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  End end_ ABSL_GUARDED_BY(mutex_);
};

ByteStream::ByteStream(std::unique_ptr<Reactor> reactor, const std::shared_ptr<Cancellation>& cancel)
    : reactor_(std::move(reactor)), link_(cancel, [reactor = reactor_.get()] { reactor->Cancel(); }) {}

std::unique_ptr<ByteStream> ByteStream::Start(std::shared_ptr<Lane> lane, const Options& options) {
  auto reactor = std::make_unique<Reactor>(std::move(lane), options);
  reactor->Start(options.method);
  return std::unique_ptr<ByteStream>(new ByteStream(std::move(reactor), options.cancel));
}

ByteStream::~ByteStream() {
  reactor_->Cancel();
  reactor_->WaitDone();
}

bool ByteStream::Write(grpc::ByteBuffer message) { return reactor_->Write(std::move(message)); }
void ByteStream::WritesDone() { reactor_->WritesDone(); }
bool ByteStream::Read(grpc::ByteBuffer* message) { return reactor_->Read(message, /*wait=*/true); }
bool ByteStream::TryRead(grpc::ByteBuffer* message) { return reactor_->Read(message, /*wait=*/false); }
void ByteStream::Cancel() { reactor_->Cancel(); }
size_t ByteStream::held_messages() const { return reactor_->held(); }

ByteStream::End ByteStream::Finish() {
  reactor_->Discard();
  return reactor_->WaitDone();
}

UnaryBytesReply CallUnaryBytes(std::shared_ptr<Lane> lane, const ByteStream::Options& options,
                               grpc::ByteBuffer request) {
  UnaryBytesReply reply;
  auto stream = ByteStream::Start(std::move(lane), options);
  stream->Write(std::move(request));
  stream->WritesDone();
  const bool answered = stream->Read(&reply.message);
  reply.end = stream->Finish();
  if (reply.end.status.ok() && !answered) {
    reply.end.status = absl::InternalError("the daemon ended the call without an answer");
  }
  return reply;
}

}  // namespace kvcompd::client
