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

NamespaceTable::NamespaceTable(uint32_t max_namespaces, Metrics* metrics)
    : max_namespaces_(max_namespaces),
      dropped_(&metrics->Counter("kvcompd_namespaces_dropped_total",
                                 "Unused namespaces that gave way to new ones")) {}

// Who holds a namespace got it from this table, under its lock, or from somebody who holds it: so one that
// only the table holds stays unheld here. Whoever else points to it has a slot charged to it.
bool NamespaceTable::DropUnused() {
  auto oldest = by_id_.end();
  for (auto it = by_id_.begin(); it != by_id_.end(); ++it) {
    const Entry& entry = it->second;
    if (entry.ns.use_count() > 1 + static_cast<int64_t>(entry.names)) continue;
    if (entry.ns->account().charged_bytes != 0) continue;
    if (oldest == by_id_.end() || entry.used < oldest->second.used) oldest = it;
  }
  if (oldest == by_id_.end()) return false;
  for (auto it = by_name_.begin(); it != by_name_.end();) {
    auto named = it++;
    if (named->second == oldest->second.ns) by_name_.erase(named);
  }
  by_id_.erase(oldest);
  dropped_->Increment();
  return true;
}

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
    uint32_t& names = by_id_.at(ns->id()).names;
    if (names >= kMaxNames) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the namespace has ", kMaxNames, " names; attach by one of them, or without a name"));
    }
    by_name_.emplace(name, ns);
    ++names;
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
    auto attached = Attach({tenant, name});
    if (attached.ok()) by_id_.at(attached->ns->id()).used = ++uses_;
    return attached;
  }
  absl::Status valid = descriptor->Validate();
  if (!valid.ok()) return valid;
  const Namespace::Id id = Namespace::MakeId(tenant, descriptor->Fingerprint());

  MutexLock lock(&mutex_);
  auto known = by_id_.find(id);
  if (known != by_id_.end()) {
    const std::shared_ptr<Namespace> ns = known->second.ns;
    absl::Status named = AddName({tenant, name}, ns);
    if (!named.ok()) return named;
    known->second.used = ++uses_;
    return Opened{ns, false};
  }
  valid = CheckPolicy(policy);
  if (!valid.ok()) return valid;
  if (by_id_.size() >= max_namespaces_ && !DropUnused()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "all of the ", max_namespaces_, " namespaces are in use; try again later, or raise the limit"));
  }
  auto ns = std::make_shared<Namespace>(tenant, name, *descriptor, policy, &totals_);
  by_id_.emplace(id, Entry{.ns = ns, .used = ++uses_});
  absl::Status named = AddName({tenant, name}, ns);
  if (!named.ok()) {
    by_id_.erase(id);
    return named;
  }
  return Opened{std::move(ns), true};
}

std::shared_ptr<Namespace> NamespaceTable::Find(std::string_view id) const {
  MutexLock lock(&mutex_);
  auto it = by_id_.find(ToAbsl(id));
  if (it == by_id_.end()) return nullptr;
  it->second.used = ++uses_;
  return it->second.ns;
}

std::vector<std::shared_ptr<Namespace>> NamespaceTable::List() const {
  std::vector<std::shared_ptr<Namespace>> list;
  {
    MutexLock lock(&mutex_);
    list.reserve(by_id_.size());
    for (const auto& [id, entry] : by_id_) list.push_back(entry.ns);
  }
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
    return std::tie(a->tenant(), a->name(), a->id()) < std::tie(b->tenant(), b->name(), b->id());
  });
  return list;
}

}  // namespace kvcompd::server
