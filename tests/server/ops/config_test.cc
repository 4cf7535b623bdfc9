#include "server/ops/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "codec/base/profile.h"
#include "server/ops/option_table.h"

namespace kvcompd::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

const Config::Value& ValueOf(const Config& config, const std::string& name) {
  for (const Config::Value& value : config.values) {
    if (value.name == name) return value;
  }
  static const Config::Value kNone{"", "no such value", ""};
  return kNone;
}

// The message of a configuration that must not be taken.
std::string ErrorOf(const std::vector<std::string>& args,
                    const std::map<std::string, std::string>& environment = {}) {
  const auto config = LoadConfig(args, environment);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(Config, DefaultsAreValidAndListenOnLoopbackOnly) {
  const auto config = LoadConfig({}, {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->action, Action::kRun);
  EXPECT_TRUE(config->settings.daemon.address.local());
  EXPECT_EQ(config->settings.daemon.address.Text(), "127.0.0.1:50051");
  EXPECT_TRUE(config->settings.daemon.service.default_profile.lossless());
  EXPECT_EQ(config->values.size(), OptionTable().size());
  for (const Config::Value& value : config->values) EXPECT_EQ(value.origin, "default");
}

TEST(Config, FlagOverEnvironmentOverFileOverDefault) {
  const std::string file = WriteFile("precedence.yaml",
                                     "# four of them\n"
                                     "host-memory: 1GiB\nmax-streams: 11\nmax-keys: 12\nlog-level: debug\n");
  const auto config = LoadConfig({"--config", file, "--host-memory=3GiB"},
                                 {{"KVCOMPD_HOST_MEMORY", "2GiB"}, {"KVCOMPD_MAX_STREAMS", "22"}});
  ASSERT_TRUE(config.ok()) << config.status();
  const DaemonOptions& daemon = config->settings.daemon;
  EXPECT_EQ(daemon.store.host.capacity_bytes, uint64_t{3} << 30);
  EXPECT_EQ(daemon.service.max_streams, 22u);
  EXPECT_EQ(daemon.service.max_keys, 12u);
  EXPECT_EQ(daemon.service.max_blocks, ServiceOptions().max_blocks);
  EXPECT_EQ(config->settings.log.level, LogLevel::kDebug);
  EXPECT_EQ(ValueOf(*config, "host-memory").origin, "flag");
  EXPECT_EQ(ValueOf(*config, "host-memory").text, "3GiB");
  EXPECT_EQ(ValueOf(*config, "max-streams").origin, "environment");
  EXPECT_EQ(ValueOf(*config, "max-keys").origin, file + ":4");
  EXPECT_EQ(ValueOf(*config, "max-blocks").origin, "default");
}

TEST(Config, FileFromTheEnvironmentUnlessAFlagNamesOne) {
  const std::string a = WriteFile("a.yaml", "max-keys: 1\n"), b = WriteFile("b.yaml", "max-keys: 2\n");
  EXPECT_EQ(LoadConfig({}, {{"KVCOMPD_CONFIG", a}})->settings.daemon.service.max_keys, 1u);
  EXPECT_EQ(LoadConfig({"--config=" + b}, {{"KVCOMPD_CONFIG", a}})->settings.daemon.service.max_keys, 2u);
}

TEST(Config, FormsOfFlags) {
  const auto config = LoadConfig({"--address", "0.0.0.0:1", "--allow-insecure", "--profile=kvcomp:rel_k=0.1",
                                  "--drain-grace=1m", "--low-watermark=0.5", "--max-keys=1", "--max-keys=2"},
                                 {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->settings.daemon.allow_insecure);
  EXPECT_EQ(config->settings.daemon.service.default_profile.rel_k, 0.1);
  EXPECT_EQ(config->settings.daemon.service.drain_grace_ms, 60'000u);
  EXPECT_EQ(config->settings.daemon.store.low_watermark, 0.5);
  EXPECT_EQ(config->settings.daemon.service.max_keys, 2u);  // the last one
  EXPECT_FALSE(
      LoadConfig({"--noallow-insecure"}, {{"KVCOMPD_ALLOW_INSECURE", "1"}})->settings.daemon.allow_insecure);
}

TEST(Config, BadFlagsNameThemselves) {
  EXPECT_THAT(ErrorOf({"--host-memry=1GiB"}), HasSubstr("--host-memry=1GiB: unknown option"));
  EXPECT_THAT(ErrorOf({"--host-memory=8Gbit"}), HasSubstr("--host-memory=8Gbit: "));
  EXPECT_THAT(ErrorOf({"--host-memory=1KiB"}), HasSubstr("expected 1MiB to 64TiB"));
  EXPECT_THAT(ErrorOf({"--host-memory"}), HasSubstr("needs a value"));
  EXPECT_THAT(ErrorOf({"--stream-idle=10"}), HasSubstr("expected a duration such as"));
  EXPECT_THAT(ErrorOf({"--backend=cuda"}), HasSubstr("cuda is not built into this version"));
  EXPECT_THAT(ErrorOf({"--backend=tpu"}), HasSubstr("expected one of auto, cpu"));
  EXPECT_THAT(ErrorOf({"--log-level=loud"}), HasSubstr("expected one of debug, info, warn, error"));
  EXPECT_THAT(ErrorOf({"--profile=zip"}), HasSubstr("--profile=zip"));
  EXPECT_THAT(ErrorOf({"--nohost-memory"}), HasSubstr("unknown option"));
  EXPECT_THAT(ErrorOf({"serve"}), HasSubstr("serve: not an option"));
  EXPECT_THAT(ErrorOf({"--"}), HasSubstr("not an option"));
  EXPECT_THAT(ErrorOf({"--worker-threads=-1"}), HasSubstr("expected a whole number"));
}

TEST(Config, BadEnvironmentNamesTheVariableEvenWhereAFlagOverridesIt) {
  EXPECT_THAT(ErrorOf({"--max-keys=1"}, {{"KVCOMPD_MAX_KEYS", "many"}}),
              HasSubstr("KVCOMPD_MAX_KEYS=many: "));
}

TEST(Config, EmptyVariablesAreNotSetAndUnknownOnesAreListed) {
  const auto config = LoadConfig({}, {{"KVCOMPD_MAX_KEYS", ""},
                                      {"KVCOMPD_HOST_MEMRY", "1GiB"},
                                      {"KVCOMPD_SERVICE_HOST", "10.0.0.1"},
                                      {"KVCOMPD_PORT_50051_TCP", "tcp://10.0.0.1:50051"},
                                      {"PATH", "/bin"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->settings.daemon.service.max_keys, ServiceOptions().max_keys);
  EXPECT_THAT(config->unknown_variables, ElementsAre("KVCOMPD_HOST_MEMRY"));
}

TEST(Config, BadFilesNameFileAndLine) {
  const auto error = [](const std::string& text) {
    return ErrorOf({"--config=" + WriteFile("bad.yaml", text)});
  };
  EXPECT_THAT(error("max-keys: 1\n\nmax-kys: 2\n"), HasSubstr("bad.yaml:3: unknown option \"max-kys\""));
  EXPECT_THAT(error("max-keys: 1\nhost-memory: lots\n"), HasSubstr("bad.yaml:2: host-memory: lots: "));
  EXPECT_THAT(error("max-keys: 1\nmax-keys: 1\n"), HasSubstr("bad.yaml:2: max-keys stands twice"));
  EXPECT_THAT(error("max-keys: [1, 2]\n"), HasSubstr("bad.yaml:1: max-keys: expected one value"));
  EXPECT_THAT(error("max-keys:\n"), HasSubstr("expected one value"));
  EXPECT_THAT(error("- max-keys\n"), HasSubstr("expected lines of"));
  EXPECT_THAT(error("max-keys: 1\n  host-memory: \"2GiB\n"), HasSubstr("bad.yaml:"));
  EXPECT_THAT(error("config: other.yaml\n"), HasSubstr("unknown option \"config\""));
  EXPECT_THAT(error(std::string(2 << 20, '#')), HasSubstr("longer than 1 MiB"));
  EXPECT_THAT(ErrorOf({"--config=/nonexistent/kvcompd.yaml"}),
              HasSubstr("/nonexistent/kvcompd.yaml: No such file or directory"));
}

TEST(Config, AFileOfCommentsIsEmpty) {
  EXPECT_TRUE(LoadConfig({"--config=" + WriteFile("empty.yaml", "# nothing\n")}, {}).ok());
}

TEST(Config, RemoteAddressNeedsConsent) {
  EXPECT_THAT(ErrorOf({"--address=0.0.0.0:50051"}), HasSubstr("--allow-insecure"));
  EXPECT_TRUE(LoadConfig({"--address=0.0.0.0:50051", "--allow-insecure"}, {}).ok());
  EXPECT_TRUE(LoadConfig({"--address=unix:/run/kvcompd.sock"}, {}).ok());
}

TEST(Config, OptionsThatContradictEachOther) {
  EXPECT_THAT(ErrorOf({"--low-watermark=0.99"}), HasSubstr("low-watermark is over high-watermark"));
  EXPECT_THAT(ErrorOf({"--lease-ttl=2h"}), HasSubstr("lease-ttl is over max-lease"));
  EXPECT_THAT(ErrorOf({"--sequence-ttl=2h"}), HasSubstr("sequence-ttl is over max-sequence"));
  EXPECT_THAT(ErrorOf({"--put-credit=64KiB"}), HasSubstr("max-message is over put-credit"));
}

TEST(Config, Actions) {
  EXPECT_EQ(LoadConfig({"--help"}, {})->action, Action::kHelp);
  EXPECT_EQ(LoadConfig({"--version"}, {})->action, Action::kVersion);
  EXPECT_EQ(LoadConfig({"--print-config-table"}, {})->action, Action::kPrintTable);
  EXPECT_EQ(LoadConfig({"--check-config", "--max-keys=7"}, {})->settings.daemon.service.max_keys, 7u);
  EXPECT_THAT(ErrorOf({"--check-config", "--max-keys=x"}), HasSubstr("--max-keys=x"));
}

TEST(OptionTable, EveryOptionIsWholeAndItsDefaultParsesBack) {
  std::set<std::string> names;
  const std::string help = HelpText(), table = OptionMarkdown();
  for (const Option& option : OptionTable()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name << " stands twice";
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.help.find('|'), std::string::npos) << option.name;
    Settings settings;
    const std::string text = option.text(settings);
    EXPECT_TRUE(option.set(text, &settings).ok()) << option.name << "=" << text;
    EXPECT_EQ(option.text(settings), text) << option.name;
    EXPECT_THAT(help, HasSubstr("--" + option.name));
    EXPECT_THAT(table, HasSubstr("| `" + option.name + "` | `" + option.EnvName() + "` |"));
  }
}

TEST(OptionTable, TextGivesBackWhatWasSet) {
  const std::pair<const char*, const char*> kValues[] = {
      {"host-memory", "3GiB"},   {"slab-size", "65536"}, {"stream-idle", "1500ms"},
      {"high-watermark", "0.7"}, {"max-keys", "17"},     {"allow-insecure", "true"},
      {"log-format", "json"},    {"address", "[::1]:7"}, {"port-file", "/run/p"},
      {"worker-threads", "3"},   {"backend", "cpu"}};
  for (const auto& [name, text] : kValues) {
    const Option* option = FindOption(name);
    ASSERT_NE(option, nullptr) << name;
    Settings settings;
    ASSERT_TRUE(option->set(text, &settings).ok()) << name;
    const std::string printed = option->text(settings);
    Settings again;
    ASSERT_TRUE(option->set(printed, &again).ok()) << name << "=" << printed;
    EXPECT_EQ(option->text(again), printed);
    EXPECT_NE(printed, option->text(Settings())) << name;
  }
}

}  // namespace
}  // namespace kvcompd::server
