#include "client/put_plan.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "proto/convert.h"

namespace kvcompd::client {
namespace {

constexpr size_t kPutIdBytes = 16;

absl::StatusOr<PutPlan> CommonPlan(NamespaceSession& session, const PutOptions& options) {
  PutPlan plan;
  plan.options = options;
  auto shard = session.model().ResolveShard(options.shard);
  if (!shard.ok()) return shard.status();
  plan.shard = *shard;
  plan.group = *session.model().FindGroup(shard->group);
  if (options.cache_salt.size() > kMaxSaltBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cache_salt is longer than ", kMaxSaltBytes, " bytes"));
  }
  plan.put_id = options.put_id.empty() ? session.core().RandomBytes(kPutIdBytes) : options.put_id;
  if (plan.put_id.size() != kPutIdBytes) return absl::InvalidArgumentError("put_id is not 16 bytes");
  return plan;
}

}  // namespace

absl::StatusOr<PutPlan> MakePutPlan(NamespaceSession& session, const PutOptions& options,
                                    const Deadline& deadline) {
  auto plan = CommonPlan(session, options);
  if (!plan.ok() || options.form == Form::kDecoded) return plan;
  auto profile = Profile::Parse(options.profile.empty() ? session.state().policy.profile() : options.profile);
  if (!profile.ok()) return profile.status();
  plan->profile = *profile;
  plan->codec = codec::FindCodec(profile->codec);
  if (plan->codec == nullptr) {
    return absl::UnimplementedError(absl::StrCat("this client has no codec for profile ", profile->Text()));
  }
  auto set = session.codebooks().Current(*profile, deadline);
  if (!set.ok()) return set.status();
  plan->codebooks = *std::move(set);
  if (plan->codebooks != nullptr && !plan->codebooks->fingerprint().IsZero()) {
    plan->codebook_set = plan->codebooks->id();
  }
  return plan;
}

absl::StatusOr<PutPlan> MakeContainerPlan(NamespaceSession& session, const PutOptions& options,
                                          const codec::BlockHeader& first) {
  PutOptions as_stored = options;
  as_stored.form = Form::kEncoded;
  as_stored.shard = first.shard;
  auto plan = CommonPlan(session, as_stored);
  if (!plan.ok()) return plan;
  auto profile = Profile::Parse(first.profile);
  if (!profile.ok()) return profile.status();
  plan->profile = *profile;
  plan->codebook_set = first.codebook_set;
  return plan;
}

absl::Status CheckPutBlocks(const ModelDescriptor& model, std::span<const PutBlock> blocks) {
  if (blocks.empty()) return absl::InvalidArgumentError("a put names at least one block");
  absl::flat_hash_set<BlockKey> keys;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const PutBlock& block = blocks[i];
    if (block.key.empty()) return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "].key is empty"));
    if (block.tokens < 1 || block.tokens > model.tokens_per_block) {
      return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "].tokens is ", block.tokens,
                                                     ", outside 1 to ", model.tokens_per_block));
    }
    if (!keys.insert(block.key).second) {
      return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "].key is in the batch twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBuffer(const AttentionGroup& group, const ShardRange& shard, const BlockPlace& place,
                         uint32_t tokens) {
  if (place.buffer == nullptr) return absl::InvalidArgumentError("the place names no buffer");
  const PagedBuffer::Options& o = place.buffer->options();
  if (o.dtype != group.dtype || o.head_dim_k != group.head_dim_k || o.head_dim_v != group.head_dim_v) {
    return absl::InvalidArgumentError(
        "the buffer's dtype or head dimensions are not those of the model's group");
  }
  if (o.heads != shard.head_count || place.buffer->layers() != shard.layer_count) {
    return absl::InvalidArgumentError(absl::StrCat("the buffer has ", o.heads, " heads and ",
                                                   place.buffer->layers(), " layers, the shard ",
                                                   shard.head_count, " and ", shard.layer_count));
  }
  return place.buffer->CheckPlace(place, tokens);
}

}  // namespace kvcompd::client
