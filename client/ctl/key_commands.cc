#include "client/ctl/key_commands.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/table.h"
#include "codec/base/chain_hash.h"

namespace kvcompd::client {
namespace {

// --key (hexadecimal, several), or all of the sample's.
absl::StatusOr<std::vector<BlockKey>> ChosenKeys(const Arguments& args, const OpenedSample& target) {
  std::vector<BlockKey> keys;
  for (const std::string& hex : args.List("key")) {
    const auto bytes = BytesOfHex(hex);
    if (!bytes.ok()) return AsUsageError(bytes.status());
    const auto key = BlockKey::FromBytes(*bytes);
    if (!key.ok()) return AsUsageError(key.status());
    keys.push_back(*key);
  }
  return keys.empty() ? KeysOf(target.blocks) : keys;
}

FlagSpec KeyFlag() { return {"key", "HEX", "these keys, comma-separated, instead of the sample's"}; }

// What OpenTarget cannot know: without a sample there must be something else to name keys.
absl::Status CheckNamesKeys(const Arguments& args, const char* flag) {
  if (!args.positionals().empty() || args.Has(flag)) return absl::OkStatus();
  return UsageError(absl::StrCat("without a SAMPLE, --", flag, " names what this is about"));
}

// --tokens: another text of the same model.
absl::StatusOr<std::vector<BlockKey>> KeysOfTokens(const Arguments& args, const OpenedSample& target) {
  if (!args.Has("tokens")) return KeysOf(target.blocks);
  std::vector<uint32_t> ids;
  for (const std::string& text : args.List("tokens")) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(text, &id)) return UsageError(absl::StrCat("--tokens: ", text, " is no token id"));
    ids.push_back(id);
  }
  return ChainKeys(ids, target.ns->model().tokens_per_block, {}, args.Switch("tail"));
}

absl::Status Match(const CommandContext& context) {
  if (auto named = CheckNamesKeys(context.args, "tokens"); !named.ok()) return named;
  auto sample = OpenTarget(context, OwnDaemon::kStart);
  if (!sample.ok()) return sample.status();
  const auto keys = KeysOfTokens(context.args, **sample);
  if (!keys.ok()) return keys.status();
  MatchOptions options;
  options.cache_salt = (*sample)->salt;
  const auto match = (*sample)->ns->Match(*keys, options);
  if (!match.ok()) return match.status();
  TextTable table({">block", "key", ">tokens", "tier", ">raw bytes", ">encoded bytes", ">ratio",
                   ">error bound", "profile"});
  Json json = {{"keys", keys->size()},
               {"matched_blocks", match->matched_blocks},
               {"matched_tokens", match->matched_tokens},
               {"blocks", Json::array()}};
  for (size_t b = 0; b < match->blocks.size(); ++b) {
    const BlockInfo& info = match->blocks[b];
    table.AddRow({absl::StrCat(b), ShortKey((*keys)[b]), absl::StrCat(info.tokens), TierText(info.tier),
                  absl::StrCat(info.raw_bytes), absl::StrCat(info.encoded_bytes),
                  RatioText(static_cast<double>(info.raw_bytes), static_cast<double>(info.encoded_bytes)),
                  absl::StrCat(info.error_bound), info.profile});
    json["blocks"].push_back({{"key", (*keys)[b].Hex()},
                              {"tokens", info.tokens},
                              {"tier", TierText(info.tier)},
                              {"raw_bytes", info.raw_bytes},
                              {"encoded_bytes", info.encoded_bytes},
                              {"error_bound", info.error_bound},
                              {"profile", info.profile}});
  }
  if (context.args.Switch("json")) {
    PrintJson(json, context.out);
  } else {
    table.Print(context.out);
    context.out << absl::StrFormat("%u of %u blocks, %u tokens\n", match->matched_blocks, keys->size(),
                                   match->matched_tokens);
  }
  return absl::OkStatus();
}

// One answer a key.
absl::Status PrintAnswers(const CommandContext& context, const std::vector<BlockKey>& keys,
                          const std::vector<bool>& answers, const char* field) {
  TextTable table({"key", field});
  Json json = {{"keys", Json::array()}};
  uint64_t yes = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    yes += answers[i];
    table.AddRow({keys[i].Hex(), answers[i] ? "yes" : "no"});
    json["keys"].push_back({{"key", keys[i].Hex()}, {field, static_cast<bool>(answers[i])}});
  }
  json[field] = yes;
  if (context.args.Switch("json")) {
    PrintJson(json, context.out);
  } else {
    table.Print(context.out);
    context.out << absl::StrFormat("%u of %u %s\n", yes, keys.size(), field);
  }
  return absl::OkStatus();
}

using AnswerCall = absl::StatusOr<std::vector<bool>> (NamespaceHandle::*)(std::span<const BlockKey>,
                                                                          const KeyOptions&);

absl::Status Answer(const CommandContext& context, AnswerCall call, const char* field, OwnDaemon own) {
  if (auto named = CheckNamesKeys(context.args, "key"); !named.ok()) return named;
  auto sample = OpenTarget(context, own);
  if (!sample.ok()) return sample.status();
  const auto keys = ChosenKeys(context.args, **sample);
  if (!keys.ok()) return keys.status();
  KeyOptions options;
  options.cache_salt = (*sample)->salt;
  const auto answers = ((*sample)->ns.get()->*call)(*keys, options);
  if (!answers.ok()) return answers.status();
  return PrintAnswers(context, *keys, *answers, field);
}

absl::Status Pin(const CommandContext& context) {
  const auto ttl_ms = context.args.DurationMs("ttl");
  if (!ttl_ms.ok()) return AsUsageError(ttl_ms.status());
  if (auto named = CheckNamesKeys(context.args, "key"); !named.ok()) return named;
  auto sample = OpenTarget(context, OwnDaemon::kRefuse);
  if (!sample.ok()) return sample.status();
  const auto keys = ChosenKeys(context.args, **sample);
  if (!keys.ok()) return keys.status();
  KeyOptions options;
  options.cache_salt = (*sample)->salt;
  options.ttl_ms = *ttl_ms;
  const auto outcomes = (*sample)->ns->Pin(*keys, options);
  if (!outcomes.ok()) return outcomes.status();
  std::vector<bool> pinned;
  std::string first;
  for (const BlockOutcome& outcome : *outcomes) {
    pinned.push_back(outcome.status.ok());
    if (!outcome.status.ok() && first.empty()) first = OutcomeText(outcome.status, outcome.reason);
  }
  const absl::Status printed = PrintAnswers(context, *keys, pinned, "pinned");
  if (!printed.ok() || first.empty()) return printed;
  return absl::FailedPreconditionError(absl::StrCat("not all blocks were pinned: ", first));
}

Command KeyCommand(std::string name, std::string help, std::vector<FlagSpec> flags,
                   std::function<absl::Status(const CommandContext&)> run) {
  return {.name = std::move(name),
          .operands = "[SAMPLE]",
          .help = std::move(help),
          .flags = WithSampleFlags(std::move(flags)),
          .max_operands = 1,
          .run = std::move(run)};
}

Command AnswerCommand(std::string name, std::string help, AnswerCall call, const char* field, OwnDaemon own) {
  return KeyCommand(
      std::move(name), std::move(help), {KeyFlag()},
      [call, field, own](const CommandContext& context) { return Answer(context, call, field, own); });
}

}  // namespace

Command MatchCommand() {
  return KeyCommand("match", "finds the longest stored prefix of a sample's blocks, or of --tokens in --name",
                    {{"tokens", "IDS", "comma-separated token ids of a text, instead of the sample's"}},
                    Match);
}

Command ExistsCommand() {
  return AnswerCommand("exists", "tells which of a sample's blocks, or of --key in --name, are stored whole",
                       &NamespaceHandle::Exists, "exists", OwnDaemon::kStart);
}

Command RemoveCommand() {
  return AnswerCommand("rm", "deletes a sample's blocks, or those of --key in --name",
                       &NamespaceHandle::Delete, "deleted", OwnDaemon::kRefuse);
}

Command UnpinCommand() {
  return AnswerCommand("unpin", "lets a sample's blocks go again, or those of --key in --name",
                       &NamespaceHandle::Unpin, "unpinned", OwnDaemon::kRefuse);
}

Command PinCommand() {
  return KeyCommand("pin", "keeps a sample's blocks, or those of --key in --name, until unpin or for a while",
                    {KeyFlag(), {"ttl", "DURATION", "how long; none is the daemon's longest"}}, Pin);
}

}  // namespace kvcompd::client
