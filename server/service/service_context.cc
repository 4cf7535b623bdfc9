#include "server/service/service_context.h"

#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

absl::Status CheckRange(const char* name, uint64_t value, uint64_t min, uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", expected ", min, " to ", max));
}

}  // namespace

absl::Status ServiceOptions::Validate() const {
  constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
  for (const absl::Status& status : {
           default_profile.Validate(),
           CheckRange("max_chunk_bytes", max_chunk_bytes, 64 * kKiB, 32 * kMiB),
           CheckRange("target_message_bytes", target_message_bytes, 4 * kKiB, 32 * kMiB),
           // A sender cuts pieces of up to max_chunk_bytes and waits until the credit covers one.
           CheckRange("put_credit_bytes", put_credit_bytes, max_chunk_bytes, kGiB),
           CheckRange("get_window_bytes", get_window_bytes, 64 * kKiB, kGiB),
           CheckRange("max_blocks", max_blocks, 1, UINT32_MAX),
           CheckRange("max_keys", max_keys, 1, UINT32_MAX),
           CheckRange("max_streams", max_streams, 1, 1'000'000),
           CheckRange("stream_idle_ms", stream_idle_ms, 1, UINT32_MAX),
           CheckRange("max_stream_ms", max_stream_ms, 1, UINT32_MAX),
           // A put needs a chunk's worth, an append twice its values.
           CheckRange("message_memory_bytes", message_memory_bytes, 2 * max_chunk_bytes, uint64_t{1} << 50),
       }) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::server
