#include "server/service/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace kvcompd::server {
namespace {

using Priority = WorkerPool::Priority;

// Holds a worker until it is opened.
class Gate {
 public:
  void Open() {
    MutexLock lock(&mutex_);
    open_ = true;
    changed_.SignalAll();
  }
  void Pass() {
    MutexLock lock(&mutex_);
    entered_ = true;
    changed_.SignalAll();
    while (!open_) changed_.Wait(&mutex_);
  }
  void WaitUntilEntered() {
    MutexLock lock(&mutex_);
    while (!entered_) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  bool entered_ ABSL_GUARDED_BY(mutex_) = false;
};

bool Submit(WorkerPool& pool, Priority priority, WorkerPool::Job job) {
  return pool.TrySubmit(priority, std::move(job));
}

// One thread, held at a gate while the queues are filled.
class HeldPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(Submit(pool_, Priority::kRead, [this](codec::Workspace&) { gate_.Pass(); }));
    gate_.WaitUntilEntered();
  }
  void TearDown() override { gate_.Open(); }
  bool Add(Priority priority, char mark) {
    return Submit(pool_, priority, [this, mark](codec::Workspace&) { order_ += mark; });
  }
  std::string Run() {
    gate_.Open();
    pool_.Shutdown();
    return order_;
  }

  Gate gate_;
  std::string order_;  // written by the one worker, read after Shutdown
  WorkerPool pool_{{.threads = 1, .max_queued = 16}};
};

TEST_F(HeldPoolTest, ReadsGoFirst) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Add(Priority::kWrite, 'w'));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Add(Priority::kRead, 'r'));
  EXPECT_EQ(Run(), "rrrwww");
}

TEST_F(HeldPoolTest, OneOfEightIsAWrite) {
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Add(Priority::kWrite, 'w'));
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(Add(Priority::kRead, 'r'));
  EXPECT_EQ(Run(), "rrrrrrrwrrrrrrrwrr");
}

TEST_F(HeldPoolTest, EachQueueIsBounded) {
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(Add(Priority::kWrite, 'w'));
  EXPECT_FALSE(Add(Priority::kWrite, 'w'));
  EXPECT_TRUE(Add(Priority::kRead, 'r'));
  // The refused job is the caller's still.
  auto payload = std::make_shared<int>(1);
  WorkerPool::Job job = [payload](codec::Workspace&) {};
  EXPECT_FALSE(pool_.TrySubmit(Priority::kWrite, std::move(job)));
  EXPECT_EQ(payload.use_count(), 2);
  const WorkerPool::Stats stats = pool_.stats();
  EXPECT_EQ(stats.queued_writes, 16u);
  EXPECT_EQ(stats.queued_reads, 1u);
  EXPECT_EQ(stats.running, 1u);
  EXPECT_EQ(stats.rejected, 2u);
  EXPECT_EQ(Run().size(), 17u);
}

TEST_F(HeldPoolTest, ShutdownRunsWhatIsQueuedAndTakesNoMore) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Add(Priority::kWrite, 'w'));
  EXPECT_EQ(Run(), "wwwww");
  EXPECT_FALSE(Add(Priority::kRead, 'r'));
  pool_.Shutdown();  // again
  EXPECT_EQ(pool_.stats().done, 6u);
  EXPECT_EQ(pool_.stats().running, 0u);
}

TEST_F(HeldPoolTest, HelpIsTakenByIdleThreadsOnly) {
  auto payload = std::make_shared<int>(1);
  WorkerPool::Job job = [payload](codec::Workspace&) {};
  EXPECT_FALSE(pool_.SubmitWhereIdle(Priority::kWrite, std::move(job)));
  EXPECT_EQ(payload.use_count(), 2) << "the caller's still";
  EXPECT_EQ(pool_.stats().queued_writes, 0u);
  EXPECT_EQ(pool_.stats().rejected, 0u);
  EXPECT_EQ(Run(), "");
  // A refusal leaves the job where it was.
  // NOLINTNEXTLINE(bugprone-use-after-move)
  EXPECT_FALSE(pool_.SubmitWhereIdle(Priority::kWrite, std::move(job))) << "shut down";
}

TEST_F(HeldPoolTest, ReadsThatWaitAreTold) {
  EXPECT_FALSE(pool_.ReadsWait()) << "one is running";
  ASSERT_TRUE(Add(Priority::kWrite, 'w'));
  EXPECT_FALSE(pool_.ReadsWait());
  ASSERT_TRUE(Add(Priority::kRead, 'r'));
  EXPECT_TRUE(pool_.ReadsWait());
  EXPECT_EQ(Run(), "rw");
  EXPECT_FALSE(pool_.ReadsWait());
}

TEST(WorkerPoolTest, AnIdleThreadTakesHelp) {
  WorkerPool pool({.threads = 2});
  Gate busy, helped;
  ASSERT_TRUE(Submit(pool, Priority::kRead, [&](codec::Workspace&) { busy.Pass(); }));
  busy.WaitUntilEntered();
  ASSERT_TRUE(pool.SubmitWhereIdle(Priority::kWrite, [&](codec::Workspace&) { helped.Pass(); }));
  helped.WaitUntilEntered();
  EXPECT_FALSE(pool.SubmitWhereIdle(Priority::kRead, [](codec::Workspace&) {})) << "no third thread";
  helped.Open();
  busy.Open();
}

TEST(WorkerPoolTest, EveryThreadHasAWorkspaceOfItsOwn) {
  Mutex mutex;
  std::set<std::pair<std::thread::id, codec::Workspace*>> seen;
  std::set<codec::Workspace*> workspaces;
  std::set<std::thread::id> threads;
  WorkerPool pool({.threads = 3});
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Submit(pool, Priority::kRead, [&](codec::Workspace& workspace) {
      EXPECT_EQ(workspace.Get(1000).size(), 1000u);
      MutexLock lock(&mutex);
      seen.insert({std::this_thread::get_id(), &workspace});
      workspaces.insert(&workspace);
      threads.insert(std::this_thread::get_id());
    }));
  }
  pool.Shutdown();
  EXPECT_EQ(seen.size(), threads.size());
  EXPECT_EQ(seen.size(), workspaces.size());
}

TEST(WorkerPoolTest, ManySubmittersLoseNothing) {
  std::atomic<int> run{0};
  std::atomic<int> accepted{0};
  WorkerPool pool({.threads = 2, .max_queued = 8});
  std::vector<std::thread> submitters;
  submitters.reserve(3);
  for (int t = 0; t < 3; ++t) {
    submitters.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const Priority priority = (i + t) % 2 == 0 ? Priority::kRead : Priority::kWrite;
        if (Submit(pool, priority, [&run](codec::Workspace&) { ++run; })) ++accepted;
      }
    });
  }
  for (std::thread& thread : submitters) thread.join();
  pool.Shutdown();
  EXPECT_EQ(run, accepted);
  EXPECT_EQ(pool.stats().done, static_cast<uint64_t>(accepted));
  EXPECT_EQ(pool.stats().rejected, 6000u - static_cast<uint64_t>(accepted));
}

TEST(WorkerPoolTest, AJobMaySubmitAnother) {
  std::atomic<int> run{0};
  WorkerPool pool({.threads = 1});
  Gate second;
  ASSERT_TRUE(Submit(pool, Priority::kRead, [&](codec::Workspace&) {
    ++run;
    EXPECT_TRUE(Submit(pool, Priority::kRead, [&](codec::Workspace&) {
      ++run;
      second.Open();
    }));
  }));
  second.Pass();  // until the second has run
  pool.Shutdown();
  EXPECT_EQ(run, 2);
}

TEST(WorkerPoolTest, OptionsAreChecked) {
  EXPECT_TRUE(WorkerPool::Options().Validate().ok());
  EXPECT_FALSE((WorkerPool::Options{.threads = 5000}).Validate().ok());
  EXPECT_FALSE((WorkerPool::Options{.max_queued = 0}).Validate().ok());
}

}  // namespace
}  // namespace kvcompd::server
