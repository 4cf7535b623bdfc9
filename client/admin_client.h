// AdminClient: what an operator asks of a daemon. Thread-safe; outlives its Client.
//
//   auto stats = client->admin().Stats();
//   client->admin().SetProfile(ns->id(), "kvcomp:rel_k=0.05");
//
// Replies are the messages of proto/kvcompd/v1/admin.proto. deadline_ms 0 is CallDeadlines::admin_ms. Stats,
// ListNamespaces and SetProfile are repeated where the transport fails; Flush, Snapshot and Trim too, for
// doing them twice is doing them once (their counts are then those of the last attempt). So is Drain, but not
// one that ends the daemon: its repetition might end the daemon that was started in its place.
#ifndef KVCOMPD_CLIENT_ADMIN_CLIENT_H_
#define KVCOMPD_CLIENT_ADMIN_CLIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/kvcompd/v1/admin.pb.h"

namespace kvcompd::client {

class ClientCore;

class AdminClient {
 public:
  explicit AdminClient(std::shared_ptr<ClientCore> core);

  absl::StatusOr<v1::StatsResponse> Stats(uint32_t deadline_ms = 0);
  absl::StatusOr<v1::ListNamespacesResponse> ListNamespaces(std::string_view tenant = "",
                                                            uint32_t deadline_ms = 0);
  // The profile in canonical form. INVALID_ARGUMENT: the daemon does not know it.
  absl::StatusOr<std::string> SetProfile(std::string_view namespace_id, std::string_view profile,
                                         uint32_t deadline_ms = 0);
  absl::StatusOr<v1::FlushResponse> Flush(std::string_view namespace_id, uint32_t deadline_ms = 0);
  // exit: UNAVAILABLE may also mean that the daemon has ended as it was told.
  absl::Status Drain(uint32_t grace_ms, bool exit, uint32_t deadline_ms = 0);
  absl::Status Snapshot(uint32_t deadline_ms = 0);
  absl::StatusOr<v1::TrimResponse> Trim(std::optional<uint64_t> target_bytes,
                                        std::optional<uint64_t> older_than_ms, uint32_t deadline_ms = 0);

 private:
  std::shared_ptr<ClientCore> core_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_ADMIN_CLIENT_H_
