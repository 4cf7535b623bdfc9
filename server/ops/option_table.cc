#include "server/ops/option_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "codec/base/human_size.h"
#include "codec/base/profile.h"
#include "server/ops/option_value.h"

namespace kvcompd::server {
namespace {

constexpr uint64_t kKiB = uint64_t{1} << 10, kMiB = uint64_t{1} << 20, kTiB = uint64_t{1} << 40;
constexpr uint32_t kDayMs = 86'400'000;

// Where an option's value lies in Settings.
template <typename T>
using Field = std::function<T&(Settings&)>;

template <typename T>
T Read(const Field<T>& field, const Settings& settings) {
  return field(const_cast<Settings&>(settings));  // only read
}

absl::Status OutOf(const std::string& range) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", range));
}

// Whole numbers of any width in [min, max], by the parse and text functions of their type.
template <typename T, typename Parse, typename Text>
Option Whole(std::string name, std::string type, Field<T> field, uint64_t min, uint64_t max, std::string help,
             Parse parse, Text print) {
  const std::string range = absl::StrCat(print(min), " to ", print(max));
  return {std::move(name),
          std::move(type),
          range,
          std::move(help),
          [=](std::string_view text, Settings* settings) {
            const auto value = parse(text);
            if (!value.ok()) return value.status();
            if (*value < min || *value > max) return OutOf(range);
            field(*settings) = static_cast<T>(*value);
            return absl::OkStatus();
          },
          [=](const Settings& settings) { return print(Read(field, settings)); }};
}

Option Size(std::string name, Field<uint64_t> field, uint64_t min, uint64_t max, std::string help) {
  return Whole<uint64_t>(std::move(name), "size", std::move(field), min, max, std::move(help), ParseHumanSize,
                         SizeText);
}

Option DurationMs(std::string name, Field<uint32_t> field, uint32_t min, uint32_t max, std::string help) {
  return Whole<uint32_t>(std::move(name), "duration", std::move(field), min, max, std::move(help),
                         ParseDurationMs,
                         [](uint64_t ms) { return DurationText(static_cast<uint32_t>(ms)); });
}

Option Count(std::string name, Field<uint32_t> field, uint32_t min, uint32_t max, std::string help) {
  return Whole<uint32_t>(std::move(name), "count", std::move(field), min, max, std::move(help), ParseCount,
                         [](uint64_t n) { return absl::StrCat(n); });
}

Option Fraction(std::string name, Field<double> field, std::string help) {
  return {std::move(name),
          "fraction",
          "0 to 1",
          std::move(help),
          [field](std::string_view text, Settings* settings) {
            const auto value = ParseFraction(text);
            if (value.ok()) field(*settings) = *value;
            return value.status();
          },
          [field](const Settings& settings) { return FractionText(Read(field, settings)); }};
}

Option Flag(std::string name, Field<bool> field, std::string help) {
  return {std::move(name),
          "flag",
          "",
          std::move(help),
          [field](std::string_view text, Settings* settings) {
            const auto value = ParseBool(text);
            if (value.ok()) field(*settings) = *value;
            return value.status();
          },
          [field](const Settings& settings) { return Read(field, settings) ? "true" : "false"; }};
}

// One of a few words. refused: words with a reason of their own why they do not do.
template <typename T>
Option Choice(std::string name, Field<T> field, std::vector<std::pair<std::string, T>> words,
              std::string help, std::vector<std::pair<std::string, std::string>> refused = {}) {
  std::string range;
  for (const auto& [word, value] : words) absl::StrAppend(&range, range.empty() ? "" : ", ", word);
  return {std::move(name),
          "text",
          range,
          std::move(help),
          [=](std::string_view text, Settings* settings) {
            for (const auto& [word, value] : words) {
              if (word != text) continue;
              field(*settings) = value;
              return absl::OkStatus();
            }
            for (const auto& [word, why] : refused) {
              if (word == text) return absl::InvalidArgumentError(why);
            }
            return absl::InvalidArgumentError(absl::StrCat("expected one of ", range));
          },
          [=](const Settings& settings) {
            for (const auto& [word, value] : words) {
              if (value == Read(field, settings)) return word;
            }
            return std::string();
          }};
}

Option AddressOption() {
  return {"address",
          "text",
          "",
          "where to listen: HOST:PORT (port 0: the system chooses), [IPV6]:PORT or unix:PATH",
          [](std::string_view text, Settings* settings) {
            auto address = ListenAddress::Parse(text);
            if (!address.ok()) return address.status();
            settings->daemon.address = *std::move(address);
            return absl::OkStatus();
          },
          [](const Settings& settings) { return settings.daemon.address.Text(); }};
}

Option ProfileOption() {
  return {"profile",
          "text",
          "",
          "what new blocks are encoded with in namespaces that name no profile",
          [](std::string_view text, Settings* settings) {
            const auto profile = Profile::Parse(text);
            if (!profile.ok()) return absl::InvalidArgumentError(profile.status().message());
            settings->daemon.service.default_profile = *profile;
            return absl::OkStatus();
          },
          [](const Settings& settings) { return settings.daemon.service.default_profile.Text(); }};
}

Option PathOption(std::string name, Field<std::string> field, std::string help) {
  return {std::move(name),
          "text",
          "",
          std::move(help),
          [field](std::string_view text, Settings* settings) {
            field(*settings) = text;
            return absl::OkStatus();
          },
          [field](const Settings& settings) { return Read(field, settings); }};
}

#define FIELD(path) \
  [](Settings & s) -> auto& { return s.path; }

std::vector<Option> ListenOptions() {
  return {
      AddressOption(),
      Flag("allow-insecure", FIELD(daemon.allow_insecure),
           "allow an address that other machines reach; there is no TLS yet"),
      PathOption("port-file", FIELD(port_file),
                 "write the address listened on to this file once it accepts calls"),
      Choice<Backend>("backend", FIELD(daemon.backend), {{"auto", Backend::kAuto}, {"cpu", Backend::kCpu}},
                      "where blocks are encoded and decoded",
                      {{"cuda", "cuda is not built into this version; use auto or cpu"}}),
      Count("worker-threads", FIELD(daemon.pool.threads), 0, 1024,
            "threads that encode and decode; 0: one a core"),
      Count("worker-queue", FIELD(daemon.pool.max_queued), 1, 1'000'000,
            "jobs waiting for a worker, reads and writes each"),
  };
}

std::vector<Option> MemoryOptions() {
  return {
      Size("host-memory", FIELD(daemon.store.host.capacity_bytes), kMiB, 64 * kTiB, "memory for blocks"),
      Size("slab-size", FIELD(daemon.store.host.slab_bytes), 64 * kKiB, kTiB,
           "memory is taken from the system in pieces of this; no block is larger"),
      Fraction("high-watermark", FIELD(daemon.store.high_watermark),
               "part of host-memory above which blocks are evicted"),
      Fraction("low-watermark", FIELD(daemon.store.low_watermark),
               "part of host-memory down to which they are evicted"),
      Size("buffer-memory", FIELD(daemon.buffer_memory_bytes), 0, kTiB, "message buffers kept for use again"),
      ProfileOption(),
  };
}

std::vector<Option> StoreOptions() {
  return {
      DurationMs("lease-ttl", FIELD(daemon.store.default_lease_ms), 1, kDayMs, "of leases that name none"),
      DurationMs("max-lease", FIELD(daemon.store.max_lease_ms), 1, kDayMs, "longest lease"),
      DurationMs("max-pin", FIELD(daemon.store.max_pin_ms), 1, 30 * kDayMs,
                 "longest pin, and of pins that name no time"),
      DurationMs("sequence-ttl", FIELD(daemon.sequences.default_ttl_ms), 1, kDayMs,
                 "of sequences that name none, since the last append"),
      DurationMs("max-sequence", FIELD(daemon.sequences.max_ttl_ms), 1, kDayMs,
                 "longest time between two appends"),
      Count("max-sequences", FIELD(daemon.sequences.max_sequences), 1, 10'000'000, "open sequences"),
      DurationMs("orphan-timeout", FIELD(daemon.store.orphan_timeout_ms), 1, kDayMs,
                 "a put without progress loses its claim"),
      Fraction("unstored-quota", FIELD(daemon.store.unstored_fraction),
               "part of host-memory that the running puts and open sequences of one namespace may take"),
      Fraction("all-unstored-quota", FIELD(daemon.store.all_unstored_fraction),
               "the same for all namespaces together"),
      Fraction("lease-quota", FIELD(daemon.store.lease_quota_fraction),
               "part of host-memory that one tenant may lease and be reading"),
      Fraction("pin-quota", FIELD(daemon.store.pin_quota_fraction),
               "part of host-memory that one namespace may pin"),
      Count("max-leases", FIELD(daemon.store.max_leases), 1, 10'000'000, "leases at once"),
      Count("max-namespaces", FIELD(daemon.store.max_namespaces), 1, 1'000'000,
            "namespaces; a new one takes the place of an empty one"),
      Count("watch-queue", FIELD(daemon.store.watch_queue_events), 1, 1'000'000,
            "events kept for a slow watcher; older ones are lost and counted"),
  };
}

std::vector<Option> ServiceLimitOptions() {
  return {
      Size("max-message", FIELD(daemon.service.max_chunk_bytes), 64 * kKiB, 32 * kMiB,
           "bulk bytes of one message"),
      Size("target-message", FIELD(daemon.service.target_message_bytes), 4 * kKiB, 32 * kMiB,
           "a read gathers its messages to about this"),
      Size("put-credit", FIELD(daemon.service.put_credit_bytes), 64 * kKiB, 1024 * kMiB,
           "bytes a put may have sent that are not taken in yet"),
      Size("get-window", FIELD(daemon.service.get_window_bytes), 64 * kKiB, 1024 * kMiB,
           "bytes a read may have made that are not sent yet"),
      Count("max-blocks", FIELD(daemon.service.max_blocks), 1, 1'000'000,
            "blocks of one put, read or batch call"),
      Count("max-keys", FIELD(daemon.service.max_keys), 1, 10'000'000, "keys of one match or exists call"),
      Count("max-streams", FIELD(daemon.service.max_streams), 1, 1'000'000,
            "puts, reads, watchers and data sessions at once"),
      Size("message-memory", FIELD(daemon.service.message_memory_bytes), 1 * kMiB, kTiB,
           "messages of all calls under way: credits of puts, windows of reads, appended values"),
      DurationMs("max-stream", FIELD(daemon.service.max_stream_ms), 1, kDayMs,
                 "a put or read that is open for this long is cancelled"),
      DurationMs("stream-idle", FIELD(daemon.service.stream_idle_ms), 1, kDayMs,
                 "a put or read without progress is cancelled"),
      DurationMs("drain-grace", FIELD(daemon.service.drain_grace_ms), 0, kDayMs,
                 "how long running calls may take to end at SIGTERM"),
      Choice<LogLevel>("log-level", FIELD(log.level),
                       {{"debug", LogLevel::kDebug},
                        {"info", LogLevel::kInfo},
                        {"warn", LogLevel::kWarn},
                        {"error", LogLevel::kError}},
                       "least severe lines logged"),
      Choice<LogFormat>("log-format", FIELD(log.format),
                        {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}, "form of a log line"),
  };
}

#undef FIELD

std::vector<Option> MakeTable() {
  std::vector<Option> table;
  for (auto* part : {&ListenOptions, &MemoryOptions, &StoreOptions, &ServiceLimitOptions}) {
    for (Option& option : part()) table.push_back(std::move(option));
  }
  return table;
}

std::string Wrapped(std::string_view text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (column > indent && column + 1 + (end - at) > width) {
      absl::StrAppend(&out, "\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      out.push_back(' ');
      ++column;
    }
    out.append(text.substr(at, end - at));
    column += end - at;
    at = end + 1;
  }
  return out;
}

}  // namespace

std::string Option::EnvName() const {
  return absl::StrCat("KVCOMPD_", absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}}));
}

const std::vector<Option>& OptionTable() {
  static const auto* const table = new std::vector<Option>(MakeTable());
  return *table;
}

const Option* FindOption(std::string_view name) {
  for (const Option& option : OptionTable()) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::string HelpText() {
  std::string out =
      "kvcompd keeps the KV cache of large language models compressed and serves it over gRPC.\n\n"
      "usage: kvcompd [--OPTION=VALUE ...]\n\n"
      "An option is taken from the command line, else from the environment (KVCOMPD_HOST_MEMORY=8GiB), else "
      "from\n"
      "the YAML file (host-memory: 8GiB), else it has its default.\n\n"
      "  --config=FILE           the YAML file; also KVCOMPD_CONFIG\n"
      "  --print-config-table    print the options as a Markdown table and exit\n"
      "  --check-config          check the configuration, print it and exit\n"
      "  --version               print the version and exit\n"
      "  --help                  print this and exit\n\n";
  const Settings defaults;
  for (const Option& option : OptionTable()) {
    std::string help = option.help;
    if (!option.range.empty()) absl::StrAppend(&help, " [", option.range, "]");
    const std::string text = option.text(defaults);
    if (!text.empty()) absl::StrAppend(&help, " (", text, ")");
    const std::string left =
        absl::StrCat("  --", option.name, option.is_flag() ? "" : absl::StrCat("=", option.type));
    absl::StrAppendFormat(&out, "%-26s%s\n", left,
                          left.size() < 26
                              ? Wrapped(help, 26, 110)
                              : absl::StrCat("\n", std::string(26, ' '), Wrapped(help, 26, 110)));
  }
  return out;
}

std::string OptionMarkdown() {
  std::string out = "| option | environment | default | range | meaning |\n| --- | --- | --- | --- | --- |\n";
  absl::StrAppend(&out, "| `config` | `KVCOMPD_CONFIG` | | | YAML file of the options below |\n");
  const Settings defaults;
  for (const Option& option : OptionTable()) {
    const std::string text = option.text(defaults);
    absl::StrAppend(&out, "| `", option.name, "` | `", option.EnvName(), "` |",
                    text.empty() ? "" : absl::StrCat(" `", text, "`"), " |",
                    option.range.empty() ? "" : absl::StrCat(" ", option.range), " | ", option.help, " |\n");
  }
  return out;
}

}  // namespace kvcompd::server
