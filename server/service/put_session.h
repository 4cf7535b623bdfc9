// PutSession: one Put stream's protocol, without the transport. Two phases: a header names blocks and the
// store says which are wanted; then chunks under byte credits, and commits.
//
// Called by PutReactor (and by fuzzers and tests). OnMessage/OnHalfClose/OnCancel are called one at a time;
// `send` and `finish` come from those calls or from worker threads, one at a time, `finish` last and once.
// A session keeps itself alive while jobs run.
//
//   auto session = PutSession::Create(&context, call, activity, send, finish);
//   session->OnMessage(buffer);      // for every message, in order; the first one, the header, takes long
//   session->OnHalfClose();          // -> finish(OK) once everything named in a commit is resolved
//
// Memory: chunk bytes that are received and not yet taken in are limited by the credits, which are the
// session's share of the message budget; assembled and encoded bytes stand in the store's staging slots, and
// so count against quota and memory. A session that makes progress keeps the claims of all its blocks alive.
#ifndef KVCOMPD_SERVER_SERVICE_PUT_SESSION_H_
#define KVCOMPD_SERVER_SERVICE_PUT_SESSION_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/mutex.h"
#include "proto/bulk.h"
#include "proto/kvcompd/v1/kvcache.pb.h"
#include "server/service/put_block.h"
#include "server/service/service_context.h"
#include "server/service/strand.h"

namespace kvcompd::server {

class PutSession : public std::enable_shared_from_this<PutSession> {
 public:
  using SendFn = std::function<void(const v1::PutResponse&)>;
  using FinishFn = std::function<void(const absl::Status&)>;

  using Activity = std::shared_ptr<ActiveStreams::Activity>;

  // call: for trailing metadata; may be null, and is not used after the first message. activity: told of
  // progress and of jobs.
  static std::shared_ptr<PutSession> Create(ServiceContext* context, grpc::CallbackServerContext* call,
                                            Activity activity, SendFn send, FinishFn finish);

  void OnMessage(const grpc::ByteBuffer& buffer);
  void OnHalfClose();
  // The peer is gone: drops everything that is not committed. `send` and `finish` are not called any more.
  void OnCancel();

  // Jobs that are waiting or running. A caller that keeps reading although they pile up lets a client fill
  // the daemon's memory; `on_job_done` (set before the first message) tells when to look again.
  uint64_t jobs() const { return jobs_.load(); }
  void set_on_job_done(std::function<void()> on_job_done) { on_job_done_ = std::move(on_job_done); }

 private:
  PutSession(ServiceContext* context, grpc::CallbackServerContext* call, Activity activity, SendFn send,
             FinishFn finish);

  absl::Status HandleHeader(const v1::PutHeader& header);
  absl::Status CheckHeader(const v1::PutHeader& header);
  absl::Status TakeMessageMemory();
  absl::StatusOr<PutRequestInfo> ParseBlock(const v1::PutHeader& header, int index) const;
  absl::Status BeginBlock(const v1::PutHeader& header, const NamespacePolicy& policy, int index,
                          PutRequestInfo info, v1::PutDisposition* disposition);
  absl::Status CheckChunks(const v1::PutRequest& request, uint64_t data_bytes) const;
  absl::Status HandleChunks(const v1::PutRequest& request, BulkView data);
  void HandleChunk(const v1::PutChunk& chunk, BulkView piece);
  absl::Status HandleCommit(const v1::PutCommit& commit);
  // Something that brings the put to its end has come: no idleness, and no orphan among its blocks.
  void Progress();
  void TouchClaims(int64_t now_us);  // from any thread, once the header is worked off
  // Runs a job on the block's strand; keeps the session open until it has run.
  void Post(const std::shared_ptr<PutBlock>& block, std::function<void(codec::Workspace&)> job);
  void JobDone();
  void Send(const v1::PutResponse& response);
  // first: not said before, and so counted.
  void Resolve(uint32_t index, const PutBlock::Outcome& outcome, bool first = true);
  void ReturnCredit(uint64_t bytes);
  void TellCredit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellCreditWhereIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(const absl::Status& status);
  // Marks what is not committed as given up, so that queued jobs do nothing.
  void Abandon();
  void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ServiceContext* const context_;
  grpc::CallbackServerContext* const call_;
  const Activity activity_;
  const int64_t store_touch_us_;

  std::function<void()> on_job_done_;

  // Touched by OnMessage alone.
  bool header_seen_ = false;
  std::shared_ptr<Namespace> ns_;
  std::vector<std::shared_ptr<PutBlock>> blocks_;  // null: not wanted
  PutBlock::Outcome no_room_;                      // of the first block for which there was no room
  size_t commits_named_ = 0;
  std::vector<PutBlock::Outcome> unwanted_;  // what a commit of such a block is answered
  std::vector<std::shared_ptr<Strand>> strands_;

  Mutex mutex_;
  const SendFn send_ ABSL_GUARDED_BY(mutex_);
  const FinishFn finish_ ABSL_GUARDED_BY(mutex_);
  MessageBudget::Share share_ ABSL_GUARDED_BY(mutex_);  // the window
  uint64_t credit_left_ ABSL_GUARDED_BY(mutex_) = 0;    // what the client may still send
  uint64_t credit_owed_ ABSL_GUARDED_BY(mutex_) = 0;    // taken in, not yet told
  std::atomic<uint64_t> jobs_{0};                       // changed under mutex_
  std::atomic<int64_t> touched_us_{0};                  // when the claims were
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // finished or cancelled
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_PUT_SESSION_H_
