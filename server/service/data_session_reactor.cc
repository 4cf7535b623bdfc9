#include "server/service/data_session_reactor.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"
#include "server/store/random_id.h"

namespace kvcompd::server {

absl::StatusOr<PlaneChoice> ChoosePlane(const google::protobuf::RepeatedPtrField<std::string>& offered) {
  if (offered.empty()) return absl::InvalidArgumentError("no data plane offered; \"grpc\" is always served");
  if (offered.size() > kMaxPlanes) return absl::InvalidArgumentError("too many data planes offered");
  PlaneChoice choice;
  for (const std::string& plane : offered) {
    if (plane == "grpc") {
      choice.plane = plane;
      return choice;
    }
    const bool known = plane == "shm" || plane == "cuda_ipc" || plane == "nccl";
    absl::StrAppend(&choice.reason, choice.reason.empty() ? "" : "; ", absl::CHexEscape(plane.substr(0, 32)),
                    known ? ": not served by this version" : ": no such data plane");
  }
  return absl::UnimplementedError(absl::StrCat(choice.reason, "; offer \"grpc\", too"));
}

DataSessionReactor::DataSessionReactor(ServiceContext* context, grpc::CallbackServerContext* call)
    : context_(context), call_(call) {
  if (absl::Status status = Admit(); !status.ok()) {
    CountRejected(*context_, status);
    End(status);
    return;
  }
  StartRead(&request_);
}

absl::Status DataSessionReactor::Admit() {
  const auto cancel = [this] { End(absl::UnavailableError("the daemon is draining; use another")); };
  stream_ = context_->streams->Add(context_->clock->NowUs(), cancel, /*may_idle=*/true);
  if (stream_ == nullptr) {
    return absl::ResourceExhaustedError("too many open streams; try again later");
  }
  // After Add: a drain either finds this stream and cancels it, or is seen here.
  return CheckNotDraining(*context_, call_);
}

absl::Status DataSessionReactor::Negotiate() {
  if (negotiated_)
    return absl::InvalidArgumentError("a data session has one request; open another for other planes");
  negotiated_ = true;
  auto ns = ResolveNamespace(*context_, request_.namespace_id(), call_);
  if (!ns.ok()) return ns.status();
  auto choice = ChoosePlane(request_.planes());
  if (!choice.ok()) return choice.status();
  response_.set_plane(std::move(choice->plane));
  response_.set_reason(std::move(choice->reason));
  response_.set_session_id(RandomId());
  return absl::OkStatus();
}

void DataSessionReactor::OnReadDone(bool ok) {
  MutexLock lock(&mutex_);
  if (ended_) return;
  // Under the lock, so that a drain does not finish the call while Negotiate adds to its trailing metadata.
  const absl::Status status = ok ? Negotiate() : absl::OkStatus();
  if (!ok || !status.ok()) {
    CountRejected(*context_, status);
    EndLocked(status);
    return;
  }
  writing_ = true;
  StartWrite(&response_);
  StartRead(&request_);
}

void DataSessionReactor::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  if (!ended_ || finished_) return;
  finished_ = true;
  Finish(ToGrpc(end_));
}

void DataSessionReactor::OnCancel() { End(absl::CancelledError("the client went away")); }

// Called from reactions and the constructor, which OnDone waits for, and by stream_'s cancel, which
// stream_.reset() waits for.
void DataSessionReactor::End(const absl::Status& status) {
  MutexLock lock(&mutex_);
  EndLocked(status);
}

void DataSessionReactor::EndLocked(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  end_ = status;
  if (writing_) return;
  finished_ = true;
  Finish(ToGrpc(end_));
}

void DataSessionReactor::OnDone() {
  stream_.reset();
  delete this;
}

grpc::ServerBidiReactor<v1::DataSessionRequest, v1::DataSessionResponse>* StartDataSession(
    ServiceContext* context, grpc::CallbackServerContext* call) {
  return new DataSessionReactor(context, call);
}

}  // namespace kvcompd::server
