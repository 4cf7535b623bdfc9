// PutPlan: what all blocks of a Put have in common, checked and resolved against the namespace's model.
//
// Internal to the client. Plain values.
#ifndef KVCOMPD_CLIENT_PUT_PLAN_H_
#define KVCOMPD_CLIENT_PUT_PLAN_H_

#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/namespace_session.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/codec.h"
#include "codec/container.h"

namespace kvcompd::client {

struct PutPlan {
  PutOptions options;
  ShardRange shard;  // resolved
  AttentionGroup group;
  std::string put_id;
  // kEncoded only:
  Profile profile;
  const codec::Codec* codec = nullptr;
  std::shared_ptr<const codec::CodebookSet> codebooks;  // null: none, or containers that are ready
  Digest codebook_set;                                  // zero: the built-in one
  bool flush_each_layer = true;  // send what a layer has before the next one is computed
};

// INVALID_ARGUMENT, UNIMPLEMENTED (codec), what fetching codebooks says.
absl::StatusOr<PutPlan> MakePutPlan(NamespaceSession& session, const PutOptions& options,
                                    const Deadline& deadline);
// The plan of containers that are ready, of which `first` is one.
absl::StatusOr<PutPlan> MakeContainerPlan(NamespaceSession& session, const PutOptions& options,
                                          const codec::BlockHeader& first);
// INVALID_ARGUMENT: none, a key twice, tokens out of range.
absl::Status CheckPutBlocks(const ModelDescriptor& model, std::span<const PutBlock> blocks);
// INVALID_ARGUMENT unless the buffer has the shard's heads, layers, dims and dtype, and the place fits.
absl::Status CheckBuffer(const AttentionGroup& group, const ShardRange& shard, const BlockPlace& place,
                         uint32_t tokens);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_PUT_PLAN_H_
