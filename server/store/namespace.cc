#include "server/store/namespace.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"

namespace kvcompd::server {

namespace {

uint32_t NumLayers(const ModelDescriptor& model) {
  size_t layers = 0;
  for (const AttentionGroup& group : model.groups) layers += group.layers.size();
  return static_cast<uint32_t>(layers);
}

}  // namespace

std::atomic<uint64_t>& Namespace::Account::of(ChargeKind kind) {
  switch (kind) {
    case ChargeKind::kStaged:
      return staged_bytes;
    case ChargeKind::kTail:
      return tail_bytes;
    case ChargeKind::kStored:
      break;
  }
  return stored_bytes;
}

void Namespace::Account::Add(ChargeKind kind, uint64_t bytes) {
  of(kind) += bytes;
  if (kind != ChargeKind::kStored && all_unstored_bytes != nullptr) *all_unstored_bytes += bytes;
}

void Namespace::Account::Subtract(ChargeKind kind, uint64_t bytes) {
  of(kind) -= bytes;
  if (kind != ChargeKind::kStored && all_unstored_bytes != nullptr) *all_unstored_bytes -= bytes;
}

void Namespace::Account::Charge(ChargeKind kind, uint64_t bytes) {
  charged_bytes += bytes;
  Add(kind, bytes);
}

void Namespace::Account::Uncharge(ChargeKind kind, uint64_t bytes) {
  Subtract(kind, bytes);
  charged_bytes -= bytes;
}

void Namespace::Account::Move(ChargeKind from, ChargeKind to, uint64_t bytes) {
  Add(to, bytes);
  Subtract(from, bytes);
}

Namespace::Namespace(std::string tenant, std::string name, ModelDescriptor descriptor, NamespacePolicy policy,
                     Totals* totals)
    : id_(MakeId(tenant, descriptor.Fingerprint())),
      tenant_(std::move(tenant)),
      name_(std::move(name)),
      descriptor_(std::move(descriptor)),
      fingerprint_(descriptor_.Fingerprint()),
      policy_(std::move(policy)),
      codebooks_(fingerprint_, NumLayers(descriptor_),
                 totals == nullptr ? nullptr : &totals->codebook_bytes) {
  if (totals != nullptr) account_.all_unstored_bytes = &totals->unstored_bytes;
}

Namespace::Id Namespace::MakeId(std::string_view tenant, const kvcompd::Fingerprint& fingerprint) {
  std::string bytes;
  ByteWriter writer(&bytes);
  writer.Bytes("kvcompd.namespace.v1");
  writer.U32(static_cast<uint32_t>(tenant.size()));
  writer.Bytes(tenant);
  writer.Bytes(fingerprint.view());
  return Id(Sha256(bytes).view().substr(0, 16));
}

NamespacePolicy Namespace::policy() const {
  MutexLock lock(&mutex_);
  return policy_;
}

uint64_t Namespace::quota_bytes() const {
  MutexLock lock(&mutex_);
  return policy_.quota_bytes;
}

uint64_t Namespace::pin_quota_bytes() const {
  MutexLock lock(&mutex_);
  return policy_.pin_quota_bytes;
}

absl::Status Namespace::SetProfile(const Profile& profile) {
  absl::Status valid = profile.Validate();
  if (!valid.ok()) return valid;
  MutexLock lock(&mutex_);
  if (policy_.max_error > 0 && profile.ErrorBound() > policy_.max_error) {
    return absl::FailedPreconditionError(absl::StrCat("profile ", profile.Text(), " allows an error of ",
                                                      profile.ErrorBound(), ", the namespace's ceiling is ",
                                                      policy_.max_error));
  }
  policy_.profile = profile;
  packing_ = nullptr;
  return absl::OkStatus();
}

std::shared_ptr<PackingTuner> Namespace::packing(const Profile& profile) {
  if (!profile.packing_is_auto()) return nullptr;
  MutexLock lock(&mutex_);
  if (policy_.profile != profile) return nullptr;
  if (packing_ == nullptr) packing_ = std::make_shared<PackingTuner>(profile);
  return packing_;
}

}  // namespace kvcompd::server
