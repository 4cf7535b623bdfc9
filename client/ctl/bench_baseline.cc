#include "client/ctl/bench_baseline.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <latch>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/ctl/process_usage.h"

namespace kvcompd::client {
namespace {

constexpr size_t kWriteBytes = size_t{1} << 20;
constexpr uint64_t kWarmUpBytes = uint64_t{32} << 20;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SystemError(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno)));
}

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// The child. Only calls that are safe after a fork of a process with threads: no memory is allocated here.
[[noreturn]] void SendForEver(int listener, const std::byte* buffer, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);  // it went before prctl
  signal(SIGPIPE, SIG_IGN);
  while (true) {
    const int fd = accept(listener, nullptr, nullptr);
    if (fd < 0) _exit(1);
    while (write(fd, buffer, kWriteBytes) > 0) {
    }
    close(fd);
  }
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One stream's share of a measurement.
struct Received {
  absl::Status status;
  uint64_t bytes = 0;
};

// Warms up, waits for the others at `start`, then reads for so many seconds.
void Receive(uint16_t port, double seconds, std::latch* start, Received* out) {
  const Socket stream(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  std::vector<std::byte> buffer(kWriteBytes);
  const auto receive = [&]() -> bool {
    const ssize_t n = recv(stream.fd(), buffer.data(), buffer.size(), 0);
    if (n <= 0) return n < 0 && errno == EINTR;
    out->bytes += static_cast<uint64_t>(n);
    return true;
  };
  const absl::Status gone = absl::UnavailableError("the TCP sender has gone");
  const sockaddr_in address = Loopback(port);
  if (stream.fd() < 0) {
    out->status = SystemError("socket");
  } else if (connect(stream.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    out->status = absl::UnavailableError(absl::StrCat("TCP sender: ", strerror(errno)));
  }
  while (out->status.ok() && out->bytes < kWarmUpBytes) {
    if (!receive()) out->status = gone;
  }
  start->arrive_and_wait();
  out->bytes = 0;
  const auto begin = std::chrono::steady_clock::now();
  while (out->status.ok() && SecondsSince(begin) < seconds) {
    if (!receive()) out->status = gone;
  }
}

}  // namespace

uint64_t LastLevelCacheBytes() {
  const int64_t reported = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (reported <= 0) return uint64_t{32} << 20;
  return std::clamp<uint64_t>(reported, uint64_t{8} << 20, uint64_t{512} << 20);
}

absl::StatusOr<std::unique_ptr<TcpBaseline>> TcpBaseline::Start(uint32_t max_streams) {
  std::unique_ptr<TcpBaseline> tcp(new TcpBaseline);
  for (uint32_t i = 0; i < std::max(1u, max_streams); ++i) {
    if (auto s = tcp->StartSender(); !s.ok()) return s;
  }
  return tcp;
}

absl::Status TcpBaseline::StartSender() {
  const Socket listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (listener.fd() < 0) return SystemError("socket");
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (bind(listener.fd(), reinterpret_cast<sockaddr*>(&address), length) != 0) return SystemError("bind");
  if (listen(listener.fd(), 1) != 0) return SystemError("listen");
  if (getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return SystemError("getsockname");
  }
  const std::vector<std::byte> buffer(kWriteBytes, std::byte{0x5a});
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return SystemError("fork");
  if (child == 0) SendForEver(listener.fd(), buffer.data(), parent);
  senders_.push_back({child, ntohs(address.sin_port)});
  return absl::OkStatus();
}

TcpBaseline::~TcpBaseline() {
  for (const Sender& sender : senders_) {
    kill(sender.child, SIGKILL);
    waitpid(sender.child, nullptr, 0);
  }
}

double TcpBaseline::Cpu(uint32_t streams) const {
  double seconds = CpuSeconds(0).value_or(0);
  for (uint32_t i = 0; i < streams; ++i) seconds += CpuSeconds(senders_[i].child).value_or(0);
  return seconds;
}

absl::StatusOr<double> TcpBaseline::Measure(double seconds, uint32_t streams) {
  if (streams < 1 || streams > senders_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(streams, " TCP streams where ", senders_.size(), " were started"));
  }
  std::vector<Received> received(streams);
  std::vector<std::thread> threads;
  std::latch start(streams + 1);
  for (uint32_t i = 0; i < streams; ++i) {
    threads.emplace_back(Receive, senders_[i].port, seconds, &start, &received[i]);
  }
  start.arrive_and_wait();
  const double cpu_before = Cpu(streams);
  const auto begin = std::chrono::steady_clock::now();
  for (std::thread& thread : threads) thread.join();
  const double elapsed = SecondsSince(begin);
  const double cpu = Cpu(streams) - cpu_before;
  double gb = 0;
  for (const Received& one : received) {
    if (!one.status.ok()) return one.status;
    gb += static_cast<double>(one.bytes) / 1e9;
  }
  cpu_s_per_gb_ = cpu / gb;
  return gb / elapsed;
}

MemcpyBaseline::MemcpyBaseline(uint64_t block_bytes)
    : block_bytes_(block_bytes),
      num_blocks_(std::max<uint64_t>(2, 2 * LastLevelCacheBytes() / block_bytes)),
      from_(block_bytes_ * num_blocks_, std::byte{1}),
      to_(block_bytes_ * num_blocks_, std::byte{2}) {}

double MemcpyBaseline::Measure(double seconds) {
  const auto start = std::chrono::steady_clock::now();
  uint64_t blocks = 0;
  double elapsed = 0;
  while (elapsed < seconds) {
    const uint64_t offset = blocks % num_blocks_ * block_bytes_;
    std::memcpy(to_.data() + offset, from_.data() + offset, block_bytes_);
    ++blocks;
    elapsed = SecondsSince(start);
  }
  return static_cast<double>(blocks * block_bytes_) / 1e9 / elapsed;
}

}  // namespace kvcompd::client
