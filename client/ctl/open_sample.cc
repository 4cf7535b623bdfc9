#include "client/ctl/open_sample.h"

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "proto/convert.h"

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

absl::StatusOr<std::string> SaltOf(const Arguments& args) {
  std::string salt = args.Text("salt");
  if (salt.size() > kMaxSaltBytes)
    return UsageError(absl::StrCat("--salt: ", kMaxSaltBytes, " bytes at most"));
  return salt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenedSample>> OpenSample(const CommandContext& context, OwnDaemon own) {
  const Arguments& args = context.args;
  const absl::StatusOr<uint64_t> block_tokens = args.Whole("block-tokens", 16, 1024);
  if (!block_tokens.ok()) return AsUsageError(block_tokens.status());
  if (*block_tokens != 16 && *block_tokens != 32 && *block_tokens % 64 != 0) {
    return UsageError("--block-tokens: expected 16, 32, or a multiple of 64 up to 1024");
  }
  if (!args.Text("profile").empty()) {
    const auto profile = Profile::Parse(args.Text("profile"));
    if (!profile.ok()) return AsUsageError(profile.status());
  }
  auto salt = SaltOf(args);
  if (!salt.ok()) return salt.status();
  auto file = LoadSample(args.positionals()[0]);
  if (!file.ok()) return file.status();
  auto blocks = SampleBlocks(*file, static_cast<uint32_t>(*block_tokens), args.Switch("tail"));
  if (!blocks.ok()) return blocks.status();
  if (blocks->empty())
    return absl::InvalidArgumentError("the sample holds no whole block; see --tail and --block-tokens");

  auto out = std::make_unique<OpenedSample>();
  out->file = *std::move(file);
  out->blocks = *std::move(blocks);
  out->salt = *std::move(salt);
  auto session = Session::Open(context, own);
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

absl::StatusOr<std::unique_ptr<OpenedSample>> AttachNamed(const CommandContext& context) {
  const Arguments& args = context.args;
  for (const char* flag : {"profile", "block-tokens"}) {
    if (args.Has(flag)) return UsageError(absl::StrCat("--", flag, " is about a SAMPLE, and there is none"));
  }
  auto salt = SaltOf(args);
  if (!salt.ok()) return salt.status();
  auto out = std::make_unique<OpenedSample>();
  out->salt = *std::move(salt);
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  out->session = *std::move(session);
  auto ns = out->session->client().AttachNamespace(args.Text("tenant"), args.Text("name"));
  if (!ns.ok()) return ns.status();
  out->ns = *std::move(ns);
  return out;
}

absl::StatusOr<std::unique_ptr<OpenedSample>> OpenTarget(const CommandContext& context, OwnDaemon own) {
  if (!context.args.positionals().empty()) return OpenSample(context, own);
  if (context.args.Text("name").empty()) return UsageError("name a SAMPLE, or a namespace by --name");
  return AttachNamed(context);
}

FlagSpec ProfileFlag() {
  return {"profile", "PROFILE",
          "what a namespace made by this command encodes with; none is the daemon's default"};
}
FlagSpec SaltFlag() { return {"salt", "TEXT", "cache salt, mixed into every key; 256 bytes at most"}; }
FlagSpec BlockTokensFlag() {
  return {"block-tokens", "N", "tokens of a block: 16, 32, or a multiple of 64 up to 1024", "64"};
}

std::vector<FlagSpec> WithSampleFlags(std::vector<FlagSpec> more) {
  more.push_back(BlockTokensFlag());
  more.push_back({"tail", "", "also the shorter last block"});
  more.push_back(ProfileFlag());
  more.push_back(SaltFlag());
  return WithNamespaceFlags(std::move(more));
}

std::string ShortKey(const BlockKey& key) { return key.Hex().substr(0, 16); }

}  // namespace kvcompd::client
