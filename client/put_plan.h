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
#include "client/cancellation.h"
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
  // What this end encodes with; of containers that are ready, the set they name where it is at hand, for a
  // daemon that lacks it. Null: none.
  std::shared_ptr<const codec::CodebookSet> codebooks;
  Digest codebook_set;           // zero: the built-in one
  bool flush_each_layer = true;  // send what a layer has before the next one is computed
};

// INVALID_ARGUMENT, UNIMPLEMENTED (codec), what fetching codebooks says.
absl::StatusOr<PutPlan> MakePutPlan(NamespaceSession& session, const PutOptions& options,
                                    const Deadline& deadline, const std::shared_ptr<Cancellation>& cancel);
// The plan of containers that are ready, of which `first` is one.
absl::StatusOr<PutPlan> MakeContainerPlan(NamespaceSession& session, const PutOptions& options,
                                          const codec::BlockHeader& first);
// What the client puts right by itself, once each in one put: a daemon that has not got the codebook set gets
// it, and where the caller leaves the profile to the namespace, one that is no longer its policy's is asked
// for again.
class PutMender {
 public:
  // The session outlives it.
  PutMender(std::shared_ptr<NamespaceSession> session, const Deadline& deadline,
            std::shared_ptr<Cancellation> cancel);
  // Whether a block that was refused for this reason may be put again after Mend.
  bool CanMend(const PutPlan& plan, v1::Reason reason) const;
  // False: it changed nothing, and the refusal stands. What the daemon says where it cannot be asked.
  absl::StatusOr<bool> Mend(PutPlan* plan, v1::Reason reason);

 private:
  absl::Status Upload(const codec::CodebookSet& set);
  absl::StatusOr<bool> Replan(PutPlan* plan);

  const std::shared_ptr<NamespaceSession> session_;
  const Deadline deadline_;
  const std::shared_ptr<Cancellation> cancel_;
  bool uploaded_ = false;
  bool replanned_ = false;
};

// INVALID_ARGUMENT: none, a key twice, tokens out of range.
absl::Status CheckPutBlocks(const ModelDescriptor& model, std::span<const PutBlock> blocks);
// INVALID_ARGUMENT unless the buffer has the shard's heads, layers, dims and dtype, and the place fits.
absl::Status CheckBuffer(const AttentionGroup& group, const ShardRange& shard, const BlockPlace& place,
                         uint32_t tokens);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_PUT_PLAN_H_
