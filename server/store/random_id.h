// Numbers that nobody can guess, from the kernel: handles of leases and sequences, the store's epoch.
//
//   std::string lease_id = RandomId();   // 16 bytes
#ifndef KVCOMPD_SERVER_STORE_RANDOM_ID_H_
#define KVCOMPD_SERVER_STORE_RANDOM_ID_H_

#include <cstdint>
#include <string>

namespace kvcompd::server {

inline constexpr size_t kRandomIdBytes = 16;

std::string RandomId();
uint64_t RandomNonZero64();

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_RANDOM_ID_H_
