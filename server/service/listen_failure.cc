#include "server/service/listen_failure.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace kvcompd::server {
namespace {

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status Unavailable(const ListenAddress& address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address.Text(), ": ", why));
}

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

// errno of a bind to the address; 0 where it works by now.
int BindError(const sockaddr* address, socklen_t bytes) {
  Socket socket(address->sa_family);
  if (socket.fd() < 0) return errno;
  const int on = 1;
  setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // as gRPC does
  if (bind(socket.fd(), address, bytes) != 0) return errno;
  return listen(socket.fd(), 1) != 0 ? errno : 0;
}

}  // namespace

absl::Status CheckSocketFree(const ListenAddress& address) {
  if (!address.is_unix()) return absl::OkStatus();
  const sockaddr_un unix_address = UnixAddress(address.unix_path);
  Socket socket(AF_UNIX);
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&unix_address), sizeof unix_address) != 0) {
    return absl::OkStatus();
  }
  return Unavailable(address, "another process listens there");
}

absl::Status ListenFailure(const ListenAddress& address) {
  if (address.is_unix()) {
    const std::string& path = address.unix_path;
    const std::string dir = path.find('/') == std::string::npos ? "." : path.substr(0, path.rfind('/') + 1);
    return Unavailable(address,
                       access(dir.c_str(), W_OK | X_OK) != 0 ? std::strerror(errno) : "not possible");
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return Unavailable(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> results(found, freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (const int bind_error = BindError(at->ai_addr, at->ai_addrlen); bind_error != 0) {
      return Unavailable(address, std::strerror(bind_error));
    }
  }
  return Unavailable(address, "not possible");
}

}  // namespace kvcompd::server
