// kvcompctl's commands against a real daemon.

#include <stdlib.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/command_table.h"
#include "client/ctl/local_daemon.h"
#include "client/ctl/sample.h"
#include "client/ctl/table.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr char kStory[] = "tests/data/tiny1m.story1.kv.bf16.npy";
constexpr char kPrefixA[] = "tests/data/docs6m.prefix_a";
constexpr char kPrefixB[] = "tests/data/docs6m.prefix_b";
constexpr char kLossy[] = "--profile=kvcomp:rel_k=0.05,rel_v=0.1";

class CommandsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = LocalDaemon::Start({.binary = "server/kvcompd", .extra_args = {"--host-memory=128MiB"}});
    ASSERT_TRUE(started.ok()) << started.status();
    daemon_ = started->release();
  }
  static void TearDownTestSuite() {
    ASSERT_NE(daemon_, nullptr);
    EXPECT_TRUE(daemon_->Stop().ok());
    delete daemon_;
    daemon_ = nullptr;
  }
  void SetUp() override { ASSERT_NE(daemon_, nullptr); }

  // Every test has a tenant, and so a namespace, of its own.
  static std::string Tenant() {
    return absl::StrCat("--tenant=", ::testing::UnitTest::GetInstance()->current_test_info()->name());
  }
  int Run(std::vector<std::string> words) {
    words.push_back(absl::StrCat("--address=", daemon_->address()));
    out_.str("");
    err_.str("");
    return RunCommandLine(commands_, words, out_, err_);
  }
  Json RunJson(std::vector<std::string> words, int code = kExitOk) {
    words.push_back("--json");
    EXPECT_EQ(Run(words), code) << words[0] << ": " << err_.str();
    Json json = Json::parse(out_.str(), nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << out_.str();
    return json.is_object() ? json : Json::object();
  }

  static LocalDaemon* daemon_;
  const std::vector<Command> commands_ = AllCommands();
  std::ostringstream out_, err_;
};

LocalDaemon* CommandsTest::daemon_ = nullptr;

TEST_F(CommandsTest, PutGetVerify) {
  for (const std::string form : {"decoded", "encoded"}) {
    const std::string tenant = absl::StrCat(Tenant(), "-", form);
    Json json = RunJson({"put", kStory, tenant, kLossy, "--form=" + form});
    EXPECT_EQ(json["wanted"], 4);
    EXPECT_EQ(json["failed"], 0);
    EXPECT_EQ(json["raw_bytes"], 524288);
    EXPECT_LT(json["encoded_bytes"], json["raw_bytes"]);
    json = RunJson({"put", kStory, tenant, kLossy});
    EXPECT_EQ(json["wanted"], 0);
    EXPECT_EQ(json["already_stored"], 4);
    for (const std::string get_form : {"decoded", "encoded"}) {
      json = RunJson({"get", kStory, tenant, "--verify", "--form=" + get_form});
      EXPECT_EQ(json["failed"], 0);
      EXPECT_EQ(json["values"], 262144);
      EXPECT_EQ(json["violations"], 0);
      EXPECT_GT(json["max_error_over_r"], 0.5);
      EXPECT_LT(json["max_error_over_r"], 1.1);
    }
  }
}

TEST_F(CommandsTest, RawIsBitExactAndWritesTheSameFile) {
  ASSERT_EQ(Run({"put", kStory, Tenant()}), kExitOk) << err_.str();
  EXPECT_NE(out_.str().find("4 wanted, 0 already stored, 0 failed"), std::string::npos) << out_.str();
  const auto folder = TemporaryFolder::Create();
  const std::string copy = (*folder)->path() + "/copy.kv.bf16.npy";
  EXPECT_EQ(RunJson({"get", kStory, Tenant(), "--verify", "--out=" + copy})["violations"], 0);
  std::filesystem::copy_file("tests/data/tiny1m.story1.json", (*folder)->path() + "/copy.json");
  const auto original = LoadSample(kStory), back = LoadSample(copy);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(back->kv == original->kv);
}

TEST_F(CommandsTest, SharedPrefixIsMatchedAndNotSentTwice) {
  EXPECT_EQ(RunJson({"match", kPrefixB, Tenant(), kLossy})["matched_blocks"], 0);
  EXPECT_EQ(RunJson({"put", kPrefixA, Tenant(), kLossy})["wanted"], 4);
  const Json match = RunJson({"match", kPrefixB, Tenant()});
  EXPECT_EQ(match["matched_blocks"], 2);
  EXPECT_EQ(match["matched_tokens"], 128);
  EXPECT_EQ(match["blocks"][0]["profile"], "kvcomp:rel_k=0.05,rel_v=0.1");
  EXPECT_EQ(RunJson({"put", kPrefixB, Tenant()})["wanted"], 2);
  EXPECT_EQ(RunJson({"match", kPrefixB, Tenant()})["matched_blocks"], 4);
  EXPECT_EQ(RunJson({"match", kPrefixB, Tenant(), "--tokens=1,2,3"})["keys"], 0);
  EXPECT_EQ(RunJson({"match", kPrefixB, Tenant(), "--salt=other"})["matched_blocks"], 0);
}

// --profile counts when a namespace is made; what it cannot change it must not seem to.
TEST_F(CommandsTest, AnotherProfileIsRefused) {
  ASSERT_EQ(Run({"put", kStory, Tenant()}), kExitOk) << err_.str();
  EXPECT_EQ(Run({"put", kStory, Tenant(), kLossy}), kExitFailed);
  EXPECT_NE(err_.str().find("set-profile"), std::string::npos) << err_.str();
  EXPECT_EQ(Run({"put", kStory, Tenant(), "--profile=raw"}), kExitOk) << err_.str();
  EXPECT_EQ(Run({"put", kStory, Tenant(), "--profile=nonsense"}), kExitUsage);
}

TEST_F(CommandsTest, ExistsPinRemove) {
  EXPECT_EQ(RunJson({"exists", kStory, Tenant()})["exists"], 0);
  EXPECT_EQ(RunJson({"get", kStory, Tenant()}, kExitFailed)["failed"], 4);
  ASSERT_EQ(Run({"put", kStory, Tenant()}), kExitOk) << err_.str();
  const Json exists = RunJson({"exists", kStory, Tenant()});
  EXPECT_EQ(exists["exists"], 4);
  EXPECT_EQ(RunJson({"pin", kStory, Tenant(), "--ttl=1h"})["pinned"], 4);
  EXPECT_EQ(RunJson({"unpin", kStory, Tenant()})["unpinned"], 4);
  EXPECT_EQ(RunJson({"unpin", kStory, Tenant()})["unpinned"], 0);
  const std::string key = exists["keys"][3]["key"];
  EXPECT_EQ(RunJson({"rm", kStory, Tenant(), "--key=" + key})["deleted"], 1);
  EXPECT_EQ(RunJson({"exists", kStory, Tenant()})["exists"], 3);
  EXPECT_EQ(Run({"exists", kStory, Tenant(), "--key=zz"}), kExitUsage);
}

TEST_F(CommandsTest, AppendStoresASequence) {
  const Json json = RunJson({"append", kPrefixA, Tenant(), kLossy, "--tokens=7"});
  EXPECT_EQ(json["tokens"], 256);
  EXPECT_EQ(json["calls"], 37);
  EXPECT_EQ(json["committed"], 4);
  EXPECT_EQ(json["failed"], 0);
  // The same keys as a put's.
  EXPECT_EQ(RunJson({"get", kPrefixA, Tenant(), "--verify"})["violations"], 0);
}

TEST_F(CommandsTest, StatNamespacesProfileFlushTrim) {
  ASSERT_EQ(Run({"put", kStory, Tenant()}), kExitOk) << err_.str();
  const Json list = RunJson({"ns", Tenant()});
  ASSERT_EQ(list["namespaces"].size(), 1u);
  const Json& ns = list["namespaces"][0];
  EXPECT_EQ(ns["model_id"], "tiny1m");
  EXPECT_EQ(ns["blocks"], 4);
  EXPECT_EQ(ns["profile"], "raw");
  const std::string id = ns["id"];
  EXPECT_EQ(Run({"ns", "set-profile", id}), kExitUsage);
  EXPECT_EQ(RunJson({"ns", "set-profile", id, "kvcomp:rel_k=0.1"})["profile"], "kvcomp:rel_k=0.1,rel_v=0.1");
  EXPECT_EQ(Run({"ns", "set-profile", id, "nonsense"}), kExitFailed);
  const Json stat = RunJson({"stat"});
  EXPECT_GE(stat["tiers"][0]["blocks"], 4);
  EXPECT_TRUE(stat["counters"].is_array());
  EXPECT_EQ(Run({"stat"}), kExitOk);
  EXPECT_NE(out_.str().find("HOST"), std::string::npos);
  EXPECT_EQ(RunJson({"ns", "flush", id})["blocks"], 4);
  EXPECT_EQ(RunJson({"exists", kStory, Tenant()})["exists"], 0);
  EXPECT_EQ(Run({"trim"}), kExitUsage);
}

TEST_F(CommandsTest, WatchShowsWhatIsStored) {
  ASSERT_EQ(Run({"put", kStory, Tenant()}), kExitOk) << err_.str();
  ASSERT_EQ(Run({"watch", kStory, Tenant(), "--snapshot", "--count=5", "--json"}), kExitOk) << err_.str();
  std::istringstream lines(out_.str());
  std::string line;
  std::vector<std::string> kinds;
  while (std::getline(lines, line)) {
    const Json json = Json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object()) << line;
    kinds.push_back(json["kind"]);
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"STORED", "STORED", "STORED", "STORED", "SNAPSHOT_END"}));
}

TEST_F(CommandsTest, ContainersCanBeInspected) {
  ASSERT_EQ(Run({"put", kStory, Tenant(), kLossy}), kExitOk) << err_.str();
  const auto folder = TemporaryFolder::Create();
  const Json json = RunJson({"get", kStory, Tenant(), "--container=" + (*folder)->path() + "/blocks"});
  ASSERT_EQ(json["files"].size(), 4u);
  for (const Json& file : json["files"]) {
    out_.str("");
    const std::vector<std::string> words = {"inspect", file, "--json"};
    EXPECT_EQ(RunCommandLine(commands_, words, out_, err_), kExitOk) << err_.str();
    const Json report = Json::parse(out_.str(), nullptr, false);
    EXPECT_EQ(report["ok"], true);
    EXPECT_EQ(report["segments"].size(), 8u);
    for (const Json& segment : report["segments"]) EXPECT_EQ(segment["decoded"], true);
  }
}

TEST_F(CommandsTest, ACodebookSetCanBeInspected) {
  codec::CodebookTrainer trainer(Sha256("model"), *Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1"));
  const std::vector<uint32_t> counts(256, 1);
  trainer.Add(2, Tensor::kK, counts);
  trainer.Add(2, Tensor::kV, counts);
  const auto set = trainer.Build();
  const auto folder = TemporaryFolder::Create();
  const std::string path = (*folder)->path() + "/set.kvcs";
  ASSERT_TRUE(WriteFileBytes(path, AsBytes(set->canonical_bytes())).ok());
  const auto inspect = [this](std::vector<std::string> words) {
    out_.str("");
    return RunCommandLine(commands_, words, out_, err_);
  };
  EXPECT_EQ(inspect({"inspect", path, "--json"}), kExitOk) << err_.str();
  const Json report = Json::parse(out_.str(), nullptr, false);
  EXPECT_EQ(report["id"], set->id().Hex());
  ASSERT_EQ(report["books"].size(), 4u);
  EXPECT_EQ(report["books"][0]["layer"], 2);
  EXPECT_TRUE(report["books"][3]["layer"].is_null());
  EXPECT_EQ(inspect({"inspect", path}), kExitOk);
  EXPECT_NE(out_.str().find("others"), std::string::npos) << out_.str();
  EXPECT_EQ(inspect({"inspect", path, "--tiles"}), kExitUsage);
  ASSERT_TRUE(WriteFileBytes(path, AsBytes(set->canonical_bytes().substr(0, 40))).ok());
  EXPECT_EQ(inspect({"inspect", path}), kExitFailed);
}

TEST_F(CommandsTest, AFailureNamesTheFirstBlocksReason) {
  EXPECT_EQ(Run({"get", kStory, Tenant()}), kExitFailed);
  EXPECT_NE(err_.str().find("NOT_FOUND: 4 of 4 blocks were not read; the first: NOT_FOUND NOT_STORED"),
            std::string::npos)
      << err_.str();
  const auto folder = TemporaryFolder::Create();
  const Json json = RunJson({"get", kStory, Tenant(), "--container=" + (*folder)->path()}, kExitFailed);
  EXPECT_EQ(json["blocks"].size(), 4u);
  EXPECT_EQ(json["blocks"][3]["ok"], false);
  EXPECT_NE(err_.str().find("NOT_STORED"), std::string::npos) << err_.str();
}

TEST_F(CommandsTest, WhatWouldBeIgnoredIsWrongUsage) {
  const std::vector<std::vector<std::string>> wrong = {
      {"get", kStory, "--container=x", "--verify"},
      {"get", kStory, "--container=x", "--out=y"},
      {"get", kStory, "--container=x", "--form=encoded"},
      {"put", kStory, kPrefixA},
      {"put", kStory, "--codebooks=x"},
      {"put", "a.kvcb"},
      {"put", "a.kvcb", kStory, "--name=n"},
      {"put", "a.kvcb", "--name=n", "--form=encoded"},
      {"put", kStory, "--block-tokens=17"},
      {"put", kStory, "--deadline=25h"},
      {"put", kStory, "--salt=" + std::string(257, 's')},
      {"rm", "--name=n"},
      {"rm", "--key=0011"},
      {"match", "--name=n"},
      {"exists", "--name=n", "--key=00112233445566778899aabbccddeeff", "--block-tokens=64"},
      {"watch"},
      {"stat", "--tenant=t"},
      {"drain", "--salt=s"},
      {"ns", "--profile=raw"},
      {"watch", kStory, "--progress"},
  };
  for (const auto& words : wrong) {
    EXPECT_EQ(Run(words), kExitUsage) << words[0] << " " << words.back() << ": " << err_.str();
  }
}

TEST_F(CommandsTest, WhatNeedsADaemonThatIsThereSaysSo) {
  unsetenv("KVCOMPD_ADDRESS");
  const std::string key = "--key=00112233445566778899aabbccddeeff";
  const std::vector<std::vector<std::string>> commands = {{"stat"},
                                                          {"ns"},
                                                          {"ns", "flush", "00"},
                                                          {"ns", "set-profile", "00", "raw"},
                                                          {"drain"},
                                                          {"trim", "--target=1MiB"},
                                                          {"watch", kStory},
                                                          {"rm", kStory},
                                                          {"pin", kStory},
                                                          {"unpin", kStory},
                                                          {"rm", "--name=n", key},
                                                          {"exists", "--name=n", key}};
  for (const auto& words : commands) {
    std::ostringstream out, err;
    EXPECT_EQ(RunCommandLine(commands_, words, out, err), kExitUsage) << words[0];
    EXPECT_NE(err.str().find("--address"), std::string::npos) << err.str();
  }
}

TEST_F(CommandsTest, EpochsAreText) {
  const Json stat = RunJson({"stat"});
  EXPECT_EQ(stat["epoch"].get<std::string>().size(), 16u);
}

TEST_F(CommandsTest, StartsADaemonOfItsOwn) {
  setenv("KVCOMPD_BINARY", std::filesystem::absolute("server/kvcompd").c_str(), 1);
  unsetenv("KVCOMPD_ADDRESS");
  const std::vector<std::string> words = {"put", kStory, "--json"};
  EXPECT_EQ(RunCommandLine(commands_, words, out_, err_), kExitOk) << err_.str();
  EXPECT_EQ(Json::parse(out_.str(), nullptr, false)["wanted"], 4);
  EXPECT_NE(err_.str().find("a daemon of its own"), std::string::npos) << err_.str();
}

TEST_F(CommandsTest, AnAddressThatNobodyListensAtFailsInTime) {
  const std::vector<std::string> words = {"stat", "--address=127.0.0.1:1", "--deadline=300ms"};
  EXPECT_EQ(RunCommandLine(commands_, words, out_, err_), kExitFailed);
  EXPECT_NE(err_.str().find("UNAVAILABLE"), std::string::npos) << err_.str();
}

}  // namespace
}  // namespace kvcompd::client
