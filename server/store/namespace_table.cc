#include "server/store/namespace_table.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace kvcompd::server {
namespace {

absl::Status CheckPolicy(const NamespacePolicy& policy) {
  absl::Status valid = policy.profile.Validate();
  if (!valid.ok()) return valid;
  if (!(policy.max_error >= 0)) return absl::InvalidArgumentError("max_error is negative or not a number");
  if (policy.max_error > 0 && policy.profile.ErrorBound() > policy.max_error) {
    return absl::InvalidArgumentError(
        absl::StrCat("profile ", policy.profile.Text(), " allows a larger error than max_error"));
  }
  return absl::OkStatus();
}

}  // namespace

NamespaceTable::NamespaceTable(uint32_t max_namespaces) : max_namespaces_(max_namespaces) {}

absl::StatusOr<NamespaceTable::Opened> NamespaceTable::Attach(const Name& name) const {
  auto named = by_name_.find(name);
  if (name.second.empty() || named == by_name_.end()) {
    return absl::NotFoundError("no namespace of this name; open it with a model descriptor first");
  }
  return Opened{named->second, false};
}

absl::Status NamespaceTable::AddName(const Name& name, const std::shared_ptr<Namespace>& ns) {
  if (name.second.empty()) return absl::OkStatus();
  auto named = by_name_.find(name);
  if (named == by_name_.end()) {
    if (by_name_.size() >= max_namespaces_) return absl::ResourceExhaustedError("too many namespace names");
    by_name_.emplace(name, ns);
    return absl::OkStatus();
  }
  if (named->second == ns) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("namespace ", name.second, " stands for another model; differing fields: ",
                   absl::StrJoin(DifferingFields(named->second->descriptor(), ns->descriptor()), ", ")));
}

absl::StatusOr<NamespaceTable::Opened> NamespaceTable::Open(const std::string& tenant,
                                                            const std::string& name,
                                                            const std::optional<ModelDescriptor>& descriptor,
                                                            const NamespacePolicy& policy) {
  if (!descriptor.has_value()) {
    MutexLock lock(&mutex_);
    return Attach({tenant, name});
  }
  absl::Status valid = descriptor->Validate();
  if (!valid.ok()) return valid;
  const Namespace::Id id = Namespace::MakeId(tenant, descriptor->Fingerprint());

  MutexLock lock(&mutex_);
  auto known = by_id_.find(id);
  if (known != by_id_.end()) {
    absl::Status named = AddName({tenant, name}, known->second);
    if (!named.ok()) return named;
    return Opened{known->second, false};
  }
  valid = CheckPolicy(policy);
  if (!valid.ok()) return valid;
  if (by_id_.size() >= max_namespaces_) return absl::ResourceExhaustedError("too many namespaces");
  auto ns = std::make_shared<Namespace>(tenant, name, *descriptor, policy);
  absl::Status named = AddName({tenant, name}, ns);
  if (!named.ok()) return named;
  by_id_.emplace(id, ns);
  return Opened{std::move(ns), true};
}

std::shared_ptr<Namespace> NamespaceTable::Find(std::string_view id) const {
  MutexLock lock(&mutex_);
  auto it = by_id_.find(ToAbsl(id));
  return it == by_id_.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<Namespace>> NamespaceTable::List() const {
  std::vector<std::shared_ptr<Namespace>> list;
  {
    MutexLock lock(&mutex_);
    list.reserve(by_id_.size());
    for (const auto& [id, ns] : by_id_) list.push_back(ns);
  }
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
    return std::tie(a->tenant(), a->name(), a->id()) < std::tie(b->tenant(), b->name(), b->id());
  });
  return list;
}

}  // namespace kvcompd::server
