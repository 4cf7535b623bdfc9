// `kvcompctl demo` as a user runs it: three programs, real KV, every value and byte checked.

#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/child_process.h"
#include "client/ctl/command.h"
#include "client/ctl/local_daemon.h"
#include "client/ctl/table.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(240);

std::string ReadText(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class DemoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("KVCOMPD_BINARY", std::filesystem::absolute("server/kvcompd").c_str(), 1);
    unsetenv("KVCOMPD_ADDRESS");
    auto folder = TemporaryFolder::Create();
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = *std::move(folder);
  }
  int Demo(std::vector<std::string> flags) {
    ChildProcess::Options options;
    options.argv = {std::filesystem::absolute("client/kvcompctl").string(), "demo"};
    options.argv.insert(options.argv.end(), flags.begin(), flags.end());
    options.stdout_path = folder_->path() + "/out";
    options.stderr_path = folder_->path() + "/err";
    auto child = ChildProcess::Start(options);
    EXPECT_TRUE(child.ok()) << child.status();
    const auto code = (*child)->Wait(kTimeout);
    EXPECT_TRUE(code.ok()) << code.status();
    return code.value_or(-1);
  }
  std::string Out() const { return ReadText(folder_->path() + "/out"); }
  std::string Err() const { return ReadText(folder_->path() + "/err"); }

  std::unique_ptr<TemporaryFolder> folder_;
};

TEST_F(DemoTest, EveryCheckPassesAndTheNumbersMakeSense) {
  ASSERT_EQ(Demo({"--data=tests/data", "--repeats=5", "--json"}), kExitOk) << Err() << Out();
  const Json json = Json::parse(Out(), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << Out();
  EXPECT_EQ(json["ok"], true);
  EXPECT_TRUE(json["failures"].empty());
  std::map<std::string, int> rows;
  for (const Json& row : json["rows"]) {
    const std::string model = row["model"], books = row["codebooks"];
    const bool raw = row["profile"] == "raw";
    ++rows[absl::StrCat(model, " ", books)];
    const uint64_t blocks = model == "docs6m" ? 6 : 4;  // two of its eight are shared
    EXPECT_EQ(row["blocks"], blocks);
    EXPECT_EQ(row["reused_blocks"], model == "docs6m" ? 2 : 0);
    EXPECT_EQ(row["values_checked"], model == "docs6m" ? 2 * 786432 : 262144);
    EXPECT_EQ(row["violations"], 0);
    EXPECT_EQ(row["get_decoded"]["calls"], (model == "docs6m" ? 2 : 1) * 5);
    const double codec = row["ratio_codec"], effective = row["ratio_effective"],
                 error = row["max_error_over_r"];
    EXPECT_LE(effective, codec);
    if (raw) {
      EXPECT_DOUBLE_EQ(codec, 1.0);
      EXPECT_EQ(row["values_changed"], 0);
      EXPECT_EQ(error, 0);
    } else {
      EXPECT_GT(effective, 2.5);
      EXPECT_GT(error, 0.9);  // a bound that is not used up would be one of another profile
      EXPECT_LT(error, 1.3);
      EXPECT_LE(row["max_error_over_bound"], 1.0);
    }
    ASSERT_EQ(row.contains("attention_relative_l2"), model == "tiny1m");
    if (model == "tiny1m") {
      const double attention = row["attention_relative_l2"];
      EXPECT_EQ(attention == 0, raw) << attention;
      EXPECT_LT(attention, 0.4);
    }
  }
  EXPECT_EQ(rows["tiny1m -"], 1);
  EXPECT_EQ(rows["docs6m -"], 1);
  EXPECT_EQ(rows["tiny1m built-in"], 1);
  EXPECT_EQ(rows["tiny1m trained"], 1);
  EXPECT_EQ(rows["docs6m trained"], 1);
}

TEST_F(DemoTest, PrintsOneTable) {
  ASSERT_EQ(Demo({"--data=tests/data", "--repeats=1", "--put-repeats=0"}), kExitOk) << Err() << Out();
  for (const char* text : {"|x-y|/r", "attention", "docs6m", "tiny1m", "all checks passed"}) {
    EXPECT_NE(Out().find(text), std::string::npos) << text << "\n" << Out();
  }
}

TEST_F(DemoTest, FailsWithoutSamplesOrWithAWrongProfile) {
  EXPECT_EQ(Demo({absl::StrCat("--data=", folder_->path())}), kExitFailed);
  EXPECT_EQ(Demo({"--data=tests/data", "--profile=kvcomp:rel_k=7"}), kExitUsage);
}

// Values that are not those of the sample are found: here a copy of the sample is changed after the put.
TEST_F(DemoTest, AWrongValueFailsTheDemo) {
  const std::string data = folder_->path() + "/data";
  std::filesystem::create_directory(data);
  for (const char* name : {"tiny1m.story1.json", "tiny1m.story1.kv.bf16.npy"}) {
    std::filesystem::copy_file(absl::StrCat("tests/data/", name), absl::StrCat(data, "/", name));
  }
  std::filesystem::permissions(data + "/tiny1m.story1.kv.bf16.npy", std::filesystem::perms::owner_all);
  const auto daemon = LocalDaemon::Start({});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const std::string cases = Json({{{"stems", {data + "/tiny1m.story1"}},
                                   {"tenant", "t"},
                                   {"profile", "kvcomp:rel_k=0.05,rel_v=0.1"},
                                   {"salt", ""}}})
                                .dump();
  auto run = [&](const std::string& command) {
    auto child =
        ChildProcess::Start({.argv = {std::filesystem::absolute("client/kvcompctl").string(), command,
                                      "--address=" + (*daemon)->address(), "--cases=" + cases, "--repeats=1"},
                             .stdout_path = folder_->path() + "/out"});
    EXPECT_EQ(*(*child)->Wait(kTimeout), kExitOk);
    const Json report = Json::parse(Out(), nullptr, false);
    EXPECT_TRUE(report.is_object()) << Out();
    return report;
  };
  EXPECT_TRUE(run("demo-prefill")["failures"].empty());
  EXPECT_TRUE(run("demo-decode")["failures"].empty());
  {
    std::fstream file(data + "/tiny1m.story1.kv.bf16.npy", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(128 + 2 * 5000 + 1);
    file.put(0x42);  // some K becomes 32 or more
  }
  const Json report = run("demo-decode");
  ASSERT_EQ(report["failures"].size(), 1u) << Out();
  EXPECT_NE(report["failures"][0].get<std::string>().find("miss the error bound"), std::string::npos)
      << Out();
}

}  // namespace
}  // namespace kvcompd::client
