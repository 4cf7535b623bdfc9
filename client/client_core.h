// ClientCore: what the objects of one client share: options, connections, time, randomness, threads.
//
// Internal to the client. Thread-safe. Client makes it, handles keep it.
#ifndef KVCOMPD_CLIENT_CLIENT_CORE_H_
#define KVCOMPD_CLIENT_CLIENT_CORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "client/call_executor.h"
#include "client/cancellation.h"
#include "client/channel.h"
#include "client/client_options.h"
#include "client/retry.h"
#include "codec/base/mutex.h"

namespace kvcompd::client {

class ClientCore {
 public:
  explicit ClientCore(ClientOptions options);  // that validate
  ~ClientCore();

  const ClientOptions& options() const { return options_; }
  const Clock* clock() const { return options_.clock.get(); }
  ChannelPool& channels() { return channels_; }
  CallExecutor& async() { return async_; }
  CallExecutor& codec_pool() { return codec_pool_; }
  uint64_t Random() const { return options_.random(); }
  std::string RandomBytes(size_t n) const;

  // deadline_ms, or `otherwise` where it is 0.
  Deadline DeadlineOf(uint32_t deadline_ms, uint32_t otherwise) const {
    return Deadline::AfterMs(clock(), deadline_ms != 0 ? deadline_ms : otherwise);
  }
  RetryState Retry(Repeat repeat, const Deadline& deadline, Waiter* waiter) const {
    return RetryState(options_.retry, repeat, deadline, options_.random, waiter);
  }
  // Cancelled by Shutdown; calls that start later get another one.
  std::shared_ptr<Cancellation> live_calls() const;
  bool shut_down() const;
  // Ends live calls, waits and Async calls; what is called afterwards is tried once.
  void Shutdown();

 private:
  const ClientOptions options_;
  ChannelPool channels_;
  CallExecutor async_;
  CallExecutor codec_pool_;
  mutable Mutex mutex_;
  std::shared_ptr<Cancellation> live_calls_ ABSL_GUARDED_BY(mutex_) = std::make_shared<Cancellation>();
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CLIENT_CORE_H_
