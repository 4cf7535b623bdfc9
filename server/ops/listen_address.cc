#include "server/ops/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "codec/base/types.h"

namespace kvcompd::server {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr size_t kMaxHostBytes = 253;  // of a DNS name

absl::Status Invalid(std::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("address \"", ToAbsl(text), "\": ", why,
                                                 "; expected HOST:PORT, [IPV6]:PORT or unix:PATH"));
}

bool IsHostName(std::string_view host) {
  if (host.empty() || host.size() > kMaxHostBytes) return false;
  for (char c : host) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') return false;
  }
  return true;
}

bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view text) {
  ListenAddress out;
  if (text.starts_with(kUnixPrefix)) {
    out.unix_path = text.substr(kUnixPrefix.size());
    if (out.unix_path.empty()) return Invalid(text, "no path");
    if (out.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Invalid(text, absl::StrCat("path longer than ", sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return out;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Invalid(text, "no port");
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  out.host = host;
  if (bracketed ? !IsIpv6(out.host) : !IsHostName(host)) {
    return Invalid(text,
                   host.empty() ? "no host (0.0.0.0 is every IPv4 interface, [::] every one)" : "bad host");
  }
  uint32_t port = 0;
  const std::string_view digits = text.substr(colon + 1);
  if (digits.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(digits[0])) ||
      !absl::SimpleAtoi(ToAbsl(digits), &port) || port > UINT16_MAX) {
    return Invalid(text, "port is not a number from 0 to 65535");
  }
  out.port = static_cast<uint16_t>(port);
  return out;
}

std::string ListenAddress::Text() const {
  if (is_unix()) return absl::StrCat(ToAbsl(kUnixPrefix), unix_path);
  if (host.find(':') != std::string::npos) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool ListenAddress::local() const {
  if (is_unix() || absl::AsciiStrToLower(host) == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace kvcompd::server
