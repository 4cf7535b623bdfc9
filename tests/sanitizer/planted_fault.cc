// A program with one planted fault, named by its argument, for sanitizer_test.
//
//   planted_fault race      two threads write one variable without a lock        (thread sanitizer)
//   planted_fault guarded   the same under the house's Mutex and CondVar: clean
//   planted_fault overflow  reads one element behind a heap array                (address sanitizer)
//   planted_fault leak      forgets a heap block                                 (leak sanitizer)
//   planted_fault undefined adds past INT_MAX                                    (undefined behaviour
//   sanitizer) planted_fault none      clean
//
// Prints "done" and exits with 0 where nothing stops it.
#include <climits>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

#include "codec/base/mutex.h"

namespace kvcompd {
namespace {

void Race() {
  int shared = 0;
  std::thread other([&shared] { ++shared; });
  ++shared;  // not ordered with the other thread's, whichever comes first
  other.join();
  std::printf("%d\n", shared);
}

class Counter {
 public:
  void Add() {
    MutexLock lock(&mutex_);
    ++value_;
    changed_.SignalAll();
  }
  void WaitFor(int value) {
    MutexLock lock(&mutex_);
    while (value_ < value) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int value_ ABSL_GUARDED_BY(mutex_) = 0;
};

void Guarded() {
  constexpr int kEach = 1000;
  Counter counter;
  int written_before_the_last_add = 0;
  std::thread other([&] {
    for (int i = 0; i < kEach - 1; ++i) counter.Add();
    written_before_the_last_add = 7;  // published by the mutex alone
    counter.Add();
  });
  for (int i = 0; i < kEach; ++i) counter.Add();
  counter.WaitFor(2 * kEach);
  std::printf("%d\n", written_before_the_last_add);
  other.join();
}

void Overflow() {
  volatile size_t past_the_end = 16;
  auto bytes = std::make_unique<char[]>(16);
  std::printf("%d\n", bytes[past_the_end]);
}

// Not inlined, so that no register or stack slot of main still holds a pointer to what was forgotten.
[[gnu::noinline]] void Leak() {
  for (int i = 0; i < 32; ++i) {
    [[maybe_unused]] int* volatile forgotten = new int(i);
    forgotten = nullptr;
  }
}

void Undefined() {
  volatile int big = INT_MAX;
  volatile int sum = big + 1;
  std::printf("%d\n", sum);
}

bool Run(std::string_view fault) {
  if (fault == "race") return Race(), true;
  if (fault == "guarded") return Guarded(), true;
  if (fault == "overflow") return Overflow(), true;
  if (fault == "leak") return Leak(), true;
  if (fault == "undefined") return Undefined(), true;
  return fault == "none";
}

}  // namespace
}  // namespace kvcompd

int main(int argc, char** argv) {
  if (argc != 2 || !kvcompd::Run(argv[1])) {
    std::fprintf(stderr, "usage: planted_fault race|guarded|overflow|leak|undefined|none\n");
    return 2;
  }
  std::puts("done");
  return 0;
}
