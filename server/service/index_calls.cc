#include "server/service/index_calls.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/convert.h"
#include "proto/status_convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

// The namespace and the keys of a call, which all of these start with.
struct Subject {
  std::shared_ptr<Namespace> ns;
  std::vector<BlockKey> keys;
};

template <typename Request>
absl::StatusOr<Subject> SubjectOf(ServiceContext& context, grpc::CallbackServerContext* call,
                                  const Request& request, uint32_t limit) {
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  auto keys = CheckKeys(request.keys(), request.cache_salt(), limit);
  if (!keys.ok()) return keys.status();
  return Subject{*std::move(ns), *std::move(keys)};
}

void FillInfo(const BlockSnapshot& block, v1::BlockInfo* info) {
  info->set_tokens(block.tokens);
  info->set_tier(v1::TIER_HOST);
  info->set_encoded_bytes(block.encoded_bytes());
  info->set_raw_bytes(block.raw_bytes());
  info->set_error_bound(block.error_bound());
  *info->mutable_generation() = ToProto(block.generation);
  if (!block.shards.empty()) info->set_profile(*block.shards.front()->profile);
}

v1::Reason BlockReason(const absl::Status& status) {
  if (absl::IsNotFound(status)) return v1::REASON_NOT_STORED;
  if (absl::IsResourceExhausted(status)) return v1::REASON_QUOTA;
  return v1::REASON_UNSPECIFIED;
}

template <typename Blocks>
void FillStatuses(const std::vector<absl::Status>& statuses, Blocks* blocks) {
  for (const absl::Status& status : statuses) FillBlockStatus(status, BlockReason(status), blocks->Add());
}

// Whether all layers and heads of a window group are stored for a key.
absl::StatusOr<ShardRange> WholeGroup(const Namespace& ns, uint32_t group) {
  const AttentionGroup* found = ns.descriptor().FindGroup(group);
  if (found == nullptr || found->kind != GroupKind::kSlidingWindow) {
    return absl::InvalidArgumentError(
        absl::StrCat("window_groups names ", group, ", which is no sliding-window group"));
  }
  return ns.descriptor().ResolveShard({.group = group});
}

}  // namespace

absl::Status Match(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::MatchRequest& request, v1::MatchResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  if (static_cast<size_t>(request.window_groups_size()) > subject->ns->descriptor().groups.size()) {
    return absl::InvalidArgumentError("window_groups names more groups than the model has; name each once");
  }
  if (uint64_t{subject->keys.size()} * request.window_groups_size() > context.options.max_keys) {
    return absl::ResourceExhaustedError(
        absl::StrCat(subject->keys.size(), " keys times ", request.window_groups_size(),
                     " window groups; the limit is ", context.options.max_keys, ": split the call"));
  }
  for (uint32_t group : request.window_groups()) {
    auto whole = WholeGroup(*subject->ns, group);
    if (!whole.ok()) return whole.status();
    auto* window = response->add_windows();
    window->set_group(group);
    for (const BlockKey& key : subject->keys)
      window->add_present(context.store->Exists(subject->ns, key, *whole));
  }
  if (request.has_max_error() && !(request.max_error() >= 0)) {
    return absl::InvalidArgumentError("max_error is negative or not a number");
  }
  MatchOptions options;
  options.lease = request.lease();
  options.lease_ms = request.lease_ms();
  if (request.has_max_error()) options.max_error = request.max_error();
  const MatchReply reply = context.store->Match(subject->ns, subject->keys, options);
  uint64_t tokens = 0;
  for (const BlockSnapshot& block : reply.blocks) {
    FillInfo(block, response->add_blocks());
    tokens += block.tokens;
  }
  response->set_matched_blocks(static_cast<uint32_t>(reply.blocks.size()));
  response->set_matched_tokens(tokens);
  response->set_lease_id(reply.lease_id);
  response->set_lease_ms(reply.lease_ms);
  const auto count = [&context](const char* name, const char* help, double n) {
    context.metrics->Counter(name, help).Increment(n);
  };
  const double asked = static_cast<double>(subject->keys.size()) * subject->ns->descriptor().tokens_per_block;
  count("kvcompd_match_requested_tokens_total", "Tokens of the chains that Match was asked for", asked);
  count("kvcompd_match_hit_tokens_total", "Tokens of the prefixes that Match found",
        static_cast<double>(tokens));
  return absl::OkStatus();
}

absl::Status Prefetch(ServiceContext& context, grpc::CallbackServerContext* call,
                      const v1::PrefetchRequest& request, v1::PrefetchResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  if (request.tier() != v1::TIER_HOST && request.tier() != v1::TIER_UNSPECIFIED) {
    return absl::UnimplementedError(
        "this daemon has only the host tier; prefetch to TIER_HOST, or leave it out");
  }
  for (const BlockKey& key : subject->keys) {
    const bool there = context.store->Exists(subject->ns, key, ShardRange());
    FillBlockStatus(there ? absl::OkStatus() : absl::NotFoundError("the block is not stored"),
                    v1::REASON_NOT_STORED, response->add_blocks());
  }
  return absl::OkStatus();
}

absl::Status Exists(ServiceContext& context, grpc::CallbackServerContext* call,
                    const v1::ExistsRequest& request, v1::ExistsResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  ShardRange shard;
  if (request.has_shard()) {
    auto resolved = subject->ns->descriptor().ResolveShard(FromProto(request.shard()));
    if (!resolved.ok()) return resolved.status();
    shard = *resolved;
  }
  for (const BlockKey& key : subject->keys)
    response->add_exists(context.store->Exists(subject->ns, key, shard));
  return absl::OkStatus();
}

absl::Status Delete(ServiceContext& context, grpc::CallbackServerContext* call,
                    const v1::DeleteRequest& request, v1::DeleteResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  for (const BlockKey& key : subject->keys) response->add_deleted(context.store->Delete(subject->ns, key));
  return absl::OkStatus();
}

absl::Status Lease(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::LeaseRequest& request, v1::LeaseResponse* response) {
  if (!request.lease_id().empty()) {
    auto ns = ResolveNamespace(context, request.namespace_id(), call);
    if (!ns.ok()) return ns.status();
    if (!request.keys().empty()) return absl::InvalidArgumentError("a renewal names a lease and no keys");
    auto ttl_ms = context.store->RenewLease(*ns, request.lease_id(), request.ttl_ms());
    if (!ttl_ms.ok()) return WithReason(ttl_ms.status(), Reason::kLeaseExpired);
    response->set_lease_id(request.lease_id());
    response->set_ttl_ms(*ttl_ms);
    return absl::OkStatus();
  }
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  const Store::LeaseReply reply = context.store->Lease(subject->ns, subject->keys, request.ttl_ms());
  response->set_lease_id(reply.lease_id);
  response->set_ttl_ms(reply.ttl_ms);
  FillStatuses(reply.blocks, response->mutable_blocks());
  return absl::OkStatus();
}

absl::Status Release(ServiceContext& context, grpc::CallbackServerContext* call,
                     const v1::ReleaseRequest& request, v1::ReleaseResponse* response) {
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  response->set_released(context.store->Release(*ns, request.lease_id()));
  return absl::OkStatus();
}

absl::Status Pin(ServiceContext& context, grpc::CallbackServerContext* call, const v1::PinRequest& request,
                 v1::PinResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  FillStatuses(context.store->Pin(subject->ns, subject->keys, request.ttl_ms()), response->mutable_blocks());
  return absl::OkStatus();
}

absl::Status Unpin(ServiceContext& context, grpc::CallbackServerContext* call,
                   const v1::UnpinRequest& request, v1::UnpinResponse* response) {
  auto subject = SubjectOf(context, call, request, context.options.max_keys);
  if (!subject.ok()) return subject.status();
  for (bool unpinned : context.store->Unpin(subject->ns, subject->keys)) response->add_unpinned(unpinned);
  return absl::OkStatus();
}

}  // namespace kvcompd::server
