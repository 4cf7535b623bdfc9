#include "server/store/random_id.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

namespace kvcompd::server {
namespace {

void Fill(void* out, size_t bytes) {
  // Requests of up to 256 bytes are never cut short once the kernel's pool is ready. Guessable handles would
  // be a hole, so there is nothing to fall back to.
  while (getrandom(out, bytes, 0) != static_cast<ssize_t>(bytes)) {
    if (errno != EINTR) std::abort();
  }
}

}  // namespace

std::string RandomId() {
  std::string id(kRandomIdBytes, '\0');
  Fill(id.data(), id.size());
  return id;
}

uint64_t RandomNonZero64() {
  uint64_t value = 0;
  while (value == 0) Fill(&value, sizeof value);
  return value;
}

}  // namespace kvcompd::server
