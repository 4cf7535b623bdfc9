// ClientOptions: where the daemon is and how patient the client is. Plain values; a client copies them.
//
//   ClientOptions options;
//   options.address = "127.0.0.1:7600";
//   auto client = Client::Connect(options);
#ifndef KVCOMPD_CLIENT_CLIENT_OPTIONS_H_
#define KVCOMPD_CLIENT_CLIENT_OPTIONS_H_

#include <grpcpp/security/credentials.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/retry.h"
#include "codec/base/clock.h"

namespace kvcompd::client {

// Milliseconds that a call may take, its retries included. A call's own options may say otherwise.
struct CallDeadlines {
  uint32_t connect_ms = 5'000;  // Connect waits so long for a channel; 0: it does not wait at all
  uint32_t open_ms = 10'000;    // OpenNamespace, also when it happens again within another call
  uint32_t lookup_ms = 5'000;   // Match, Exists, Delete, Lease, Pin, Prefetch, codebooks
  uint32_t put_ms = 60'000;
  uint32_t get_ms = 60'000;
  uint32_t append_ms = 10'000;
  uint32_t admin_ms = 30'000;
};

struct ClientOptions {
  std::string address;                            // "127.0.0.1:7600", "unix:/run/kvcompd.sock"; required
  std::string tenant;                             // "" is the daemon's "default"
  std::string name;                               // optional name of the namespace within the tenant
  std::string software = "kvcompd-client/0.1.0";  // for the daemon's logs; at most 128 bytes

  CallDeadlines deadlines;
  RetryOptions retry;

  uint32_t num_channels = 1;              // 1 to 64 connections; calls take them in turn
  uint64_t message_bytes = 1 << 20;       // 4 KiB to 16 MiB: a bulk message gathers pieces to about this size
  uint64_t max_message_bytes = 64 << 20;  // 16 MiB to 1 GiB: a longer message from the daemon ends its call
  uint32_t read_ahead_messages = 3;       // 1 to 64: received and not yet taken, for each stream
  uint32_t write_ahead_messages = 2;      // 1 to 64: given and not yet sent, for each stream
  uint32_t codec_threads = 2;   // 1 to 64: encode and decode of one ENCODED call, the caller's among them
  uint32_t async_threads = 2;   // 1 to 256: run the Async calls and their callbacks
  uint32_t async_queue = 1024;  // Async calls that wait; one more is RESOURCE_EXHAUSTED
  uint32_t codebook_refresh_ms = 10'000;  // an ENCODED put asks for newer codebooks after so long
  uint32_t keepalive_ms = 10'000;         // ping after so long without traffic on a live call; 0: never

  // Null: no TLS.
  std::shared_ptr<grpc::ChannelCredentials> credentials;

  // For tests; null: the steady clock, the system's randomness, and a wait that the call's end interrupts.
  std::shared_ptr<const Clock> clock;
  std::function<uint64_t()> random;  // uniform, from any thread
  std::shared_ptr<Waiter> waiter;

  // INVALID_ARGUMENT names the field.
  absl::Status Validate() const;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CLIENT_OPTIONS_H_
