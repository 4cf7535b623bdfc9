#include "server/ops/daemon_options.h"

#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

// The modules check this, too, but by the names of their fields.
template <typename T>
absl::Status CheckOrder(const char* low_name, T low, const char* high_name, T high) {
  if (low <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(low_name, " is over ", high_name));
}

}  // namespace

absl::Status DaemonOptions::Validate() const {
  if (!address.local() && !allow_insecure) {
    return absl::InvalidArgumentError(
        absl::StrCat("address ", address.Text(),
                     " can be reached from other machines, and this version has no TLS; listen on 127.0.0.1 "
                     "or unix:PATH, or "
                     "accept that anybody who reaches it reads and writes the cache: --allow-insecure"));
  }
  for (const absl::Status& status :
       {CheckOrder("low-watermark", store.low_watermark, "high-watermark", store.high_watermark),
        CheckOrder("lease-ttl", store.default_lease_ms, "max-lease", store.max_lease_ms),
        CheckOrder("sequence-ttl", sequences.default_ttl_ms, "max-sequence", sequences.max_ttl_ms),
        CheckOrder("max-message", service.max_chunk_bytes, "put-credit", service.put_credit_bytes),
        CheckOrder("max-message", service.max_chunk_bytes, "half of message-memory",
                   service.message_memory_bytes / 2),
        CheckOrder("target-message", service.target_message_bytes, "half of message-memory",
                   service.message_memory_bytes / 2),
        service.Validate(), store.Validate(), pool.Validate(), sequences.Validate()}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::server
