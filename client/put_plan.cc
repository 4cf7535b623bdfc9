#include "client/put_plan.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "client/unary_call.h"
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
                                    const Deadline& deadline, const std::shared_ptr<Cancellation>& cancel) {
  auto plan = CommonPlan(session, options);
  if (!plan.ok() || options.form == Form::kDecoded) return plan;
  auto profile = Profile::Parse(options.profile.empty() ? session.state().policy.profile() : options.profile);
  if (!profile.ok()) return profile.status();
  plan->profile = *profile;
  plan->codec = codec::FindCodec(profile->codec);
  if (plan->codec == nullptr) {
    return absl::UnimplementedError(absl::StrCat("this client has no codec for profile ", profile->Text()));
  }
  auto set = session.codebooks().Current(*profile, deadline, cancel);
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
  plan->codebooks = session.codebooks().Cached(first.codebook_set);
  return plan;
}

PutMender::PutMender(std::shared_ptr<NamespaceSession> session, const Deadline& deadline,
                     std::shared_ptr<Cancellation> cancel)
    : session_(std::move(session)), deadline_(deadline), cancel_(std::move(cancel)) {}

bool PutMender::CanMend(const PutPlan& plan, v1::Reason reason) const {
  if (plan.options.form != Form::kEncoded) return false;
  if (reason == v1::REASON_CODEBOOK_MISSING) {
    return !uploaded_ && plan.codebooks != nullptr && !plan.codebook_set.IsZero();
  }
  // Containers that are ready have no codec here, and cannot be encoded anew.
  return reason == v1::REASON_POLICY && !replanned_ && plan.codec != nullptr && plan.options.profile.empty();
}

absl::StatusOr<bool> PutMender::Mend(PutPlan* plan, v1::Reason reason) {
  if (reason == v1::REASON_POLICY) return Replan(plan);
  uploaded_ = true;
  if (auto s = Upload(*plan->codebooks); !s.ok()) return s;
  return true;
}

absl::Status PutMender::Upload(const codec::CodebookSet& set) {
  v1::PutCodebooksRequest request;
  v1::PutCodebooksResponse response;
  request.set_set(set.canonical_bytes());
  return CallUnary(session_, &v1::KvCache::Stub::PutCodebooks, "put codebooks", Repeat::kContention,
                   deadline_, cancel_, &request, &response);
}

absl::StatusOr<bool> PutMender::Replan(PutPlan* plan) {
  replanned_ = true;
  if (auto s = session_->Reopen(session_->state().opens, deadline_, cancel_); !s.ok()) return s;
  PutOptions options = plan->options;
  options.put_id = plan->put_id;
  auto now = MakePutPlan(*session_, options, deadline_, cancel_);
  if (!now.ok()) return now.status();
  if (now->profile == plan->profile) return false;
  now->flush_each_layer = plan->flush_each_layer;
  *plan = *std::move(now);
  return true;
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
