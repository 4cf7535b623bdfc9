// What the machine does without kvcompd, measured in the same run as kvcompd: plain TCP streams over loopback
// between processes, and memcpy of memory-resident blocks.
//
// Called by `kvcompctl bench serve`, in turn with its own measurements, because machines are noisy. One
// thread at a time.
//
//   auto tcp = TcpBaseline::Start(4);       // forks the senders; before the process has many threads
//   double gbps = *(*tcp)->Measure(0.5, /*streams=*/1);
//   MemcpyBaseline copy(1 << 20);
//   double copy_gbps = copy.Measure(0.2);
//
// GB/s are 1e9 bytes a second.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_BASELINE_H_
#define KVCOMPD_CLIENT_CTL_BENCH_BASELINE_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd::client {

// For each stream a child process writes 1 MiB at a time, one way; a thread of this process reads into a 1
// MiB buffer of its own. Nothing is computed and no byte looked at, so this is the most that loopback streams
// can give. Socket options are the system's.
class TcpBaseline {
 public:
  // INTERNAL: socket or process could not be made.
  static absl::StatusOr<std::unique_ptr<TcpBaseline>> Start(uint32_t max_streams = 1);
  ~TcpBaseline();  // ends the children
  TcpBaseline(const TcpBaseline&) = delete;
  TcpBaseline& operator=(const TcpBaseline&) = delete;

  // Connections of their own, at most max_streams: 32 MiB each to warm up, then all at once for so many
  // seconds. GB/s of all together. UNAVAILABLE: a child has gone.
  absl::StatusOr<double> Measure(double seconds, uint32_t streams = 1);
  // CPU seconds of both ends per GB in the last Measure; 0 where they could not be read.
  double cpu_s_per_gb() const { return cpu_s_per_gb_; }

 private:
  struct Sender {
    pid_t child = 0;
    uint16_t port = 0;
  };
  TcpBaseline() = default;
  absl::Status StartSender();
  double Cpu(uint32_t streams) const;

  std::vector<Sender> senders_;
  double cpu_s_per_gb_ = 0;
};

// Copies blocks one after the other between two rings of buffers, each ring twice the last-level cache long.
class MemcpyBaseline {
 public:
  explicit MemcpyBaseline(uint64_t block_bytes);
  double Measure(double seconds);  // GB/s of bytes copied

 private:
  const uint64_t block_bytes_;
  const uint64_t num_blocks_;
  std::vector<std::byte> from_;
  std::vector<std::byte> to_;
};

// As the system reports it, within 8 MiB and 512 MiB; 32 MiB where it does not say.
uint64_t LastLevelCacheBytes();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_BASELINE_H_
