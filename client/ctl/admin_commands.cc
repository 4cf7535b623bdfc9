#include "client/ctl/admin_commands.h"

#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/session.h"
#include "client/ctl/table.h"
#include "codec/base/human_size.h"
#include "codec/base/types.h"
#include "proto/kvcompd/v1/admin.pb.h"

namespace kvcompd::client {
namespace {

Json TierJson(const v1::TierStats& tier) {
  return {{"tier", TierText(tier.tier())},
          {"capacity_bytes", tier.capacity_bytes()},
          {"used_bytes", tier.used_bytes()},
          {"staged_bytes", tier.staged_bytes()},
          {"largest_free_bytes", tier.largest_free_bytes()},
          {"allocation_failures", tier.allocation_failures()},
          {"blocks", tier.blocks()},
          {"encoded_bytes", tier.encoded_bytes()},
          {"raw_bytes", tier.raw_bytes()}};
}

Json NamespaceJson(const v1::NamespaceStats& ns) {
  return {{"id", HexOf(ns.namespace_id())},
          {"tenant", ns.tenant()},
          {"name", ns.name()},
          {"model_id", ns.model_id()},
          {"fingerprint", HexOf(ns.fingerprint())},
          {"profile", ns.policy().profile()},
          {"quota_bytes", ns.policy().quota_bytes()},
          {"max_error", ns.policy().max_error()},
          {"blocks", ns.blocks()},
          {"encoded_bytes", ns.encoded_bytes()},
          {"raw_bytes", ns.raw_bytes()},
          {"staged_bytes", ns.staged_bytes()},
          {"pinned_bytes", ns.pinned_bytes()},
          {"codebook_sets", ns.codebook_sets()},
          {"codebook_set", HexOf(ns.codebook_set())}};
}

template <typename Namespaces>
void PrintNamespaces(const Namespaces& namespaces, std::ostream& out) {
  TextTable table({"namespace", "tenant", "name", "model", "profile", ">blocks", ">raw", ">encoded", ">ratio",
                   ">pinned", ">books"});
  for (const v1::NamespaceStats& ns : namespaces) {
    table.AddRow({HexOf(ns.namespace_id()), ns.tenant(), ns.name(), ns.model_id(), ns.policy().profile(),
                  absl::StrCat(ns.blocks()), HumanSize(ns.raw_bytes()), HumanSize(ns.encoded_bytes()),
                  RatioText(static_cast<double>(ns.raw_bytes()), static_cast<double>(ns.encoded_bytes())),
                  HumanSize(ns.pinned_bytes()), absl::StrCat(ns.codebook_sets())});
  }
  table.Print(out);
}

void PrintStats(const v1::StatsResponse& stats, bool all, std::ostream& out) {
  out << absl::StrFormat("%s, backend %s, epoch %s, up %s%s\n\n", stats.software(), stats.backend(),
                         Id64Text(stats.epoch()),
                         absl::FormatDuration(absl::Milliseconds(static_cast<int64_t>(stats.uptime_ms()))),
                         stats.draining() ? ", draining" : "");
  TextTable tiers({"tier", ">capacity", ">used", ">staged", ">largest free", ">failures", ">blocks", ">raw",
                   ">encoded", ">ratio"});
  for (const v1::TierStats& tier : stats.tiers()) {
    tiers.AddRow(
        {TierText(tier.tier()), HumanSize(tier.capacity_bytes()), HumanSize(tier.used_bytes()),
         HumanSize(tier.staged_bytes()), HumanSize(tier.largest_free_bytes()),
         absl::StrCat(tier.allocation_failures()), absl::StrCat(tier.blocks()), HumanSize(tier.raw_bytes()),
         HumanSize(tier.encoded_bytes()),
         RatioText(static_cast<double>(tier.raw_bytes()), static_cast<double>(tier.encoded_bytes()))});
  }
  tiers.Print(out);
  out << "\n";
  if (stats.namespaces_size() > 0) {
    PrintNamespaces(stats.namespaces(), out);
    out << "\n";
  }
  // Reasons of refusals, misses and evictions are labels of these.
  TextTable counters({"counter", "labels", ">value"});
  for (const v1::Counter& counter : stats.counters()) {
    if (counter.value() == 0 && !all) continue;
    counters.AddRow({counter.name(), counter.labels(), absl::StrFormat("%.15g", counter.value())});
  }
  counters.Print(out);
}

absl::Status Stat(const CommandContext& context) {
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const auto stats = (*session)->client().admin().Stats();
  if (!stats.ok()) return stats.status();
  if (!context.args.Switch("json")) {
    PrintStats(*stats, context.args.Switch("all"), context.out);
    return absl::OkStatus();
  }
  Json json = {{"software", stats->software()},     {"backend", stats->backend()},
               {"epoch", Id64Text(stats->epoch())}, {"uptime_ms", stats->uptime_ms()},
               {"draining", stats->draining()},     {"tiers", Json::array()},
               {"namespaces", Json::array()},       {"counters", Json::array()}};
  for (const auto& tier : stats->tiers()) json["tiers"].push_back(TierJson(tier));
  for (const auto& ns : stats->namespaces()) json["namespaces"].push_back(NamespaceJson(ns));
  for (const auto& counter : stats->counters()) {
    json["counters"].push_back(
        {{"name", counter.name()}, {"labels", counter.labels()}, {"value", counter.value()}});
  }
  PrintJson(json, context.out);
  return absl::OkStatus();
}

absl::Status ListNamespaces(const CommandContext& context) {
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const auto list = (*session)->client().admin().ListNamespaces(context.args.Text("tenant"));
  if (!list.ok()) return list.status();
  if (!context.args.Switch("json")) {
    PrintNamespaces(list->namespaces(), context.out);
    return absl::OkStatus();
  }
  Json json = {{"namespaces", Json::array()}};
  for (const auto& ns : list->namespaces()) json["namespaces"].push_back(NamespaceJson(ns));
  PrintJson(json, context.out);
  return absl::OkStatus();
}

// The id that `kvcompctl ns` shows, as bytes.
absl::StatusOr<std::string> NamespaceOperand(const CommandContext& context) {
  auto id = BytesOfHex(context.args.positionals()[0]);
  if (!id.ok()) return AsUsageError(id.status());
  return id;
}

absl::Status FlushNamespace(const CommandContext& context) {
  const auto id = NamespaceOperand(context);
  if (!id.ok()) return id.status();
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const auto flushed = (*session)->client().admin().Flush(*id);
  if (!flushed.ok()) return flushed.status();
  if (context.args.Switch("json")) {
    PrintJson({{"blocks", flushed->blocks()}, {"encoded_bytes", flushed->encoded_bytes()}}, context.out);
  } else {
    context.out << absl::StrFormat("%u blocks, %u bytes removed\n", flushed->blocks(),
                                   flushed->encoded_bytes());
  }
  return absl::OkStatus();
}

absl::Status SetProfile(const CommandContext& context) {
  const auto id = NamespaceOperand(context);
  if (!id.ok()) return id.status();
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const auto profile = (*session)->client().admin().SetProfile(*id, context.args.positionals()[1]);
  if (!profile.ok()) return profile.status();
  if (context.args.Switch("json")) {
    PrintJson({{"profile", *profile}}, context.out);
  } else {
    context.out << *profile << "\n";
  }
  return absl::OkStatus();
}

absl::Status Drain(const CommandContext& context) {
  const auto grace = context.args.DurationMs("grace");
  if (!grace.ok()) return AsUsageError(grace.status());
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const absl::Status drained = (*session)->client().admin().Drain(*grace, context.args.Switch("exit"));
  if (!drained.ok()) return drained;
  if (context.args.Switch("json")) {
    PrintJson({{"draining", true}}, context.out);
  } else {
    context.out << "draining: new puts are refused\n";
  }
  return absl::OkStatus();
}

absl::Status Trim(const CommandContext& context) {
  std::optional<uint64_t> target_bytes, older_than_ms;
  if (context.args.Has("target")) {
    const auto size = context.args.Size("target", 0, std::numeric_limits<int64_t>::max());
    if (!size.ok()) return AsUsageError(size.status());
    target_bytes = *size;
  }
  if (context.args.Has("older-than")) {
    const auto age = context.args.DurationMs("older-than");
    if (!age.ok()) return AsUsageError(age.status());
    older_than_ms = *age;
  }
  if (!target_bytes && !older_than_ms) return UsageError("trim needs --target or --older-than");
  auto session = Session::Open(context, OwnDaemon::kRefuse);
  if (!session.ok()) return session.status();
  const auto trimmed = (*session)->client().admin().Trim(target_bytes, older_than_ms);
  if (!trimmed.ok()) return trimmed.status();
  if (context.args.Switch("json")) {
    PrintJson({{"blocks", trimmed->blocks()}, {"encoded_bytes", trimmed->encoded_bytes()}}, context.out);
  } else {
    context.out << absl::StrFormat("%u blocks, %u bytes evicted\n", trimmed->blocks(),
                                   trimmed->encoded_bytes());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> AdminCommands() {
  return {
      {.name = "stat",
       .help = "shows tiers, namespaces and counters, with the reasons of refusals, misses and evictions",
       .flags = WithDaemonFlags({{"all", "", "also counters that are 0"}}),
       .run = Stat},
      {.name = "ns",
       .help = "lists the namespaces, of one --tenant or all",
       .flags = WithDaemonFlags({{"tenant", "TENANT", "of this tenant only"}}),
       .run = ListNamespaces},
      {.name = "ns flush",
       .operands = "NAMESPACE",
       .help = "removes all blocks of a namespace, named by the id that `ns` shows",
       .flags = WithDaemonFlags({}),
       .min_operands = 1,
       .max_operands = 1,
       .run = FlushNamespace},
      {.name = "ns set-profile",
       .operands = "NAMESPACE PROFILE",
       .help = "changes what new blocks of a namespace are encoded with",
       .flags = WithDaemonFlags({}),
       .min_operands = 2,
       .max_operands = 2,
       .run = SetProfile},
      {.name = "drain",
       .help = "makes a daemon refuse new puts and let running calls end",
       .flags = WithDaemonFlags(
           {{"grace", "DURATION", "how long running calls may take; none is the daemon's default"},
            {"exit", "", "the daemon ends when all is quiet, or the grace is over"}}),
       .run = Drain},
      {.name = "trim",
       .help = "evicts blocks that are neither leased nor pinned",
       .flags = WithDaemonFlags({{"target", "SIZE", "until no more than this is used, such as 2GiB"},
                                 {"older-than", "DURATION", "those not read for so long, such as 1h"}}),
       .run = Trim},
  };
}

}  // namespace kvcompd::client
