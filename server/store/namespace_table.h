// NamespaceTable: the namespaces of a store, by id and by (tenant, name). Where there are as many as may be,
// a new one takes the place of the one used longest ago among those that hold nothing and nobody holds; its
// policy and codebooks go with it, and a client that comes back registers it again.
//
// Called by Store. Thread-safe.
//
//   NamespaceTable table(max_namespaces, &metrics);
//   auto opened = table.Open("tenant", "llama", descriptor, policy);
//   auto ns = table.Find(opened->ns->id());
#ifndef KVCOMPD_SERVER_STORE_NAMESPACE_TABLE_H_
#define KVCOMPD_SERVER_STORE_NAMESPACE_TABLE_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "codec/base/mutex.h"
#include "server/ops/metrics.h"
#include "server/store/namespace.h"

namespace kvcompd::server {

class NamespaceTable {
 public:
  static constexpr uint32_t kMaxNames = 16;  // of one namespace

  NamespaceTable(uint32_t max_namespaces, Metrics* metrics);

  struct Opened {
    std::shared_ptr<Namespace> ns;
    bool created = false;
  };
  // As Store::OpenNamespace. The policy is taken only where this call registers the namespace. A further name
  // of a registered one becomes an alias. INVALID_ARGUMENT: descriptor or policy.
  absl::StatusOr<Opened> Open(const std::string& tenant, const std::string& name,
                              const std::optional<ModelDescriptor>& descriptor,
                              const NamespacePolicy& policy);
  std::shared_ptr<Namespace> Find(std::string_view id) const;
  std::vector<std::shared_ptr<Namespace>> List() const;  // by tenant, name, id
  // Staged and in open tails, of all of them.
  const std::atomic<uint64_t>& unstored_bytes() const { return totals_.unstored_bytes; }

 private:
  struct Entry {
    std::shared_ptr<Namespace> ns;
    uint32_t names = 0;
    mutable uint64_t used = 0;  // the larger, the later
  };
  using Name = std::pair<std::string, std::string>;
  absl::StatusOr<Opened> Attach(const Name& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AddName(const Name& name, const std::shared_ptr<Namespace>& ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  bool DropUnused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // one; false: all are in use

  const uint32_t max_namespaces_;
  prometheus::Counter* const dropped_;
  Namespace::Totals totals_;
  mutable Mutex mutex_;
  mutable uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<Namespace::Id, Entry> by_id_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Name, std::shared_ptr<Namespace>> by_name_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_NAMESPACE_TABLE_H_
