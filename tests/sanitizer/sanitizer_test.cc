// Holds the sanitizer configurations to their word: each must report a planted fault and be silent about the
// same code done right. KVCOMPD_EXPECT_ASAN and KVCOMPD_EXPECT_TSAN come from --config=asan and --config=tsan
// (BUILD), not from the compiler, so a configuration that lost its flags fails here.
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "gtest/gtest.h"

namespace kvcompd {
namespace {

struct Outcome {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};

Outcome RunPlanted(const std::string& fault) {
  Outcome outcome;
  FILE* const pipe = popen(("tests/sanitizer/planted_fault " + fault + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.output.append(buffer, n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

void ExpectClean(const std::string& fault) {
  const Outcome outcome = RunPlanted(fault);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(outcome.output.find("Sanitizer"), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("done"), std::string::npos) << outcome.output;
}

[[maybe_unused]] void ExpectReport(const std::string& fault, const std::string& report) {
  const Outcome outcome = RunPlanted(fault);
  EXPECT_NE(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find(report), std::string::npos) << outcome.output;
}

TEST(SanitizerTest, CleanProgramIsClean) { ExpectClean("none"); }

TEST(SanitizerTest, MutexAndCondVarAreSeen) { ExpectClean("guarded"); }

#ifdef KVCOMPD_EXPECT_TSAN
TEST(SanitizerTest, FindsRace) { ExpectReport("race", "ThreadSanitizer: data race"); }
#endif

#ifdef KVCOMPD_EXPECT_ASAN
TEST(SanitizerTest, FindsHeapOverflow) { ExpectReport("overflow", "AddressSanitizer: heap-buffer-overflow"); }

TEST(SanitizerTest, FindsLeak) { ExpectReport("leak", "LeakSanitizer: detected memory leaks"); }

TEST(SanitizerTest, FindsUndefinedBehaviour) {
  ExpectReport("undefined", "runtime error: signed integer overflow");
}
#endif

}  // namespace
}  // namespace kvcompd
