// NamespaceHandle: all that can be done with the blocks of one namespace. Client::OpenNamespace gives it.
//
// Thread-safe. It may outlive its Client: calls under way then end with CANCELLED, Async calls are refused,
// and the others work on, but are tried only once.
//
//   std::vector<BlockKey> keys = ChainKeys(token_ids, ns->model().tokens_per_block);
//   auto match = ns->Match(keys, {.lease = true});
//   auto got = ns->GetBlocks(blocks, {.shard = shard, .lease_id = match->lease.id()});
//
// A daemon that restarted does not know the namespace; the handle then opens it again by itself (one thread
// does, the others wait for it) and repeats the call. epoch() tells a new store from the old one.
//
// Blocking calls block until their deadline at most. Calls about several blocks fail as a whole only where
// the daemon could not be asked; else every block has its own status.
#ifndef KVCOMPD_CLIENT_NAMESPACE_HANDLE_H_
#define KVCOMPD_CLIENT_NAMESPACE_HANDLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/get_stream.h"
#include "client/lease_guard.h"
#include "client/namespace_state.h"
#include "client/put_stream.h"
#include "client/sequence_writer.h"
#include "client/watch_reader.h"
#include "codec/base/model_descriptor.h"
#include "codec/codebook.h"

namespace kvcompd::client {

class NamespaceHandle {
 public:
  explicit NamespaceHandle(std::shared_ptr<NamespaceSession> session);
  ~NamespaceHandle();
  NamespaceHandle(const NamespaceHandle&) = delete;
  NamespaceHandle& operator=(const NamespaceHandle&) = delete;

  const ModelDescriptor& model() const;
  Fingerprint fingerprint() const;
  std::string id() const;
  uint64_t epoch() const;
  NamespaceState state() const;
  // Asks for policy, limits and codebook set again.
  absl::Status Refresh();

  // ---- Put and Get
  absl::StatusOr<std::vector<PutResult>> PutBlocks(std::span<const PutBlock> blocks,
                                                   const PutOptions& options);
  // Containers all of one shard, profile and codebook set, salted as options say. options.form and .profile
  // are not used.
  absl::StatusOr<std::vector<PutResult>> PutContainers(std::span<const PutContainer> blocks,
                                                       const PutOptions& options);
  absl::StatusOr<std::unique_ptr<PutStream>> OpenPut(std::vector<PutBlock> blocks, PutOptions options);
  absl::StatusOr<std::vector<GetResult>> GetBlocks(std::span<const GetBlock> blocks,
                                                   const GetOptions& options,
                                                   const LayerCallback& on_layer = nullptr);
  absl::StatusOr<std::unique_ptr<GetStream>> OpenGet(std::vector<GetBlock> blocks, GetOptions options);
  absl::StatusOr<std::vector<ContainersOfBlock>> GetContainers(std::span<const BlockKey> keys,
                                                               GetOptions options);

  // ---- keys. Results are one for each key, in order.
  absl::StatusOr<MatchResult> Match(std::span<const BlockKey> keys, const MatchOptions& options = {});
  absl::StatusOr<std::vector<bool>> Exists(std::span<const BlockKey> keys, const KeyOptions& options = {});
  absl::StatusOr<std::vector<bool>> Delete(std::span<const BlockKey> keys, const KeyOptions& options = {});
  absl::StatusOr<std::vector<BlockOutcome>> Prefetch(std::span<const BlockKey> keys,
                                                     const KeyOptions& options);
  absl::StatusOr<LeaseResult> Lease(std::span<const BlockKey> keys, const KeyOptions& options = {});
  absl::StatusOr<std::vector<BlockOutcome>> Pin(std::span<const BlockKey> keys,
                                                const KeyOptions& options = {});
  absl::StatusOr<std::vector<bool>> Unpin(std::span<const BlockKey> keys, const KeyOptions& options = {});

  // ---- sequences, events, codebooks
  absl::StatusOr<std::unique_ptr<SequenceWriter>> OpenSequence(SequenceOptions options);
  absl::StatusOr<std::unique_ptr<WatchReader>> Watch(WatchOptions options, WatchReader::Callback callback);
  // The set that new blocks are encoded with for a zero id. NOT_FOUND.
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> GetCodebooks(const Digest& id = {});
  absl::StatusOr<Digest> PutCodebooks(const codec::CodebookSet& set);

  // ---- the same on the client's threads (ClientOptions::async_threads). The callback runs there once;
  // memory that blocks name stays valid until it does. Deadlines count from here: a call whose turn comes too
  // late gets DEADLINE_EXCEEDED and the daemon is not asked. INVALID_ARGUMENT: no callback;
  // RESOURCE_EXHAUSTED: too many are waiting; CANCELLED: the client has gone. The callback is then not
  // called. Where the client goes while a call waits or runs, its callback gets CANCELLED, and so it does
  // where options.cancel says so. A callback must not destroy the Client.
  absl::Status AsyncPut(std::vector<PutBlock> blocks, PutOptions options,
                        std::function<void(absl::StatusOr<std::vector<PutResult>>)> done);
  absl::Status AsyncGet(std::vector<GetBlock> blocks, GetOptions options, LayerCallback on_layer,
                        std::function<void(absl::StatusOr<std::vector<GetResult>>)> done);
  absl::Status AsyncMatch(std::vector<BlockKey> keys, MatchOptions options,
                          std::function<void(absl::StatusOr<MatchResult>)> done);

 private:
  std::shared_ptr<NamespaceSession> session_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_NAMESPACE_HANDLE_H_
