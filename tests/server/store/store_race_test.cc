// The store under many threads: readers never see memory that is another block's, or freed, and when all is
// dropped every account is 0.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

constexpr int kThreads = 4;
constexpr uint64_t kKeys = 48;

// A container starts with its key's number and a nonce of its own; the rest follows from both.
struct Content {
  uint64_t key;
  uint64_t nonce;
};

uint64_t Word(const Content& content, uint64_t at) {
  return (content.key * 0x9e3779b97f4a7c15u ^ content.nonce) + at * 0xd1342543de82ef95u;
}

void Fill(MutableByteSpan memory, const Content& content) {
  std::memcpy(memory.data(), &content, sizeof content);
  for (uint64_t at = sizeof content; at + 8 <= memory.size(); at += 8) {
    const uint64_t word = Word(content, at);
    std::memcpy(memory.data() + at, &word, sizeof word);
  }
}

bool Holds(ByteSpan memory, uint64_t key) {
  Content content;
  std::memcpy(&content, memory.data(), sizeof content);
  if (content.key != key) return false;
  for (uint64_t at = sizeof content; at + 8 <= memory.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, memory.data() + at, sizeof word);
    if (word != Word(content, at)) return false;
  }
  return true;
}

class StoreRaceTest : public StoreTest {
 protected:
  void SetUp() override {
    Store::Options options = SmallStore();
    options.high_watermark = 0.9;
    options.low_watermark = 0.7;
    options.index_shards = 4;  // so that threads meet
    Start(options);
    NamespacePolicy policy;
    policy.quota_bytes = kMiB / 3;
    spaces_ = {ns_, Open("with quota", policy)};
  }

  void PutSome(std::mt19937_64& random, const std::shared_ptr<Namespace>& ns) {
    const uint64_t key = random() % kKeys;
    // Halves, wholes and overlaps.
    const ShardRange shards[] = {kWholeBlock, {0, 0, 2, 0, 2}, {0, 2, 2, 0, 2}, {0, 1, 2, 0, 1}};
    const uint64_t bytes = 64 + random() % 40'000;
    PutRequestInfo info{.key = TestKey(key),
                        .shard = shards[random() % 4],
                        .tokens = 64,
                        .bound_bytes = bytes + random() % 5000,
                        .put_id = std::string(1, static_cast<char>('a' + random() % 3))};
    PutReply reply = store_->BeginPut(ns, info);
    if (reply.verdict != PutVerdict::kWanted) return;
    Fill(reply.staging->memory().first(bytes), {key, random()});
    if (random() % 8 == 0) return;  // an interrupted put
    reply.staging->claim().Touch();
    auto done =
        store_->Commit(std::move(reply.staging), {.bytes = bytes, .raw_bytes = bytes, .profile = "raw"});
    if (done.ok()) ++committed_;
  }

  void CheckBlock(const BlockSnapshot& block, uint64_t key) {
    for (const auto& shard : block.shards) {
      if (!Holds(shard->container(), key)) ++wrong_;
      ++checked_;
    }
  }

  void ReadSome(std::mt19937_64& random, const std::shared_ptr<Namespace>& ns) {
    const uint64_t key = random() % kKeys;
    if (auto read = store_->Read(ns, TestKey(key)); read.ok()) CheckBlock(*read, key);
    if (auto block = store_->Lookup(ns, TestKey(key))) {
      if (random() % 2 == 0) store_->Delete(ns, TestKey(key));  // while it is held
      CheckBlock(*block, key);
    }
    std::vector<BlockKey> keys;
    for (uint64_t n = 0; n < 4; ++n) keys.push_back(TestKey(key + n));
    const MatchReply match = store_->Match(ns, keys, {.lease = random() % 2 == 0, .lease_ms = 50});
    for (size_t i = 0; i < match.blocks.size(); ++i) CheckBlock(match.blocks[i], key + i);
    if (!match.lease_id.empty() && random() % 2 == 0) store_->Release(ns, match.lease_id);
  }

  void Disturb(std::mt19937_64& random, const std::shared_ptr<Namespace>& ns) {
    const std::vector<BlockKey> keys = {TestKey(random() % kKeys)};
    switch (random() % 8) {
      case 0:
        store_->Pin(ns, keys, 20);
        break;
      case 1:
        store_->Unpin(ns, keys);
        break;
      case 2:
        clock_.AdvanceUs(10'000);
        store_->Tick();
        break;
      case 3:
        if (random() % 32 == 0) store_->Flush(ns);
        break;
      case 4:
        if (random() % 16 == 0) store_->Trim(kMiB / 4, 5);
        break;
      case 5:
        if (auto block = store_->Lookup(ns, keys[0])) {
          store_->Quarantine(ns, keys[0], block->generation, Reason::kCorrupt);
        }
        break;
      case 6: {
        Reason reason = Reason::kNone;
        auto tail = store_->AllocateTail(ns, 1 + random() % 20'000, &reason);
        if (tail.ok()) std::memset(tail->bytes().data(), 0xee, tail->bytes().size());
        break;
      }
      default:
        store_->stats();
        store_->SnapshotEvents(ns, static_cast<uint32_t>(random() % store_->snapshot_parts()));
    }
  }

  std::vector<std::shared_ptr<Namespace>> spaces_;
  std::atomic<uint64_t> committed_{0};
  std::atomic<uint64_t> checked_{0};
  std::atomic<uint64_t> wrong_{0};
};

TEST_F(StoreRaceTest, PutsReadsEvictionsDeletesAndLeases) {
  auto watcher = store_->watch().Subscribe(ns_->id(), [] {});
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937_64 random(1000 + t);
      for (int i = 0; i < 3000; ++i) {
        const auto& ns = spaces_[random() % spaces_.size()];
        const uint64_t what = random() % 8;
        if (what < 4) {
          PutSome(random, ns);
        } else if (what < 7) {
          ReadSome(random, ns);
        } else {
          Disturb(random, ns);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong_, 0u);
  EXPECT_GT(committed_, 100u);
  EXPECT_GT(checked_, 100u);
  ExpectBalanced();
  EXPECT_LE(spaces_[1]->account().charged_bytes, kMiB / 3);

  AdvanceMs(1'000'000);
  store_->Tick();  // leases and pins end
  for (const auto& ns : spaces_) {
    store_->Flush(ns);
    EXPECT_EQ(ns->account().pinned_bytes, 0u);
    EXPECT_EQ(ns->account().charged_bytes, 0u);
  }
  ExpectEmpty();
}

// A stored event of a generation always comes before its removal, and each comes once.
TEST_F(StoreRaceTest, EventsOfABlockAreInOrder) {
  Mutex mutex;
  std::vector<Event> events;
  std::shared_ptr<WatchHub::Watcher> watcher;
  watcher = store_->watch().Subscribe(ns_->id(), [&] {
    MutexLock lock(&mutex);
    uint64_t lost = 0;
    for (Event& event : watcher->Take(&lost)) events.push_back(std::move(event));
    EXPECT_EQ(lost, 0u);
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 2000; ++i) {
        const uint64_t key = random() % 4;
        if (random() % 2 == 0) {
          Put(key, {.bytes = 64});
        } else {
          store_->Delete(ns_, TestKey(key));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  store_->Flush(ns_);
  store_->watch().Unsubscribe(watcher);
  std::vector<int> state(20'000, 0);  // by generation: 0 unknown, 1 stored, 2 removed
  for (const Event& event : events) {
    int& now = state.at(event.generation.counter);
    ASSERT_EQ(now, event.kind == Event::Kind::kStored ? 0 : 1);
    ++now;
  }
  for (int s : state) EXPECT_NE(s, 1);  // all were flushed
  EXPECT_GT(events.size(), 100u);
}

}  // namespace
}  // namespace kvcompd::server
