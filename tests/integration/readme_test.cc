// What the README shows is true: its example runs, and its table of options is the daemon's.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/ctl/child_process.h"
#include "client/ctl/local_daemon.h"
#include "client/npy.h"
#include "codec/base/types.h"

namespace kvcompd::client {
namespace {

constexpr char kDaemon[] = "server/kvcompd";

std::string ReadText(const std::string& path) {
  const auto bytes = ReadFileBytes(path, 1 << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? std::string(AsChars(*bytes)) : "";
}

// What a program writes to stdout.
std::string OutputOf(std::vector<std::string> argv) {
  const auto folder = TemporaryFolder::Create();
  EXPECT_TRUE(folder.ok()) << folder.status();
  const std::string path = (*folder)->path() + "/out";
  auto child = ChildProcess::Start({.argv = std::move(argv), .stdout_path = path});
  EXPECT_TRUE(child.ok()) << child.status();
  const auto code = (*child)->Wait(absl::Seconds(60));
  EXPECT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(code.value_or(-1), 0);
  return ReadText(path);
}

// Lines of the text that are rows of the options' table.
std::vector<std::string> OptionRows(const std::string& text) {
  std::vector<std::string> rows;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.substr(0, 3) == "| `" && line.find("| `KVCOMPD_") != absl::string_view::npos)
      rows.emplace_back(line);
  }
  return rows;
}

TEST(Readme, TheOptionsAreTheDaemons) {
  const std::vector<std::string> want = OptionRows(OutputOf({kDaemon, "--print-config-table"}));
  const std::vector<std::string> got = OptionRows(ReadText("README.md"));
  EXPECT_GT(want.size(), 20u);
  EXPECT_EQ(got, want) << "put the output of `kvcompd --print-config-table` into README.md";
}

TEST(Readme, TheExampleRuns) {
  auto daemon = LocalDaemon::Start({.binary = kDaemon});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const std::string out = OutputOf({"client/examples/hello_kv", (*daemon)->address()});
  for (const char* line : {"layer 0 is there\n", "layer 3 is there\n", "stored "}) {
    EXPECT_NE(out.find(line), std::string::npos) << out;
  }
  EXPECT_TRUE((*daemon)->Stop().ok());
}

}  // namespace
}  // namespace kvcompd::client
