// kvcompctl's commands about a namespace by its name, without a sample. The daemon is the client tests' own.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/ctl/child_process.h"
#include "client/ctl/command_table.h"
#include "client/ctl/sample.h"
#include "client/ctl/table.h"
#include "codec/base/chain_hash.h"
#include "gtest/gtest.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

class NamedCommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ClientOptions options = daemon_.Options();
    options.name = "nightly";
    client_ = *Client::Connect(options);
    ns_ = *client_->OpenNamespace(model_);
    KvMemory source(model_, PageLayout::kNhd, 64, 2);
    source.Fill(1);
    std::vector<PutBlock> blocks;
    for (uint32_t i = 0; i < 2; ++i)
      blocks.push_back({.key = keys_[i], .tokens = 64, .source = source.Place(i)});
    ASSERT_TRUE(ns_->PutBlocks(blocks, {.form = Form::kEncoded, .profile = "raw"}).ok());
  }
  int Run(std::vector<std::string> words) {
    words.push_back("--address=" + daemon_.address());
    words.push_back("--json");
    out_.str("");
    err_.str("");
    return RunCommandLine(commands_, words, out_, err_);
  }
  Json RunJson(std::vector<std::string> words) {
    words.push_back("--name=nightly");
    EXPECT_EQ(Run(words), kExitOk) << words[0] << ": " << err_.str();
    return Json::parse(out_.str(), nullptr, /*allow_exceptions=*/false);
  }
  std::string KeyFlag(int i) const { return "--key=" + keys_[i].Hex(); }

  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  const std::vector<uint32_t> ids_ = std::vector<uint32_t>(3 * 64, 7);
  const std::vector<BlockKey> keys_ = ChainKeys(ids_, 64);
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
  const std::vector<Command> commands_ = AllCommands();
  std::ostringstream out_, err_;
};

TEST_F(NamedCommandsTest, KeysAndTokens) {
  EXPECT_EQ(RunJson({"exists", KeyFlag(0), KeyFlag(2)})["exists"], 1);
  std::string tokens = "--tokens=7";
  for (int i = 1; i < 3 * 64; ++i) tokens += ",7";
  EXPECT_EQ(RunJson({"match", tokens})["matched_blocks"], 2);
  EXPECT_EQ(RunJson({"pin", KeyFlag(0)})["pinned"], 1);
  EXPECT_EQ(RunJson({"unpin", KeyFlag(0)})["unpinned"], 1);
  EXPECT_EQ(RunJson({"rm", KeyFlag(0)})["deleted"], 1);
  EXPECT_EQ(RunJson({"exists", KeyFlag(0)})["exists"], 0);
  EXPECT_EQ(Run({"exists", KeyFlag(0), "--name=other"}), kExitFailed);
  EXPECT_NE(err_.str().find("NOT_FOUND"), std::string::npos) << err_.str();
}

TEST_F(NamedCommandsTest, ContainersGoIntoANamespaceByItsName) {
  auto got = ns_->GetContainers(std::vector<BlockKey>{keys_[0]}, {});
  ASSERT_TRUE(got.ok() && (*got)[0].status.ok()) << got.status();
  const auto folder = TemporaryFolder::Create();
  const std::string path = (*folder)->path() + "/block.kvcb";
  ASSERT_TRUE(WriteFileBytes(path, AsBytes((*got)[0].containers[0])).ok());
  EXPECT_EQ(RunJson({"put", path})["already_stored"], 1);
  ASSERT_TRUE(ns_->Delete(std::vector<BlockKey>{keys_[0]}).ok());
  const Json put = RunJson({"put", path});
  EXPECT_EQ(put["wanted"], 1);
  EXPECT_EQ(put["failed"], 0);
  EXPECT_EQ(RunJson({"exists", KeyFlag(0)})["exists"], 1);
}

TEST_F(NamedCommandsTest, AWatchEndsWhenNobodyReadsIt) {
  const auto folder = TemporaryFolder::Create();
  const std::string fifo = (*folder)->path() + "/out";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int reader = open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  auto child = ChildProcess::Start({.argv = {std::filesystem::absolute("client/kvcompctl").string(), "watch",
                                             "--name=nightly", "--address=" + daemon_.address()},
                                    .stdout_path = fifo,
                                    .stderr_path = (*folder)->path() + "/err"});
  ASSERT_TRUE(child.ok()) << child.status();
  while (daemon_.watchers() == 0 && (*child)->Running()) usleep(1000);
  close(reader);  // there is no event that it could fail to write
  const auto code = (*child)->Wait(absl::Seconds(20));
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, kExitFailed);
}

TEST_F(NamedCommandsTest, AWatchPrintsEvents) {
  v1::WatchResponse event;
  event.add_events()->set_kind(v1::Event::STORED);
  event.mutable_events(0)->set_key(std::string(keys_[0].view()));
  event.mutable_events(0)->mutable_generation()->set_epoch(0xfedcba9876543210);
  std::thread publisher([&] {
    while (daemon_.watchers() == 0) std::this_thread::yield();
    daemon_.Publish(event);
  });
  const Json json = RunJson({"watch", "--count=1"});
  publisher.join();
  EXPECT_EQ(json["key"], keys_[0].Hex());
  EXPECT_EQ(json["epoch"], "fedcba9876543210");
}

}  // namespace
}  // namespace kvcompd::client
