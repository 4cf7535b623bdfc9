// The daemon is killed (SIGKILL) again and again under a load of puts and gets, and started anew on the same
// port. Clients go on by themselves with the objects they have, no byte is ever wrong, and they neither grow
// nor leak.
//
// KVCOMPD_CHAOS_SEED repeats a run's choices (threads still interleave as they like).
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/ctl/local_daemon.h"
#include "client/ctl/process_usage.h"
#include "client/ctl/sample_stats.h"
#include "codec/base/mutex.h"
#include "tests/chaos/expected_block.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kLayers = 2;
constexpr uint32_t kThreads = 3;
constexpr uint32_t kKills = 20;
constexpr uint32_t kPutBatch = 2;
constexpr uint32_t kGetBatch = 4;
constexpr double kResumeSeconds = 2;  // from listening to a thread's first success
constexpr absl::Duration kHangLimit = absl::Seconds(20);
constexpr uint32_t kSettledRound = 4;  // memory and descriptors are compared with those of this round
// The address sanitizer keeps freed memory back (256 MiB by default) and looks for leaks itself.
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kMaxGrowthBytes = uint64_t{512} << 20;
#else
constexpr uint64_t kMaxGrowthBytes = uint64_t{32} << 20;
#endif
constexpr uint32_t kMaxMoreDescriptors = 4;

using TimePoint = std::chrono::steady_clock::time_point;

uint64_t Seed() {
  const char* text = std::getenv("KVCOMPD_CHAOS_SEED");
  uint64_t seed = 0;
  return text != nullptr && absl::SimpleAtoi(text, &seed) ? seed : 1;
}

// What the threads tell the test. Thread-safe.
class Progress {
 public:
  // A call that the daemon answered.
  void Succeeded(uint32_t thread) {
    MutexLock lock(&mutex_);
    ++successes_[thread];
    last_[thread] = std::chrono::steady_clock::now();
    changed_.SignalAll();
  }
  void Error(const std::string& text) {
    MutexLock lock(&mutex_);
    if (errors_.size() < 10) errors_.push_back(text);
    changed_.SignalAll();
  }
  std::vector<std::string> errors() {
    MutexLock lock(&mutex_);
    return errors_;
  }
  uint64_t successes(uint32_t thread) {
    MutexLock lock(&mutex_);
    return successes_[thread];
  }
  // Waits until `thread` has more than `than` successes. The moment of the last one by then; the epoch of the
  // clock where the time ran out or a thread met an error.
  TimePoint WaitForMore(uint32_t thread, uint64_t than) {
    MutexLock lock(&mutex_);
    const TimePoint limit = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kHangLimit);
    while (successes_[thread] <= than && errors_.empty()) {
      if (std::chrono::steady_clock::now() >= limit) return {};
      changed_.WaitFor(&mutex_, absl::Milliseconds(100));
    }
    return errors_.empty() ? last_[thread] : TimePoint{};
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t successes_[kThreads] ABSL_GUARDED_BY(mutex_) = {};
  TimePoint last_[kThreads] ABSL_GUARDED_BY(mutex_) = {};
  std::vector<std::string> errors_ ABSL_GUARDED_BY(mutex_);
};

// One thread's load: puts new blocks of its own, gets old ones of everybody.
class Load {
 public:
  Load(uint32_t thread, uint64_t seed, NamespaceHandle& ns, Progress& progress)
      : thread_(thread), seed_(seed), ns_(ns), progress_(progress), random_(seed * 100 + thread) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop.load()) {
      PutSome();
      GetSome();
    }
  }
  uint64_t blocks_verified() const { return blocks_verified_; }
  uint64_t misses() const { return misses_; }
  uint64_t broken_calls() const { return broken_calls_; }

 private:
  Form AnyForm() { return random_() % 2 == 0 ? Form::kDecoded : Form::kEncoded; }
  BlockKey Key(uint32_t thread, uint64_t number) const { return ChaosKey(seed_ * 100 + thread, number); }
  // Whether the daemon answered. A daemon that is gone is the only excuse for a call.
  bool Answered(const absl::Status& status, const char* verb) {
    if (status.ok()) return true;
    ++broken_calls_;
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
      progress_.Error(absl::StrCat(verb, ": ", status.ToString()));
    }
    return false;
  }
  void PutSome();
  void GetSome();
  // Whatever a get says is there must be right. False: the daemon went meanwhile.
  bool CheckGot(const BlockKey& key, uint32_t place, const GetResult& result);

  const uint32_t thread_;
  const uint64_t seed_;
  NamespaceHandle& ns_;
  Progress& progress_;
  std::mt19937_64 random_;
  uint64_t next_ = 0;
  ChaosMemory source_{kLayers, kPutBatch};
  ChaosMemory target_{kLayers, kGetBatch};
  uint64_t blocks_verified_ = 0;
  uint64_t misses_ = 0;
  uint64_t broken_calls_ = 0;
};

void Load::PutSome() {
  std::vector<PutBlock> blocks;
  for (uint32_t i = 0; i < kPutBatch; ++i) {
    const BlockKey key = Key(thread_, next_++);
    source_.Fill(i, key);
    blocks.push_back({.key = key, .tokens = kChaosTokens, .source = source_.place(i)});
  }
  // In the form ENCODED as profile raw: containers, and still bit-exact.
  const auto results = ns_.PutBlocks(blocks, PutOptions{.form = AnyForm()});
  if (!Answered(results.status(), "put")) return;
  bool all = true;
  for (const PutResult& result : *results) {
    // Memory may be short for a moment while others stage; nothing is stored then.
    if (absl::IsResourceExhausted(result.status)) continue;
    all = Answered(result.status, "put of a block") && all;
  }
  if (all) progress_.Succeeded(thread_);
}

bool Load::CheckGot(const BlockKey& key, uint32_t place, const GetResult& result) {
  // Layers before the one that failed are said to be good, so they are checked too.
  if (!target_.HoldsLayers(place, key, result.layers)) {
    progress_.Error(absl::StrCat("WRONG BYTES in block ", key.Hex(), ", ", result.layers, " layers, ",
                                 result.status.ToString()));
  }
  if (result.status.ok()) {
    if (result.layers != kLayers) progress_.Error("a whole block without all its layers");
    ++blocks_verified_;
    return true;
  }
  if (absl::IsNotFound(result.status)) {
    ++misses_;
    return true;
  }
  // The content that the first layers came from went with the old daemon.
  if (absl::IsAborted(result.status)) return true;
  return Answered(result.status, "get of a block");
}

void Load::GetSome() {
  std::vector<GetBlock> blocks;
  for (uint32_t i = 0; i < kGetBatch; ++i) {
    target_.Poison(i);
    const uint64_t back = random_() % 8;
    const BlockKey key = Key(static_cast<uint32_t>(random_() % kThreads), next_ > back ? next_ - back : 0);
    blocks.push_back({.key = key, .target = target_.place(i)});
  }
  const auto results = ns_.GetBlocks(blocks, GetOptions{.form = AnyForm()});
  if (!Answered(results.status(), "get")) return;
  bool all = true;
  for (uint32_t i = 0; i < kGetBatch; ++i) all = CheckGot(blocks[i].key, i, (*results)[i]) && all;
  if (all) progress_.Succeeded(thread_);
}

TEST(KillDaemon, ClientsGoOnByThemselvesAndNoByteIsWrong) {
  const uint64_t seed = Seed();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  LocalDaemon::Options daemon_options{.binary = "server/kvcompd", .extra_args = {"--host-memory=64MiB"}};
  auto daemon = LocalDaemon::Start(daemon_options);
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  daemon_options.address = (*daemon)->address();

  auto client = Client::Connect({.address = (*daemon)->address(), .tenant = "chaos"});
  ASSERT_TRUE(client.ok()) << client.status();
  v1::NamespacePolicy policy;
  policy.set_profile("raw");
  const auto ns = (*client)->OpenNamespace(ChaosModel(kLayers), policy);
  ASSERT_TRUE(ns.ok()) << ns.status();

  Progress progress;
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Load>> loads;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) {
    loads.push_back(std::make_unique<Load>(i, seed, **ns, progress));
    threads.emplace_back([&stop, load = loads.back().get()] { load->Run(stop); });
  }

  std::vector<double> resume_seconds;
  uint64_t settled_bytes = 0;
  uint32_t settled_descriptors = 0;
  for (uint32_t round = 0; round < kKills && !testing::Test::HasFailure(); ++round) {
    // Some way into the load, and then at no particular point of any call.
    const auto leader = static_cast<uint32_t>(random() % kThreads);
    const uint64_t calls = 3 + random() % 20;
    EXPECT_NE(progress.WaitForMore(leader, progress.successes(leader) + calls), TimePoint{}) << "no progress";
    EXPECT_TRUE((*daemon)->Kill().ok());
    daemon = LocalDaemon::Start(daemon_options);
    if (!daemon.ok()) {
      ADD_FAILURE() << "round " << round << ": " << daemon.status();
      break;
    }
    const TimePoint listening = std::chrono::steady_clock::now();
    for (uint32_t i = 0; i < kThreads; ++i) {
      const TimePoint success = progress.WaitForMore(i, progress.successes(i));
      EXPECT_NE(success, TimePoint{}) << "thread " << i << " does not resume in round " << round;
      const double seconds = std::chrono::duration<double>(success - listening).count();
      resume_seconds.push_back(std::max(seconds, 0.0));
    }
    if (round == kSettledRound) {
      settled_bytes = ResidentBytes(0).value_or(0);
      settled_descriptors = OpenDescriptors(0).value_or(0);
    }
  }
  const uint64_t end_bytes = ResidentBytes(0).value_or(0);
  const uint32_t end_descriptors = OpenDescriptors(0).value_or(0);
  stop.store(true);
  for (std::thread& thread : threads) thread.join();

  for (const std::string& error : progress.errors()) ADD_FAILURE() << error;
  uint64_t verified = 0;
  uint64_t misses = 0;
  uint64_t broken = 0;
  for (const auto& load : loads) {
    verified += load->blocks_verified();
    misses += load->misses();
    broken += load->broken_calls();
  }
  const double slowest = Percentile(resume_seconds, 1);
  std::cout << verified << " blocks verified, " << misses << " misses, " << broken
            << " calls failed; first success "
            << "after listening: median " << Median(resume_seconds) << " s, slowest " << slowest
            << " s; resident " << settled_bytes << " -> " << end_bytes << " bytes, descriptors "
            << settled_descriptors << " -> " << end_descriptors << std::endl;
  EXPECT_EQ(resume_seconds.size(), kKills * kThreads);
  EXPECT_GT(verified, 100u) << "the test would have seen next to nothing";
  EXPECT_GE((*ns)->state().opens, 1u + kKills) << "the namespace was opened again after each restart";
  EXPECT_LE(slowest, kResumeSeconds);
  EXPECT_LE(end_bytes, settled_bytes + kMaxGrowthBytes);
  EXPECT_LE(end_descriptors, settled_descriptors + kMaxMoreDescriptors);
}

}  // namespace
}  // namespace kvcompd::client
