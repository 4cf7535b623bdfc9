// Errors of benchmark cases that end the program with 1. Google Benchmark reports an error of a case and
// exits with 0, so that a test which runs the cases once could not fail.
//
// Called by the benchmarks' cases and mains, on one thread.
//
//   if (!decoded.ok()) return Fail(state, "decode failed");
//   return RunBenchmarks();
#ifndef KVCOMPD_TESTS_BENCH_FAIL_H_
#define KVCOMPD_TESTS_BENCH_FAIL_H_

#include "benchmark/benchmark.h"

namespace kvcompd::testing {

inline bool benchmark_failed = false;

inline void Fail(benchmark::State& state, const char* what) {
  benchmark_failed = true;
  state.SkipWithError(what);
}

// Returns what main() is to return.
inline int RunBenchmarks() {
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return benchmark_failed ? 1 : 0;
}

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_BENCH_FAIL_H_
