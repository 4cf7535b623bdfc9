#include "client/ctl/child_process.h"

#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

std::unique_ptr<ChildProcess> Shell(const std::string& script, const std::string& stdout_path = "") {
  auto child = ChildProcess::Start({.argv = {"/bin/sh", "-c", script}, .stdout_path = stdout_path});
  EXPECT_TRUE(child.ok()) << child.status();
  return child.ok() ? *std::move(child) : nullptr;
}

TEST(ChildProcessTest, GivesExitCodeAndOutput) {
  const auto folder = TemporaryFolder::Create();
  ASSERT_TRUE(folder.ok());
  const std::string path = (*folder)->path() + "/out";
  const auto child = Shell("echo hello; exit 7", path);
  EXPECT_EQ(*child->Wait(kLong), 7);
  EXPECT_EQ(*child->Wait(kLong), 7);  // again
  EXPECT_FALSE(child->Running());
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), "hello\n");
}

TEST(ChildProcessTest, WaitsNoLongerThanAskedAndSignals) {
  const auto child = Shell("exec sleep 1000");
  EXPECT_EQ(child->Wait(absl::ZeroDuration()).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(child->Running());
  EXPECT_TRUE(child->Signal(SIGTERM).ok());
  EXPECT_EQ(*child->Wait(kLong), 128 + SIGTERM);
  EXPECT_EQ(child->Signal(SIGTERM).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ChildProcessTest, DestructorKills) {
  auto child = Shell("trap '' TERM; exec sleep 1000");
  const pid_t pid = child->pid();
  child.reset();
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcessTest, SaysWhatCannotBeStarted) {
  const auto child = ChildProcess::Start({.argv = {"/no/such/program"}});
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(*(*child)->Wait(kLong), 127);
  EXPECT_EQ(ChildProcess::Start({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ChildProcess::Start({.argv = {"/bin/true"}, .stdout_path = "/no/such/folder/x"}).status().code(),
            absl::StatusCode::kInternal);
}

TEST(TemporaryFolderTest, GoesWithItsContents) {
  std::string path;
  {
    const auto folder = TemporaryFolder::Create();
    ASSERT_TRUE(folder.ok());
    path = (*folder)->path();
    std::ofstream(path + "/file") << "x";
    struct stat state;
    EXPECT_EQ(stat(path.c_str(), &state), 0);
  }
  struct stat state;
  EXPECT_EQ(stat(path.c_str(), &state), -1);
}

}  // namespace
}  // namespace kvcompd::client
