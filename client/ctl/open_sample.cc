#include "client/ctl/open_sample.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kvcompd::client {

absl::StatusOr<std::unique_ptr<OpenedSample>> OpenSample(const CommandContext& context) {
  const Arguments& args = context.args;
  const absl::StatusOr<uint64_t> block_tokens = args.Whole("block-tokens", 16, 1024);
  if (!block_tokens.ok()) return AsUsageError(block_tokens.status());
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
