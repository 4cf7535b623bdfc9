#include "client/client_core.h"

#include <random>
#include <utility>

namespace kvcompd::client {
namespace {

constexpr uint32_t kCodecQueue = 4096;  // helpers that wait; where it is full the callers work alone

// Random numbers for any thread.
std::function<uint64_t()> SystemRandom() {
  struct Source {
    Mutex mutex;
    std::mt19937_64 engine ABSL_GUARDED_BY(mutex);
    Source() {
      std::random_device device;
      std::seed_seq seed{device(), device(), device(), device(), device(), device(), device(), device()};
      engine.seed(seed);
    }
  };
  return [source = std::make_shared<Source>()] {
    MutexLock lock(&source->mutex);
    return source->engine();
  };
}

ClientOptions WithDefaults(ClientOptions options) {
  if (!options.clock) options.clock = std::make_shared<SteadyClock>();
  if (!options.random) options.random = SystemRandom();
  return options;
}

}  // namespace

ClientCore::ClientCore(ClientOptions options)
    : options_(WithDefaults(std::move(options))),
      channels_(options_),
      async_(options_.async_threads, options_.async_queue),
      codec_pool_(options_.codec_threads - 1, kCodecQueue) {}

ClientCore::~ClientCore() { Shutdown(); }

std::string ClientCore::RandomBytes(size_t n) const {
  std::string out;
  while (out.size() < n) {
    const uint64_t word = Random();
    out.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  out.resize(n);
  return out;
}

std::shared_ptr<Cancellation> ClientCore::live_calls() const {
  MutexLock lock(&mutex_);
  return live_calls_;
}

bool ClientCore::shut_down() const {
  MutexLock lock(&mutex_);
  return shut_down_;
}

void ClientCore::Shutdown() {
  std::shared_ptr<Cancellation> live = std::make_shared<Cancellation>();
  {
    MutexLock lock(&mutex_);
    shut_down_ = true;
    live_calls_.swap(live);
  }
  live->Cancel();
  async_.Shutdown();
}

}  // namespace kvcompd::client
