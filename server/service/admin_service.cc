#include "server/service/admin_service.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/status_convert.h"
#include "server/ops/logging.h"
#include "server/service/namespace_calls.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

constexpr char kBackend[] = "cpu";

grpc::ServerUnaryReactor* Done(ServiceContext& context, grpc::CallbackServerContext* call,
                               const absl::Status& status) {
  CountRejected(context, status);
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

void FillNamespace(Namespace& ns, v1::NamespaceStats* out) {
  const NamespacePolicy policy = ns.policy();
  out->set_namespace_id(ns.id());
  out->set_tenant(ns.tenant());
  out->set_name(ns.name());
  out->set_model_id(ns.descriptor().model_id);
  out->set_fingerprint(std::string(ns.fingerprint().view()));
  *out->mutable_policy() = ToProto(policy);
  out->set_blocks(ns.account().blocks.load());
  out->set_encoded_bytes(ns.account().encoded_bytes.load());
  out->set_raw_bytes(ns.account().raw_bytes.load());
  out->set_staged_bytes(ns.account().staged_bytes.load());
  out->set_pinned_bytes(ns.account().pinned_bytes.load());
  out->set_codebook_sets(static_cast<uint32_t>(ns.codebooks().live()));
  if (const auto set = ns.codebooks().Current(policy.profile); set != nullptr) {
    out->set_codebook_set(std::string(set->id().view()));
  }
}

void FillHostTier(const Store::Stats& stats, v1::TierStats* out) {
  out->set_tier(v1::TIER_HOST);
  out->set_capacity_bytes(stats.host.capacity_bytes);
  out->set_used_bytes(stats.host.used_bytes);
  out->set_staged_bytes(stats.staged_bytes);
  out->set_largest_free_bytes(stats.host.largest_free_bytes);
  out->set_allocation_failures(stats.host.allocation_failures);
  out->set_blocks(stats.blocks);
  out->set_encoded_bytes(stats.encoded_bytes);
  out->set_raw_bytes(stats.raw_bytes);
}

}  // namespace

AdminService::AdminService(ServiceContext* context, Hooks hooks)
    : context_(context), hooks_(std::move(hooks)), started_us_(context->clock->NowUs()) {}

grpc::ServerUnaryReactor* AdminService::Stats(grpc::CallbackServerContext* call,
                                              const v1::StatsRequest* request, v1::StatsResponse* response) {
  response->set_software(kSoftware);
  response->set_backend(kBackend);
  response->set_epoch(context_->store->epoch());
  response->set_uptime_ms(static_cast<uint64_t>(context_->clock->NowUs() - started_us_) / 1000);
  response->set_draining(context_->draining.load());
  FillHostTier(context_->store->stats(), response->add_tiers());
  for (const Metrics::Sample& sample : context_->metrics->Collect()) {
    v1::Counter* counter = response->add_counters();
    counter->set_name(sample.name);
    counter->set_labels(sample.labels);
    counter->set_value(sample.value);
  }
  for (const auto& ns : context_->store->ListNamespaces()) FillNamespace(*ns, response->add_namespaces());
  return Done(*context_, call, absl::OkStatus());
}

grpc::ServerUnaryReactor* AdminService::ListNamespaces(grpc::CallbackServerContext* call,
                                                       const v1::ListNamespacesRequest* request,
                                                       v1::ListNamespacesResponse* response) {
  for (const auto& ns : context_->store->ListNamespaces()) {
    if (!request->tenant().empty() && ns->tenant() != request->tenant()) continue;
    FillNamespace(*ns, response->add_namespaces());
  }
  return Done(*context_, call, absl::OkStatus());
}

absl::Status AdminService::DoSetProfile(grpc::CallbackServerContext* call,
                                        const v1::SetProfileRequest& request,
                                        v1::SetProfileResponse* response) {
  auto ns = ResolveNamespace(*context_, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  Profile profile = context_->options.default_profile;
  if (!request.profile().empty()) {
    const auto parsed = Profile::Parse(request.profile());
    // Also a codec of another version is the caller's mistake here: nothing was sent in it.
    if (!parsed.ok()) return absl::InvalidArgumentError(parsed.status().message());
    profile = *parsed;
  }
  const absl::Status status = (*ns)->SetProfile(profile);
  if (!status.ok()) return status;
  response->set_profile(profile.Text());
  spdlog::info("profile set tenant={} name={} profile={}", LogValue((*ns)->tenant()), LogValue((*ns)->name()),
               profile.Text());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdminService::SetProfile(grpc::CallbackServerContext* call,
                                                   const v1::SetProfileRequest* request,
                                                   v1::SetProfileResponse* response) {
  return Done(*context_, call, DoSetProfile(call, *request, response));
}

grpc::ServerUnaryReactor* AdminService::Flush(grpc::CallbackServerContext* call,
                                              const v1::FlushRequest* request, v1::FlushResponse* response) {
  auto ns = ResolveNamespace(*context_, request->namespace_id(), call);
  if (!ns.ok()) return Done(*context_, call, ns.status());
  const Store::Removed removed = context_->store->Flush(*ns);
  response->set_blocks(removed.blocks);
  response->set_encoded_bytes(removed.encoded_bytes);
  spdlog::info("flushed tenant={} name={} blocks={} encoded_bytes={}", LogValue((*ns)->tenant()),
               LogValue((*ns)->name()), removed.blocks, removed.encoded_bytes);
  return Done(*context_, call, absl::OkStatus());
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* call,
                                              const v1::DrainRequest* request, v1::DrainResponse* response) {
  if (request->exit() && !hooks_.exit) {
    return Done(*context_, call,
                absl::UnimplementedError("this daemon runs inside another process, which ends it"));
  }
  hooks_.begin_drain();
  if (request->exit()) {
    hooks_.exit(request->grace_ms() != 0 ? request->grace_ms() : context_->options.drain_grace_ms);
  }
  return Done(*context_, call, absl::OkStatus());
}

grpc::ServerUnaryReactor* AdminService::Snapshot(grpc::CallbackServerContext* call,
                                                 const v1::SnapshotRequest* request,
                                                 v1::SnapshotResponse* response) {
  return Done(
      *context_, call,
      absl::UnimplementedError("this version keeps blocks in memory only; there is no disk tier yet"));
}

grpc::ServerUnaryReactor* AdminService::Trim(grpc::CallbackServerContext* call,
                                             const v1::TrimRequest* request, v1::TrimResponse* response) {
  std::optional<uint64_t> target_bytes, older_than_ms;
  if (request->has_target_bytes()) target_bytes = request->target_bytes();
  if (request->has_older_than_ms()) older_than_ms = request->older_than_ms();
  if (!target_bytes.has_value() && !older_than_ms.has_value()) {
    return Done(*context_, call, absl::InvalidArgumentError("name target_bytes or older_than_ms"));
  }
  const Store::Removed removed = context_->store->Trim(target_bytes, older_than_ms);
  response->set_blocks(removed.blocks);
  response->set_encoded_bytes(removed.encoded_bytes);
  spdlog::info("trimmed blocks={} encoded_bytes={}", removed.blocks, removed.encoded_bytes);
  return Done(*context_, call, absl::OkStatus());
}

}  // namespace kvcompd::server
