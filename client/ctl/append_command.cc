#include <algorithm>
#include <span>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/open_sample.h"
#include "client/ctl/sample_commands.h"
#include "client/ctl/table.h"
#include "client/sequence_writer.h"

namespace kvcompd::client {
namespace {

struct AppendOutcome {
  uint64_t tokens = 0;
  uint64_t calls = 0;
  uint64_t committed = 0;  // blocks
  uint64_t failed = 0;
  uint64_t raw_bytes = 0;
  uint64_t encoded_bytes = 0;
  double seconds = 0;
  absl::Status first_failure;
  v1::Reason first_reason = v1::REASON_UNSPECIFIED;

  void Add(const PutResult& result) {
    raw_bytes += result.raw_bytes;
    encoded_bytes += result.encoded_bytes;
    ++(result.status.ok() ? committed : failed);
    if (!result.status.ok() && first_failure.ok()) {
      first_failure = result.status;
      first_reason = result.reason;
    }
  }
};

// As a decode worker does: some tokens a call.
absl::StatusOr<AppendOutcome> AppendAll(OpenedSample& sample, uint32_t tokens_a_call, bool keep_tail,
                                        Progress* progress) {
  const auto source = SampleSource(sample.file);
  if (!source.ok()) return source.status();
  SequenceOptions options;
  options.parent = sample.blocks.front().parent;
  options.cache_salt = sample.salt;
  AppendOutcome out;
  const absl::Time start = absl::Now();
  auto sequence = sample.ns->OpenSequence(std::move(options));
  if (!sequence.ok()) return sequence.status();
  AppendBuffer buffer(*std::move(sequence));
  for (uint32_t first = 0; first < sample.file.tokens; first += tokens_a_call) {
    const uint32_t count = std::min(tokens_a_call, sample.file.tokens - first);
    const BlockPlace place{.buffer = &*source, .pages = {0}, .first_token = first};
    const auto appended = buffer.Append(std::span(sample.file.token_ids).subspan(first, count), place);
    if (!appended.ok()) return appended.status();
    for (const PutResult& result : appended->committed) out.Add(result);
    ++out.calls;
    progress->Update("tokens appended", first + count, sample.file.tokens);
  }
  const auto sealed = buffer.Seal(keep_tail);
  if (!sealed.ok()) return sealed.status();
  if (sealed->last.has_value()) out.Add(*sealed->last);
  out.tokens = sealed->tokens;
  out.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return out;
}

absl::Status Append(const CommandContext& context) {
  const auto tokens = context.args.Whole("tokens", 1, 1024);
  if (!tokens.ok()) return AsUsageError(tokens.status());
  auto sample = OpenSample(context, OwnDaemon::kStart);
  if (!sample.ok()) return sample.status();
  absl::StatusOr<AppendOutcome> outcome;
  {
    Progress progress(context.args, context.err);
    outcome = AppendAll(**sample, static_cast<uint32_t>(*tokens), context.args.Switch("tail"), &progress);
  }
  if (!outcome.ok()) return outcome.status();
  if (context.args.Switch("json")) {
    PrintJson({{"tokens", outcome->tokens},
               {"calls", outcome->calls},
               {"committed", outcome->committed},
               {"failed", outcome->failed},
               {"raw_bytes", outcome->raw_bytes},
               {"encoded_bytes", outcome->encoded_bytes},
               {"seconds", outcome->seconds}},
              context.out);
  } else {
    context.out << absl::StrFormat(
        "%u tokens in %u calls, %u blocks committed, %u failed; %u bytes became %u; %.3f s\n",
        outcome->tokens, outcome->calls, outcome->committed, outcome->failed, outcome->raw_bytes,
        outcome->encoded_bytes, outcome->seconds);
  }
  if (outcome->failed == 0) return absl::OkStatus();
  return FailedBlocks(outcome->failed, outcome->failed + outcome->committed, "committed",
                      outcome->first_failure, outcome->first_reason);
}

}  // namespace

Command AppendCommand() {
  return {.name = "append",
          .operands = "SAMPLE",
          .help = "stores a sample as a growing sequence, some tokens a call, and seals it",
          .flags = WithSampleFlags({{"tokens", "N", "tokens of one call, 1 to 1024", "8"}, ProgressFlag()}),
          .min_operands = 1,
          .max_operands = 1,
          .run = Append};
}

}  // namespace kvcompd::client
