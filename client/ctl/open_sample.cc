#include "client/ctl/open_sample.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"

namespace kvcompd::client {
namespace {

// A profile that was asked for and is not the namespace's would be lost silently: it counts only for new
// ones.
absl::Status CheckProfile(const NamespaceHandle& ns, const std::string& wanted) {
  const std::string stands = ns.state().policy.profile();
  const auto profile = Profile::Parse(wanted);
  if (!profile.ok() || profile->Text() == stands) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the namespace is there and encodes with ", stands,
                                                    "; `kvcompctl ns set-profile ", HexOf(ns.id()), " ",
                                                    wanted, "` changes it"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenedSample>> OpenSample(const CommandContext& context) {
  const Arguments& args = context.args;
  const absl::StatusOr<uint64_t> block_tokens = args.Whole("block-tokens", 16, 1024);
  if (!block_tokens.ok()) return AsUsageError(block_tokens.status());
  if (!args.Text("profile").empty()) {
    const auto profile = Profile::Parse(args.Text("profile"));
    if (!profile.ok()) return AsUsageError(profile.status());
  }
  auto file = LoadSample(args.positionals()[0]);
  if (!file.ok()) return file.status();
  auto blocks = SampleBlocks(*file, static_cast<uint32_t>(*block_tokens), args.Switch("tail"));
  if (!blocks.ok()) return blocks.status();
  if (blocks->empty())
    return absl::InvalidArgumentError("the sample holds no whole block; see --tail and --block-tokens");

  auto out = std::make_unique<OpenedSample>();
  out->file = *std::move(file);
  out->blocks = *std::move(blocks);
  out->salt = args.Text("salt");
  auto session = Session::Open(args);
  if (!session.ok()) return session.status();
  out->session = *std::move(session);
  auto ns =
      out->session->OpenNamespace(out->file, static_cast<uint32_t>(*block_tokens), args.Text("profile"));
  if (!ns.ok()) return ns.status();
  out->ns = *std::move(ns);
  const absl::Status same = CheckProfile(*out->ns, args.Text("profile"));
  if (!same.ok()) return same;
  return out;
}

std::vector<FlagSpec> WithSampleFlags(std::vector<FlagSpec> more) {
  more.push_back({"block-tokens", "N", "tokens of a block: 16, 32, or a multiple of 64 up to 1024", "64"});
  more.push_back({"tail", "", "also the shorter last block"});
  return WithCommonFlags(std::move(more));
}

std::string ReasonText(v1::Reason reason) {
  if (reason == v1::REASON_UNSPECIFIED) return "";
  return std::string(absl::StripPrefix(v1::Reason_Name(reason), "REASON_"));
}

std::string OutcomeText(const absl::Status& status, v1::Reason reason) {
  if (status.ok()) return "ok";
  std::string text = absl::StatusCodeToString(status.code());
  if (reason != v1::REASON_UNSPECIFIED) absl::StrAppend(&text, " ", ReasonText(reason));
  return absl::StrCat(text, ": ", status.message());
}

std::string ShortKey(const BlockKey& key) { return key.Hex().substr(0, 16); }

}  // namespace kvcompd::client
