#include "client/ctl/local_daemon.h"

#include <stdlib.h>

#include <string>

#include "client/client.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

constexpr char kDaemon[] = "server/kvcompd";

TEST(LocalDaemonTest, StartsOnAFreePortAnswersAndStops) {
  auto daemon = LocalDaemon::Start({.binary = kDaemon, .extra_args = {"--host-memory=64MiB"}});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_TRUE((*daemon)->Running());
  EXPECT_EQ((*daemon)->address().rfind("127.0.0.1:", 0), 0u) << (*daemon)->address();
  {
    ClientOptions options;
    options.address = (*daemon)->address();
    auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status();
    const auto stats = (*client)->admin().Stats();
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_GE(stats->tiers_size(), 1);
  }
  const absl::Status stopped = (*daemon)->Stop();
  EXPECT_TRUE(stopped.ok()) << stopped;
  EXPECT_FALSE((*daemon)->Running());
  EXPECT_TRUE((*daemon)->Stop().ok());  // again
}

TEST(LocalDaemonTest, StartsAgainOnTheSamePortAfterAKill) {
  auto first = LocalDaemon::Start({.binary = kDaemon});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = (*first)->address();
  ASSERT_TRUE((*first)->Kill().ok());
  EXPECT_FALSE((*first)->Running());
  auto second = LocalDaemon::Start({.binary = kDaemon, .address = address});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->address(), address);
}

TEST(LocalDaemonTest, SaysWhyItDidNotStart) {
  const auto refused = LocalDaemon::Start({.binary = kDaemon, .extra_args = {"--no-such-flag=1"}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(refused.status().message().find("code 2"), absl::string_view::npos) << refused.status();
  EXPECT_NE(refused.status().message().find("no-such-flag"), absl::string_view::npos) << refused.status();
}

TEST(LocalDaemonTest, FindsTheBinaryThatTheEnvironmentNames) {
  setenv("KVCOMPD_BINARY", kDaemon, 1);
  EXPECT_EQ(*FindDaemonBinary(), kDaemon);
  setenv("KVCOMPD_BINARY", "/no/such/kvcompd", 1);
  EXPECT_EQ(FindDaemonBinary().status().code(), absl::StatusCode::kNotFound);
  unsetenv("KVCOMPD_BINARY");
}

}  // namespace
}  // namespace kvcompd::client
