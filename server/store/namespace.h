// Namespace: tenant + fingerprint, with its mutable policy, its account of bytes, its codebooks and its
// packing.
//
// Made and found by NamespaceTable; read by the service. Thread-safe. It stays for as long as anybody holds
// it or a slot is charged to it.
//
//   auto ns = store.FindNamespace(id);
//   auto set = ns->codebooks().Current(ns->policy().profile);
//   uint64_t used = ns->account().charged_bytes;
#ifndef KVCOMPD_SERVER_STORE_NAMESPACE_H_
#define KVCOMPD_SERVER_STORE_NAMESPACE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "server/store/codebook_registry.h"
#include "server/store/packing_tuner.h"

namespace kvcompd::server {

enum class VerifyIngest { kFull = 1, kSample = 2, kStructure = 3 };

struct NamespacePolicy {
  Profile profile;                         // of new blocks
  std::vector<Profile> accepted_profiles;  // further ones allowed in ENCODED puts; raw always is
  uint64_t quota_bytes = 0;                // stored + staged + tails, charged; 0: none
  double max_error = 0;                    // ceiling of a block's bound; 0: none set
  VerifyIngest verify_ingest = VerifyIngest::kFull;
  uint64_t pin_quota_bytes = 0;  // 0: the store's default
};

// What a slot of memory is used for.
enum class ChargeKind : uint8_t { kStaged, kStored, kTail };

class Namespace {
 public:
  using Id = std::string;  // 16 bytes

  // What all namespaces have together.
  struct Totals {
    std::atomic<uint64_t> unstored_bytes{0};  // staged and in tails, charged
    std::atomic<uint64_t> codebook_bytes{0};  // memory of uploaded sets
  };

  // totals: kept up to date; may be null.
  Namespace(std::string tenant, std::string name, ModelDescriptor descriptor, NamespacePolicy policy,
            Totals* totals = nullptr);

  // First 16 bytes of SHA-256("kvcompd.namespace.v1", u32 length, tenant, fingerprint).
  static Id MakeId(std::string_view tenant, const Fingerprint& fingerprint);

  const Id& id() const { return id_; }
  const std::string& tenant() const { return tenant_; }
  const std::string& name() const { return name_; }
  const ModelDescriptor& descriptor() const { return descriptor_; }
  const Fingerprint& fingerprint() const { return fingerprint_; }

  NamespacePolicy policy() const;
  // FAILED_PRECONDITION where the profile's bound is over policy.max_error.
  absl::Status SetProfile(const Profile& profile);
  CodebookRegistry& codebooks() { return codebooks_; }
  // Finds the packing of new blocks of this profile; SetProfile makes it begin anew. Null where the profile
  // leaves nothing open, or is no longer the policy's.
  std::shared_ptr<PackingTuner> packing(const Profile& profile);

  // Of the policy, without copying it.
  uint64_t quota_bytes() const;
  uint64_t pin_quota_bytes() const;

  // Account. The first four are charged bytes of live slots and change only by ChargedSlot and SlotAllocator:
  // a shard that left the index counts as stored until its last reader is done. Each is exact where no call
  // is under way.
  struct Account {
    std::atomic<uint64_t> charged_bytes{0};  // stored + staged + tail; what the quota limits
    std::atomic<uint64_t> stored_bytes{0};
    std::atomic<uint64_t> staged_bytes{0};
    std::atomic<uint64_t> tail_bytes{0};
    // Of what the index holds: it goes down as soon as a block is out of sight.
    std::atomic<uint64_t> pinned_bytes{0};   // charged
    std::atomic<uint64_t> blocks{0};         // complete or not
    std::atomic<uint64_t> encoded_bytes{0};  // exact container bytes of committed shards
    std::atomic<uint64_t> raw_bytes{0};

    std::atomic<uint64_t>* all_unstored_bytes = nullptr;

    void Charge(ChargeKind kind, uint64_t bytes);
    void Uncharge(ChargeKind kind, uint64_t bytes);  // its last access may let the namespace be dropped
    void Move(ChargeKind from, ChargeKind to, uint64_t bytes);

   private:
    void Add(ChargeKind kind, uint64_t bytes);
    void Subtract(ChargeKind kind, uint64_t bytes);
    std::atomic<uint64_t>& of(ChargeKind kind);
  };
  Account& account() { return account_; }
  const Account& account() const { return account_; }

 private:
  const Id id_;
  const std::string tenant_;
  const std::string name_;
  const ModelDescriptor descriptor_;
  const Fingerprint fingerprint_;
  mutable Mutex mutex_;
  NamespacePolicy policy_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<PackingTuner> packing_ ABSL_GUARDED_BY(mutex_);  // of policy_.profile; null: not yet used
  CodebookRegistry codebooks_;
  Account account_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_NAMESPACE_H_
