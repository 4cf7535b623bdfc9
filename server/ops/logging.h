// Logging: spdlog to stderr, one line an event, `key=value`, as text or as JSON. gRPC's own log goes the same
// way.
//
// InitLogging is called once by main, before threads start; spdlog::info and the like are thread-safe.
//
//   InitLogging({.level = LogLevel::kInfo, .format = LogFormat::kText});
//   spdlog::info("namespace opened tenant={} name={}", LogValue(tenant), LogValue(name));
#ifndef KVCOMPD_SERVER_OPS_LOGGING_H_
#define KVCOMPD_SERVER_OPS_LOGGING_H_

#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>

#include <memory>
#include <string>
#include <string_view>

namespace kvcompd::server {

enum class LogLevel { kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
};

// Text: "2026-01-02T03:04:05.678901Z info listening address=...". JSON: {"time":..,"level":..,"message":..}.
// Always one line: control characters in a message are escaped, so that what a client sent cannot forge one.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

// sink: where to, for tests; null is stderr.
void InitLogging(const LogOptions& options, spdlog::sink_ptr sink = nullptr);

// A value for `key=value`: in quotes where it is empty or has spaces, quotes or control characters.
std::string LogValue(std::string_view value);

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_OPS_LOGGING_H_
