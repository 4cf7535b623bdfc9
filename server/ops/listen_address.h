// ListenAddress: where the daemon listens, in the text form of --address. Plain value.
//
//   address := host ":" port | "[" ipv6 "]" ":" port | "unix:" path
//
//   auto address = ListenAddress::Parse("127.0.0.1:0");
//   if (!address->local()) -> needs --allow-insecure
#ifndef KVCOMPD_SERVER_OPS_LISTEN_ADDRESS_H_
#define KVCOMPD_SERVER_OPS_LISTEN_ADDRESS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvcompd::server {

struct ListenAddress {
  std::string host;       // without brackets; empty for a Unix socket
  uint16_t port = 0;      // 0: the system chooses
  std::string unix_path;  // empty for TCP

  // INVALID_ARGUMENT says what is wrong.
  static absl::StatusOr<ListenAddress> Parse(std::string_view text);
  std::string Text() const;
  bool is_unix() const { return !unix_path.empty(); }
  // Only processes of this machine can reach it. A name other than localhost is taken as remote: what it
  // resolves to is not in our hands.
  bool local() const;

  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_LISTEN_ADDRESS_H_
