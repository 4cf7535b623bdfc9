#include "server/ops/listen_address.h"

#include <gtest/gtest.h>

#include <string>

namespace kvcompd::server {
namespace {

struct Good {
  const char* text;
  const char* host;
  int port;
  const char* path;
  bool local;
};

TEST(ListenAddress, GoodFormsParseAndPrintAsTheyWere) {
  for (const Good& good : {Good{"127.0.0.1:50051", "127.0.0.1", 50051, "", true},
                           {"127.200.3.4:0", "127.200.3.4", 0, "", true},
                           {"localhost:1", "localhost", 1, "", true},
                           {"[::1]:65535", "::1", 65535, "", true},
                           {"unix:/run/kvcompd.sock", "", 0, "/run/kvcompd.sock", true},
                           {"0.0.0.0:50051", "0.0.0.0", 50051, "", false},
                           {"[::]:50051", "::", 50051, "", false},
                           {"10.0.0.1:50051", "10.0.0.1", 50051, "", false},
                           {"node-7.example.org:50051", "node-7.example.org", 50051, "", false},
                           // Looks like loopback, is a name that anybody may register.
                           {"127.0.0.1.example.org:1", "127.0.0.1.example.org", 1, "", false},
                           {"localhost.example.org:1", "localhost.example.org", 1, "", false},
                           {"[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1, "", false}}) {
    const auto address = ListenAddress::Parse(good.text);
    ASSERT_TRUE(address.ok()) << good.text << ": " << address.status();
    EXPECT_EQ(address->host, good.host);
    EXPECT_EQ(address->port, good.port);
    EXPECT_EQ(address->unix_path, good.path);
    EXPECT_EQ(address->local(), good.local) << good.text;
    EXPECT_EQ(address->Text(), good.text);
  }
}

TEST(ListenAddress, BadFormsAreRefused) {
  for (const std::string& bad :
       {std::string(""), std::string("50051"), std::string(":50051"), std::string("127.0.0.1"),
        std::string("127.0.0.1:"), std::string("127.0.0.1:65536"), std::string("127.0.0.1:-1"),
        std::string("127.0.0.1:+1"), std::string("127.0.0.1: 1"), std::string("127.0.0.1:http"),
        std::string("::1:50051"), std::string("[::1]"), std::string("[127.0.0.1]:1"), std::string("[::1:1"),
        std::string("a b:1"), std::string("unix:"), "unix:/" + std::string(200, 'x'),
        std::string(300, 'h') + ":1"}) {
    EXPECT_EQ(ListenAddress::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace kvcompd::server
