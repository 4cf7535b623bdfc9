#include "client/client_options.h"

#include "absl/strings/str_cat.h"

namespace kvcompd::client {
namespace {

absl::Status CheckRange(absl::string_view field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", outside ", low, " to ", high));
}

}  // namespace

absl::Status ClientOptions::Validate() const {
  if (address.empty()) return absl::InvalidArgumentError("address is empty; \"host:port\" or \"unix:/path\"");
  if (software.size() > 128) return absl::InvalidArgumentError("software is longer than 128 bytes");
  constexpr uint64_t kDayMs = 86'400'000;
  const struct {
    absl::string_view field;
    uint64_t value, low, high;
  } ranges[] = {
      {"deadlines.connect_ms", deadlines.connect_ms, 0, kDayMs},
      {"deadlines.open_ms", deadlines.open_ms, 1, kDayMs},
      {"deadlines.lookup_ms", deadlines.lookup_ms, 1, kDayMs},
      {"deadlines.put_ms", deadlines.put_ms, 1, kDayMs},
      {"deadlines.get_ms", deadlines.get_ms, 1, kDayMs},
      {"deadlines.append_ms", deadlines.append_ms, 1, kDayMs},
      {"deadlines.admin_ms", deadlines.admin_ms, 1, kDayMs},
      {"num_channels", num_channels, 1, 64},
      {"message_bytes", message_bytes, 4 << 10, 16 << 20},
      {"max_message_bytes", max_message_bytes, 16 << 20, 1 << 30},
      {"read_ahead_messages", read_ahead_messages, 1, 64},
      {"write_ahead_messages", write_ahead_messages, 1, 64},
      {"codec_threads", codec_threads, 1, 64},
      {"async_threads", async_threads, 1, 256},
      {"async_queue", async_queue, 1, 1 << 20},
      {"codebook_refresh_ms", codebook_refresh_ms, 0, kDayMs},
      {"keepalive_ms", keepalive_ms, 0, kDayMs},
  };
  for (const auto& r : ranges) {
    if (auto status = CheckRange(r.field, r.value, r.low, r.high); !status.ok()) return status;
  }
  return retry.Validate();
}

}  // namespace kvcompd::client
