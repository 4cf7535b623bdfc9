#include "server/service/namespace_calls.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "proto/convert.h"
#include "server/service/request_checks.h"

namespace kvcompd::server {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr int kMaxAcceptedProfiles = 64;

absl::Status CheckName(const std::string& name, const char* what) {
  if (name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is longer than ", kMaxNameBytes, " bytes"));
  }
  for (char c : name) {
    const bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
    if (!ok)
      return absl::InvalidArgumentError(absl::StrCat(what, " may have only letters, digits, '.', '_', '-'"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NamespacePolicy> PolicyFromProto(const v1::NamespacePolicy& message,
                                                const Profile& default_profile) {
  NamespacePolicy policy;
  policy.profile = default_profile;
  if (!message.profile().empty()) {
    auto profile = Profile::Parse(message.profile());
    if (!profile.ok()) return profile.status();
    policy.profile = *profile;
  }
  if (message.accepted_profiles_size() > kMaxAcceptedProfiles) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxAcceptedProfiles, " accepted_profiles"));
  }
  for (const std::string& text : message.accepted_profiles()) {
    auto profile = Profile::Parse(text);
    if (!profile.ok()) return profile.status();
    policy.accepted_profiles.push_back(*profile);
  }
  policy.quota_bytes = message.quota_bytes();
  if (!(message.max_error() >= 0) || !std::isfinite(message.max_error())) {
    return absl::InvalidArgumentError("policy.max_error must be finite and not negative");
  }
  policy.max_error = message.max_error();
  if (policy.max_error > 0 && policy.profile.ErrorBound() > policy.max_error) {
    return absl::FailedPreconditionError(absl::StrCat("profile ", policy.profile.Text(),
                                                      " has an error bound of ", policy.profile.ErrorBound(),
                                                      ", over policy.max_error ", policy.max_error));
  }
  if (message.verify_ingest() != v1::VERIFY_INGEST_UNSPECIFIED &&
      v1::VerifyIngest_IsValid(message.verify_ingest())) {
    policy.verify_ingest = static_cast<VerifyIngest>(message.verify_ingest());
  }
  policy.pin_quota_bytes = message.pin_quota_bytes();
  return policy;
}

v1::NamespacePolicy ToProto(const NamespacePolicy& policy) {
  v1::NamespacePolicy m;
  m.set_profile(policy.profile.Text());
  for (const Profile& profile : policy.accepted_profiles) m.add_accepted_profiles(profile.Text());
  m.set_quota_bytes(policy.quota_bytes);
  m.set_max_error(policy.max_error);
  m.set_verify_ingest(static_cast<v1::VerifyIngest>(policy.verify_ingest));
  m.set_pin_quota_bytes(policy.pin_quota_bytes);
  return m;
}

absl::Status OpenNamespace(ServiceContext& context, const v1::OpenNamespaceRequest& request,
                           v1::OpenNamespaceResponse* response) {
  if (auto status = CheckHello(request.hello(), kServedFeatures); !status.ok()) return status;
  if (auto status = CheckName(request.tenant(), "tenant"); !status.ok()) return status;
  if (auto status = CheckName(request.name(), "name"); !status.ok()) return status;
  std::optional<ModelDescriptor> model;
  if (request.has_model()) {
    auto converted = ModelFromProto(request.model());
    if (!converted.ok()) return converted.status();
    model = *std::move(converted);
  }
  auto policy = PolicyFromProto(request.policy(), context.options.default_profile);
  if (!policy.ok()) return policy.status();
  const std::string tenant = request.tenant().empty() ? "default" : request.tenant();
  auto opened = context.store->OpenNamespace(tenant, request.name(), model, *policy);
  if (absl::IsFailedPrecondition(opened.status())) return WithReason(opened.status(), Reason::kWrongPlace);
  if (!opened.ok()) return opened.status();

  Namespace& ns = *opened->ns;
  *response->mutable_hello() = MakeHello(kSoftware, kServedFeatures, 0);
  response->set_namespace_id(ns.id());
  response->set_fingerprint(std::string(ns.fingerprint().view()));
  response->set_created(opened->created);
  if (!model.has_value()) *response->mutable_model() = kvcompd::ToProto(ns.descriptor());
  const NamespacePolicy current = ns.policy();
  *response->mutable_policy() = ToProto(current);
  response->set_epoch(context.store->epoch());
  auto* limits = response->mutable_limits();
  limits->set_max_message_bytes(context.options.max_chunk_bytes);
  limits->set_max_blocks(context.options.max_blocks);
  limits->set_max_keys(context.options.max_keys);
  limits->set_put_credit_bytes(context.options.put_credit_bytes);
  limits->set_max_lease_ms(context.store->options().max_lease_ms);
  limits->set_max_pin_ms(context.store->options().max_pin_ms);
  limits->set_max_sequence_ms(context.sequences->options().max_ttl_ms);
  if (auto set = ns.codebooks().Current(current.profile); set != nullptr && !set->fingerprint().IsZero()) {
    response->set_codebook_set(std::string(set->id().view()));
  }
  return absl::OkStatus();
}

absl::Status PutCodebooks(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::PutCodebooksRequest& request, v1::PutCodebooksResponse* response) {
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  auto set = (*ns)->codebooks().Upload(request.set());
  if (!set.ok()) return set.status();
  response->set_set_id(std::string((*set)->id().view()));
  return absl::OkStatus();
}

absl::Status GetCodebooks(ServiceContext& context, grpc::CallbackServerContext* call,
                          const v1::GetCodebooksRequest& request, v1::GetCodebooksResponse* response) {
  auto ns = ResolveNamespace(context, request.namespace_id(), call);
  if (!ns.ok()) return ns.status();
  std::shared_ptr<const codec::CodebookSet> set;
  if (request.set_id().empty()) {
    set = (*ns)->codebooks().Current((*ns)->policy().profile);
    if (set == nullptr) return absl::NotFoundError("the namespace's profile has no codebooks");
  } else {
    auto id = Digest::FromBytes(request.set_id());
    if (!id.ok()) return id.status();
    auto found = (*ns)->codebooks().FindById(*id);
    if (!found.ok()) return found.status();
    set = *std::move(found);
  }
  response->set_set_id(std::string(set->id().view()));
  response->set_set(set->canonical_bytes());
  return absl::OkStatus();
}

}  // namespace kvcompd::server
