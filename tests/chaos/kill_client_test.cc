// Client processes are killed (SIGKILL) in the middle of puts and gets. The daemon gives back what they
// staged, ends their streams, and serves everybody else meanwhile.
//
// KVCOMPD_CHAOS_SEED repeats a run's choices.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/ctl/child_process.h"
#include "client/ctl/local_daemon.h"
#include "tests/chaos/expected_block.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kLayers = 16;  // as load_client has it
constexpr uint32_t kKills = 20;
constexpr int kChildTimeoutMs = 30'000;
constexpr auto kReleaseLimit = std::chrono::seconds(10);

uint64_t Seed() {
  const char* text = std::getenv("KVCOMPD_CHAOS_SEED");
  uint64_t seed = 0;
  return text != nullptr && absl::SimpleAtoi(text, &seed) ? seed : 1;
}

// A load_client and what it says.
class Victim {
 public:
  static std::unique_ptr<Victim> Start(const std::string& address, const std::string& mode, uint64_t seed) {
    auto victim = std::unique_ptr<Victim>(new Victim);
    auto folder = TemporaryFolder::Create();
    if (!folder.ok()) return nullptr;
    victim->folder_ = *std::move(folder);
    const std::string pipe = victim->folder_->path() + "/said";
    if (mkfifo(pipe.c_str(), 0600) != 0) return nullptr;
    victim->said_ = open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    auto child = ChildProcess::Start(
        {.argv = {"tests/chaos/load_client", address, mode, absl::StrCat(seed)}, .stdout_path = pipe});
    if (victim->said_ < 0 || !child.ok()) return nullptr;
    victim->child_ = *std::move(child);
    return victim;
  }
  ~Victim() {
    if (said_ >= 0) close(said_);
  }

  // Waits until it said so many bytes more. False: it ended, or did not in time.
  bool WaitForBytes(uint64_t count) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(kChildTimeoutMs);
    while (count > 0) {
      pollfd ready{.fd = said_, .events = POLLIN};
      poll(&ready, 1, 100);
      char buffer[64];
      const ssize_t n = read(said_, buffer, std::min<uint64_t>(count, sizeof(buffer)));
      if (n > 0) count -= static_cast<uint64_t>(n);
      if (n <= 0 && (!child_->Running() || std::chrono::steady_clock::now() >= limit)) return false;
    }
    return true;
  }
  void Kill() {
    EXPECT_TRUE(child_->Signal(SIGKILL).ok()) << "it ended by itself";
    EXPECT_EQ(child_->Wait(absl::Milliseconds(kChildTimeoutMs)).value_or(-1), 128 + SIGKILL);
  }

 private:
  Victim() = default;
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<ChildProcess> child_;
  int said_ = -1;
};

class KillClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // A stream that nobody ends would be ended after an hour, and a drain would wait for it: neither hides a
    // leak.
    auto daemon = LocalDaemon::Start({.binary = "server/kvcompd",
                                      .extra_args = {"--host-memory=512MiB", "--stream-idle=1h",
                                                     "--orphan-timeout=1h", "--drain-grace=60s"}});
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    auto client = Client::Connect({.address = daemon_->address(), .tenant = "chaos"});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    v1::NamespacePolicy policy;
    policy.set_profile("raw");
    auto ns = client_->OpenNamespace(ChaosModel(kLayers), policy);
    ASSERT_TRUE(ns.ok()) << ns.status();
    ns_ = *std::move(ns);
  }

  uint64_t StagedBytes() {
    const auto stats = client_->admin().Stats();
    EXPECT_TRUE(stats.ok()) << stats.status();
    uint64_t staged = 0;
    if (stats.ok()) {
      for (const v1::TierStats& tier : stats->tiers()) staged += tier.staged_bytes();
    }
    return staged;
  }
  // Another client's put and get, in full.
  void ExpectOthersProceed(uint64_t number) {
    ChaosMemory memory(kLayers, 1);
    const BlockKey key = ChaosKey(/*seed=*/0, number);
    memory.Fill(0, key);
    const PutBlock put{.key = key, .tokens = kChaosTokens, .source = memory.place(0)};
    const auto stored = ns_->PutBlocks({&put, 1}, {.deadline_ms = 5'000});
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_TRUE((*stored)[0].status.ok()) << (*stored)[0].status;
    memory.Poison(0);
    const GetBlock get{.key = key, .target = memory.place(0)};
    const auto got = ns_->GetBlocks({&get, 1}, {.deadline_ms = 5'000});
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE((*got)[0].status.ok()) << (*got)[0].status;
    EXPECT_TRUE(memory.HoldsLayers(0, key, kLayers));
  }
  // Seconds until nothing is staged any more.
  double WaitForNothingStaged() {
    const auto start = std::chrono::steady_clock::now();
    while (true) {
      const uint64_t staged = StagedBytes();
      const auto waited = std::chrono::steady_clock::now() - start;
      if (staged == 0) return std::chrono::duration<double>(waited).count();
      if (waited > kReleaseLimit) {
        ADD_FAILURE() << staged << " bytes are still staged";
        return -1;
      }
    }
  }

  std::unique_ptr<LocalDaemon> daemon_;
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
};

TEST_F(KillClientTest, StagedBytesAndStreamsAreGivenBack) {
  const uint64_t seed = Seed();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  const std::string modes[] = {"put-stall", "get-stall", "put-load", "get-load"};
  double slowest = 0;
  uint32_t staged_rounds = 0;
  for (uint32_t round = 0; round < kKills; ++round) {
    const std::string& mode = modes[round % 4];
    SCOPED_TRACE(absl::StrCat("round ", round, ", ", mode));
    auto victim = Victim::Start(daemon_->address(), mode, seed * 1000 + round);
    ASSERT_NE(victim, nullptr);
    const bool stall = mode == "put-stall" || mode == "get-stall";
    ASSERT_TRUE(victim->WaitForBytes(stall ? 1 : 1 + random() % 48));
    if (mode == "put-stall") {
      EXPECT_GT(StagedBytes(), 0u) << "it was not in the middle of a put";
      ++staged_rounds;
    }
    ExpectOthersProceed(round * 2);
    victim->Kill();
    ExpectOthersProceed(round * 2 + 1);
    slowest = std::max(slowest, WaitForNothingStaged());
    if (HasFailure()) break;
  }
  EXPECT_EQ(staged_rounds, kKills / 4);
  std::cout << "staged bytes were given back within " << slowest << " s" << std::endl;
  ns_.reset();
  client_.reset();
  // A drain waits for open puts and gets, longer than this does for the daemon's end.
  const absl::Status stopped = daemon_->Stop();
  EXPECT_TRUE(stopped.ok()) << stopped;
}

}  // namespace
}  // namespace kvcompd::client
