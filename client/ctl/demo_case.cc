#include "client/ctl/demo_case.h"

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {

Json DemoCase::ToJson() const {
  return {{"stems", stems}, {"tenant", tenant}, {"profile", profile}, {"salt", salt}};
}

absl::StatusOr<std::vector<DemoCase>> ParseDemoCases(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return absl::InvalidArgumentError("cases are no JSON array");
  std::vector<DemoCase> cases;
  auto is_text = [](const Json& item, const char* field) {
    return item.contains(field) && item[field].is_string();
  };
  for (const Json& item : json) {
    const bool shaped = item.is_object() && is_text(item, "tenant") && is_text(item, "profile") &&
                        is_text(item, "salt") && item.contains("stems") && item["stems"].is_array();
    if (!shaped) return absl::InvalidArgumentError("a case is no object of stems, tenant, profile and salt");
    DemoCase out{.tenant = item["tenant"], .profile = item["profile"], .salt = item["salt"]};
    for (const Json& stem : item["stems"]) {
      if (!stem.is_string()) return absl::InvalidArgumentError("a stem is no string");
      out.stems.push_back(stem);
    }
    cases.push_back(std::move(out));
  }
  return cases;
}

absl::StatusOr<std::unique_ptr<OpenedDemoCase>> OpenDemoCase(const DemoCase& demo_case,
                                                             const std::string& address) {
  auto out = std::make_unique<OpenedDemoCase>();
  const auto profile = Profile::Parse(demo_case.profile);
  if (!profile.ok()) return profile.status();
  out->profile = *profile;
  for (const std::string& stem : demo_case.stems) {
    DemoSample sample{.name = std::filesystem::path(stem).filename().string()};
    auto file = LoadSample(stem);
    if (!file.ok()) return file.status();
    sample.file = *std::move(file);
    auto blocks = SampleBlocks(sample.file, kDemoBlockTokens, /*include_tail=*/false);
    if (!blocks.ok()) return blocks.status();
    sample.blocks = *std::move(blocks);
    out->samples.push_back(std::move(sample));
  }
  if (out->samples.empty()) return absl::InvalidArgumentError("a case without samples");
  ClientOptions options;
  options.address = address;
  options.tenant = demo_case.tenant;
  auto session = Session::OpenAt(std::move(options));
  if (!session.ok()) return session.status();
  out->session = *std::move(session);
  auto ns = out->session->OpenNamespace(out->samples.front().file, kDemoBlockTokens, demo_case.profile);
  if (!ns.ok()) return ns.status();
  out->ns = *std::move(ns);
  return out;
}

void DemoFailures::Expect(bool holds, const std::string& what) {
  if (!holds) list_.push_back(what);
}

void DemoFailures::ExpectOk(const absl::Status& status, const std::string& what) {
  if (!status.ok()) list_.push_back(absl::StrCat(what, ": ", status.ToString()));
}

}  // namespace kvcompd::client
