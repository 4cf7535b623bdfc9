#include "server/service/pool_group_executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "codec/base/mutex.h"

namespace kvcompd::server {
namespace {

using Priority = WorkerPool::Priority;

// Something that happens once, and that others wait for.
class Event {
 public:
  void Happen() {
    MutexLock lock(&mutex_);
    happened_ = true;
    changed_.SignalAll();
  }
  void Await() {
    MutexLock lock(&mutex_);
    while (!happened_) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool happened_ ABSL_GUARDED_BY(mutex_) = false;
};

void AwaitIdle(const WorkerPool& pool) {
  for (WorkerPool::Stats s = pool.stats(); s.running + s.queued_reads + s.queued_writes > 0;
       s = pool.stats()) {
    std::this_thread::yield();
  }
}

// Holds every thread of a pool until it goes.
class Hold {
 public:
  explicit Hold(WorkerPool* pool) : pool_(pool), held_(pool->stats().threads) {
    for (Event& held : held_) {
      EXPECT_TRUE(pool->Submit(Priority::kRead, [this, &held](codec::Workspace&) {
        held.Happen();
        release_.Await();
      }));
    }
    for (Event& held : held_) held.Await();
  }
  ~Hold() {
    release_.Happen();
    AwaitIdle(*pool_);
  }

 private:
  WorkerPool* const pool_;
  std::vector<Event> held_;
  Event release_;
};

TEST(PoolGroupExecutorTest, EveryJobRunsOnceWithItsThreadsWorkspace) {
  constexpr uint32_t kCalls = 50, kJobs = 16;
  std::vector<std::atomic<int>> runs(kCalls * kJobs);
  Mutex mutex;
  std::map<std::thread::id, std::set<codec::Workspace*>> workspaces;
  {
    WorkerPool pool({.threads = 3});
    PoolGroupExecutor executor(&pool);
    for (uint32_t call = 0; call < kCalls; ++call) {  // the pool's threads call, all at the same time
      ASSERT_TRUE(pool.Submit(Priority::kWrite, [&, call](codec::Workspace& ws) {
        executor.Run(kJobs, &ws, [&](uint32_t i, codec::Workspace& own) {
          ++runs[call * kJobs + i];
          MutexLock lock(&mutex);
          workspaces[std::this_thread::get_id()].insert(&own);
        });
        for (uint32_t i = 0; i < kJobs; ++i) EXPECT_EQ(runs[call * kJobs + i], 1) << "when Run() returned";
      }));
    }
    pool.Shutdown();  // before the executor that its jobs call goes
  }
  for (const std::atomic<int>& n : runs) EXPECT_EQ(n, 1);
  for (const auto& [thread, of_thread] : workspaces) EXPECT_EQ(of_thread.size(), 1u);
}

TEST(PoolGroupExecutorTest, IdleThreadsHelp) {
  WorkerPool pool({.threads = 2});
  PoolGroupExecutor executor(&pool);
  Event entered[3];
  codec::Workspace ws;
  // Each waits for the others: only three threads come through.
  executor.Run(3, &ws, [&](uint32_t i, codec::Workspace&) {
    entered[i].Happen();
    for (Event& other : entered) other.Await();
  });
}

TEST(PoolGroupExecutorTest, TheCallerGoesAloneWhereThePoolIsBusy) {
  WorkerPool pool({.threads = 2});
  PoolGroupExecutor executor(&pool);
  const Hold hold(&pool);
  std::vector<std::thread::id> threads;
  codec::Workspace ws;
  executor.Run(5, &ws, [&](uint32_t i, codec::Workspace& own) {
    EXPECT_EQ(i, threads.size());
    EXPECT_EQ(&own, &ws);
    threads.push_back(std::this_thread::get_id());
  });
  EXPECT_EQ(threads, std::vector(5, std::this_thread::get_id()));
  EXPECT_EQ(pool.stats().queued_writes, 0u) << "nothing stands in the way of others";
  EXPECT_EQ(pool.stats().rejected, 0u);
}

TEST(PoolGroupExecutorTest, TheCallerGoesAloneWhereThePoolIsShutDown) {
  WorkerPool pool({.threads = 2});
  PoolGroupExecutor executor(&pool);
  pool.Shutdown();
  uint32_t runs = 0;
  codec::Workspace ws;
  executor.Run(5, &ws, [&](uint32_t i, codec::Workspace&) { EXPECT_EQ(i, runs++); });
  EXPECT_EQ(runs, 5u);
}

TEST(PoolGroupExecutorTest, AThreadThatBecomesIdleLaterHelps) {
  WorkerPool pool({.threads = 1});
  PoolGroupExecutor executor(&pool);
  auto hold = std::make_unique<Hold>(&pool);
  Event second_helped;
  codec::Workspace ws;
  executor.Run(3, &ws, [&](uint32_t i, codec::Workspace& own) {
    if (i == 0) {  // nobody was there to help
      hold.reset();
    } else if (&own == &ws) {
      second_helped.Await();
    } else {
      second_helped.Happen();
    }
  });
}

TEST(PoolGroupExecutorTest, AHelperLeavesForARead) {
  Event read;
  std::atomic<bool> has_read{false};
  WorkerPool pool({.threads = 1});
  PoolGroupExecutor executor(&pool);
  codec::Workspace ws;
  executor.Run(3, &ws, [&](uint32_t i, codec::Workspace& own) {
    if (i == 0) {
      read.Await();
    } else if (i == 1) {
      EXPECT_NE(&own, &ws) << "the caller is at the first";
      EXPECT_TRUE(pool.Submit(Priority::kRead, [&](codec::Workspace&) {
        has_read = true;
        read.Happen();
      }));
    } else {
      EXPECT_TRUE(has_read) << "the helper let the read wait";
    }
  });
}

// Jobs this short are over before a helper has woken up.
TEST(PoolGroupExecutorTest, AHelperThatComesLateTouchesNothing) {
  constexpr uint64_t kLate = 200;
  WorkerPool pool({.threads = 2});
  PoolGroupExecutor executor(&pool);
  struct Call {
    std::atomic<bool> over{false};
    std::atomic<int> runs{0};
    std::atomic<bool> helped[2] = {};
  };
  std::vector<std::unique_ptr<Call>> calls;
  const auto helpers_with_work = [&] {
    uint64_t n = 0;
    for (const auto& call : calls) n += call->helped[0] + call->helped[1];
    return n;
  };
  Mutex mutex;
  std::map<std::thread::id, int> numbers;
  codec::Workspace ws;
  while (pool.stats().done < helpers_with_work() + kLate) {
    for (int i = 0; i < 100; ++i) {
      Call& call = *calls.emplace_back(std::make_unique<Call>());
      // Gone with the call, as that of EncodeSegment is.
      auto job = [&, id = std::this_thread::get_id()](uint32_t, codec::Workspace&) {
        EXPECT_FALSE(call.over);
        ++call.runs;
        if (std::this_thread::get_id() == id) return;
        MutexLock lock(&mutex);
        call.helped[numbers.try_emplace(std::this_thread::get_id(), numbers.size()).first->second] = true;
      };
      auto gone = std::make_unique<decltype(job)>(std::move(job));
      executor.Run(3, &ws, *gone);
      call.over = true;
    }
  }
  pool.Shutdown();
  for (const auto& call : calls) EXPECT_EQ(call->runs, 3);
}

}  // namespace
}  // namespace kvcompd::server
