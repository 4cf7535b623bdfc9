// What a process of this machine has used: CPU seconds, memory, descriptors, read from /proc.
//
// Called by `kvcompctl bench` (CPU seconds per GB, of the daemon and of itself) and by the chaos tests (a
// client that outlives many daemons must not grow). Free functions; thread-safe.
//
//   const absl::StatusOr<double> before = CpuSeconds(daemon_pid);
//   ...
//   double used = *CpuSeconds(daemon_pid) - *before;
#ifndef KVCOMPD_CLIENT_CTL_PROCESS_USAGE_H_
#define KVCOMPD_CLIENT_CTL_PROCESS_USAGE_H_

#include <sys/types.h>

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvcompd::client {

// User plus system CPU seconds of all threads, ended ones included; resolution of a clock tick (usually 10
// ms). NOT_FOUND: no such process. pid 0: this process.
absl::StatusOr<double> CpuSeconds(pid_t pid);
// CPU ticks in the text of /proc/PID/stat. The process's name may hold spaces and brackets.
// INVALID_ARGUMENT: not such a text.
absl::StatusOr<uint64_t> CpuTicksOfStat(std::string_view stat);

// Resident set. NOT_FOUND as above.
absl::StatusOr<uint64_t> ResidentBytes(pid_t pid);
// Open descriptors; the one that reads the folder is not counted.
absl::StatusOr<uint32_t> OpenDescriptors(pid_t pid);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_PROCESS_USAGE_H_
