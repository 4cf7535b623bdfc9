#include "client/ctl/command.h"

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

class CommandTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> words) {
    out_.str("");
    err_.str("");
    return RunCommandLine(commands_, words, out_, err_);
  }

  std::ostringstream out_, err_;
  absl::Status status_;  // what the commands return
  const std::vector<Command> commands_ = {
      {.name = "say",
       .operands = "WORD",
       .help = "says a word",
       .flags = WithOutputFlags({{"times", "N", "how often", "1"}}),
       .min_operands = 1,
       .max_operands = 1,
       .run =
           [this](const CommandContext& context) {
             context.out << "say " << context.args.positionals()[0] << " " << context.args.Text("times");
             return status_;
           }},
      {.name = "say twice",
       .help = "says it twice",
       .run =
           [](const CommandContext& context) {
             context.out << "twice";
             return absl::OkStatus();
           }},
      {.name = "secret", .help = "not listed", .hidden = true, .run = [](const CommandContext&) {
         return absl::OkStatus();
       }}};
};

TEST_F(CommandTest, RunsWithOperandsAndFlags) {
  EXPECT_EQ(Run({"say", "hello", "--times=2"}), kExitOk);
  EXPECT_EQ(out_.str(), "say hello 2");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandTest, TheLongerNameWins) {
  EXPECT_EQ(Run({"say", "twice"}), kExitOk);
  EXPECT_EQ(out_.str(), "twice");
  EXPECT_EQ(Run({"say", "thrice"}), kExitOk);
  EXPECT_EQ(out_.str(), "say thrice 1");
}

TEST_F(CommandTest, AFailureIsOneAndNamesTheCode) {
  status_ = absl::InvalidArgumentError("the daemon says no");
  EXPECT_EQ(Run({"say", "x"}), kExitFailed);
  EXPECT_EQ(err_.str(), "kvcompctl say: INVALID_ARGUMENT: the daemon says no\n");
}

TEST_F(CommandTest, WrongUsageIsTwoWithHelp) {
  status_ = UsageError("times must be odd");
  EXPECT_EQ(Run({"say", "x"}), kExitUsage);
  EXPECT_NE(err_.str().find("times must be odd"), std::string::npos);
  EXPECT_NE(err_.str().find("--times=N"), std::string::npos);
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {}, {"nothing"}, {"say"}, {"say", "a", "b"}, {"say", "a", "--volume=3"}, {"secret", "x"}}) {
    EXPECT_EQ(Run(words), kExitUsage);
    EXPECT_NE(err_.str().find("usage: kvcompctl"), std::string::npos);
    EXPECT_EQ(out_.str(), "");
  }
}

TEST_F(CommandTest, HelpIsNoFailure) {
  EXPECT_EQ(Run({"help"}), kExitOk);
  EXPECT_NE(out_.str().find("says it twice"), std::string::npos);
  EXPECT_EQ(out_.str().find("secret"), std::string::npos);
  EXPECT_EQ(Run({"say", "--help"}), kExitOk);  // also without the operand
  EXPECT_NE(out_.str().find("how often (default 1)"), std::string::npos);
  EXPECT_EQ(Run({"help", "say"}), kExitOk);
  EXPECT_NE(out_.str().find("how often (default 1)"), std::string::npos);
  EXPECT_EQ(Run({"help", "say", "twice"}), kExitOk);
  EXPECT_NE(out_.str().find("says it twice"), std::string::npos);
  EXPECT_EQ(Run({"help", "nothing"}), kExitUsage);
}

// A disk that is full, a reader that has gone.
class FullBuffer final : public std::streambuf {
  int_type overflow(int_type) override { return traits_type::eof(); }
};

TEST_F(CommandTest, OutputThatCannotBeWrittenIsAFailure) {
  FullBuffer full;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"say", "x"}, {"help"}, {"help", "say"}}) {
    std::ostream out(&full);
    err_.str("");
    EXPECT_EQ(RunCommandLine(commands_, words, out, err_), kExitFailed);
    EXPECT_NE(err_.str().find("could not be written"), std::string::npos) << err_.str();
  }
}

}  // namespace
}  // namespace kvcompd::client
