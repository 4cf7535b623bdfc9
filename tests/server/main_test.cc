// The real binary: start, signals, exit codes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/kvcompd/v1/admin.grpc.pb.h"
#include "proto/kvcompd/v1/kvcache.grpc.pb.h"

namespace kvcompd {
namespace {

using testing::HasSubstr;

constexpr char kBinary[] = "server/kvcompd";  // from the runfiles' root, where tests start
constexpr absl::Duration kPatience = absl::Seconds(60);

// A kvcompd with its output on a pipe. Killed by the destructor where it still runs.
class Process {
 public:
  explicit Process(std::vector<std::string> args, std::vector<std::string> environment = {}) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    output_fd_ = ends[0];
    args.insert(args.begin(), kBinary);
    std::vector<char*> argv = Pointers(args), envp = Pointers(environment);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, kBinary, &actions, nullptr, argv.data(), envp.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_fd_);
  }
  // Reads on until the output has `text`; false at its end or when patience is.
  bool WaitForOutput(const std::string& text) {
    while (output_.find(text) == std::string::npos) {
      if (!ReadMore()) return false;
    }
    return true;
  }
  // What stands behind `mark` in its line; empty where that does not come.
  std::string RestOfLine(const std::string& mark) {
    if (!WaitForOutput(mark)) return "";
    const size_t begin = output_.find(mark) + mark.size();
    while (output_.find('\n', begin) == std::string::npos) {
      if (!ReadMore()) return "";
    }
    return output_.substr(begin, output_.find('\n', begin) - begin);
  }
  void Signal(int number) { kill(pid_, number); }
  // The exit code, or -1 where a signal ended it or it did not end.
  int WaitForExit() {
    while (ReadMore()) {
    }
    if (absl::Now() > deadline_) return -1;
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& output() const { return output_; }

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (std::string& s : strings) out.push_back(s.data());
    out.push_back(nullptr);
    return out;
  }
  bool ReadMore() {
    pollfd wait = {output_fd_, POLLIN, 0};
    const absl::Duration left = deadline_ - absl::Now();
    if (left <= absl::ZeroDuration() ||
        poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) <= 0) {
      return false;
    }
    char buffer[4096];
    const ssize_t n = read(output_fd_, buffer, sizeof buffer);
    if (n <= 0) return false;
    output_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  const absl::Time deadline_ = absl::Now() + kPatience;
  pid_t pid_ = -1;
  int output_fd_ = -1;
  std::string output_;
};

std::vector<std::string> Args(std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--address=127.0.0.1:0", "--host-memory=16MiB", "--worker-threads=1"});
  return more;
}

std::string AddressOf(Process& process) { return process.RestOfLine("listening address="); }

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

void SetDeadline(grpc::ClientContext* call) {
  call->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kPatience));
}

TEST(Main, ServesAndEndsWithSigterm) {
  const std::string port_file = testing::TempDir() + "/port";
  Process process(Args({"--port-file=" + port_file}), {"KVCOMPD_MAX_KEYS=77"});
  const std::string address = AddressOf(process);
  ASSERT_NE(address, "") << process.output();
  EXPECT_THAT(process.output(), HasSubstr("option max-keys=77 origin=environment"));
  EXPECT_THAT(process.output(), HasSubstr("option host-memory=16MiB origin=flag"));

  std::string written;
  std::getline(std::ifstream(port_file), written);
  EXPECT_EQ(written, address);
  grpc::ClientContext call;
  SetDeadline(&call);
  v1::StatsResponse stats;
  ASSERT_TRUE(v1::Admin::NewStub(Connect(address))->Stats(&call, {}, &stats).ok());
  EXPECT_EQ(stats.tiers(0).capacity_bytes(), uint64_t{16} << 20);

  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 0) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("stopped"));
  EXPECT_NE(access(port_file.c_str(), F_OK), 0) << "the port file is left over";
}

TEST(Main, EndsWithSigint) {
  Process process(Args());
  ASSERT_NE(AddressOf(process), "");
  process.Signal(SIGINT);
  EXPECT_EQ(process.WaitForExit(), 0) << process.output();
}

// A Put that the daemon has answered and that stands still from there on: it keeps a drain from ending.
class OpenPut {
 public:
  explicit OpenPut(const std::string& address) : stub_(v1::KvCache::NewStub(Connect(address))) {
    v1::OpenNamespaceRequest open;
    open.mutable_hello()->set_protocol_major(1);
    open.mutable_model()->set_model_id("test/model");
    open.mutable_model()->set_tokens_per_block(64);
    v1::AttentionGroup* group = open.mutable_model()->add_groups();
    group->set_kind(v1::GROUP_FULL);
    group->add_layers(0);
    group->set_kv_heads(1);
    group->set_head_dim_k(8);
    group->set_head_dim_v(8);
    group->set_dtype(v1::DTYPE_BF16);
    grpc::ClientContext open_call;
    SetDeadline(&open_call);
    v1::OpenNamespaceResponse opened;
    const grpc::Status status = stub_->OpenNamespace(&open_call, open, &opened);
    EXPECT_TRUE(status.ok()) << status.error_message();

    SetDeadline(&call_);
    stream_ = stub_->Put(&call_);
    v1::PutRequest request;
    request.mutable_header()->set_namespace_id(opened.namespace_id());
    request.mutable_header()->set_put_id(std::string(16, 'p'));
    request.mutable_header()->set_form(v1::FORM_DECODED);
    v1::PutBlock* block = request.mutable_header()->add_blocks();
    block->set_key(std::string(32, 'k'));
    block->set_tokens(64);
    stream_->Write(request);
    v1::PutResponse response;
    answered_ = stream_->Read(&response) && response.has_header();
  }
  ~OpenPut() {
    call_.TryCancel();
    stream_->Finish();
  }
  bool answered() const { return answered_; }

 private:
  std::unique_ptr<v1::KvCache::Stub> stub_;
  grpc::ClientContext call_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PutRequest, v1::PutResponse>> stream_;
  bool answered_ = false;
};

TEST(Main, ASecondSignalDoesNotWait) {
  Process process(Args({"--drain-grace=1h", "--stream-idle=1h"}));
  const std::string address = AddressOf(process);
  ASSERT_NE(address, "");
  OpenPut put(address);
  ASSERT_TRUE(put.answered());
  process.Signal(SIGTERM);
  ASSERT_TRUE(process.WaitForOutput("stopping signal=15"));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 1) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("second signal"));
}

// A retried Admin.Drain, and the signal with which Kubernetes follows it, let running calls end all the same.
TEST(Main, DrainingTwiceAndThenASignalWait) {
  Process process(Args({"--drain-grace=1h", "--stream-idle=1h"}));
  const std::string address = AddressOf(process);
  ASSERT_NE(address, "");
  auto stub = v1::Admin::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  const auto drain = [&stub] {
    grpc::ClientContext call;
    SetDeadline(&call);
    v1::DrainRequest request;
    request.set_exit(true);
    v1::DrainResponse response;
    return stub->Drain(&call, request, &response).ok();
  };
  {
    OpenPut put(address);
    ASSERT_TRUE(put.answered());
    EXPECT_TRUE(drain());
    EXPECT_TRUE(drain());
    ASSERT_TRUE(process.WaitForOutput("stopping signal=12"));
    process.Signal(SIGTERM);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(drain()) << "it still serves";
  }
  EXPECT_EQ(process.WaitForExit(), 0) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("stopped"));
}

TEST(Main, AShortGraceCutsAPutOff) {
  Process process(Args({"--drain-grace=50ms", "--stream-idle=1h"}));
  const std::string address = AddressOf(process);
  ASSERT_NE(address, "");
  OpenPut put(address);
  ASSERT_TRUE(put.answered());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 0) << process.output();
}

TEST(Main, EndsWithAdminDrain) {
  Process process(Args());
  const std::string address = AddressOf(process);
  ASSERT_NE(address, "");
  grpc::ClientContext call;
  SetDeadline(&call);
  v1::DrainRequest request;
  request.set_exit(true);
  request.set_grace_ms(1500);
  v1::DrainResponse response;
  EXPECT_TRUE(v1::Admin::NewStub(Connect(address))->Drain(&call, request, &response).ok());
  EXPECT_EQ(process.WaitForExit(), 0) << process.output();
  EXPECT_THAT(process.output(), HasSubstr("grace_ms=1500"));
}

TEST(Main, ATakenPortIsExitCode1) {
  Process first(Args());
  const std::string address = AddressOf(first);
  ASSERT_NE(address, "");
  Process second({"--address=" + address});
  EXPECT_EQ(second.WaitForExit(), 1);
  EXPECT_THAT(second.output(), HasSubstr("Address already in use"));
}

TEST(Main, BadConfigurationIsExitCode2) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> kCases = {
      {{"--no-such-option"}, "--no-such-option: unknown option"},
      {{"--host-memory=lots"}, "--host-memory=lots"},
      {{"--address=0.0.0.0:0"}, "--allow-insecure"},
      {{"--backend=cuda"}, "not built into this version"},
      {{"--config=/nonexistent.yaml"}, "/nonexistent.yaml"}};
  for (const auto& [args, text] : kCases) {
    Process process(args);
    EXPECT_EQ(process.WaitForExit(), 2) << args[0];
    EXPECT_THAT(process.output(), HasSubstr(text));
  }
  Process process({}, {"KVCOMPD_DRAIN_GRACE=soon"});
  EXPECT_EQ(process.WaitForExit(), 2);
  EXPECT_THAT(process.output(), HasSubstr("KVCOMPD_DRAIN_GRACE=soon"));
}

TEST(Main, PrintsAndExits) {
  for (const auto& [flag, text] : std::vector<std::pair<std::string, std::string>>{
           {"--version", "kvcompd/"},
           {"--help", "--host-memory=size"},
           {"--print-config-table", "| `host-memory` | `KVCOMPD_HOST_MEMORY` |"},
           {"--check-config", "host-memory="}}) {
    Process process({flag});
    EXPECT_EQ(process.WaitForExit(), 0) << flag;
    EXPECT_THAT(process.output(), HasSubstr(text));
  }
}

TEST(Main, JsonLogsCarryTheAddress) {
  Process process(Args({"--log-format=json"}));
  EXPECT_TRUE(process.WaitForOutput("\"message\":\"listening address=127.0.0.1:"));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 0);
}

}  // namespace
}  // namespace kvcompd
