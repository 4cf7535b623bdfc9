#include "client/namespace_handle.h"

#include <utility>

#include "client/async_call.h"
#include "client/key_calls.h"
#include "client/namespace_session.h"
#include "client/unary_call.h"

namespace kvcompd::client {
NamespaceHandle::NamespaceHandle(std::shared_ptr<NamespaceSession> session) : session_(std::move(session)) {}
NamespaceHandle::~NamespaceHandle() = default;

const ModelDescriptor& NamespaceHandle::model() const { return session_->model(); }
Fingerprint NamespaceHandle::fingerprint() const { return session_->fingerprint(); }
std::string NamespaceHandle::id() const { return session_->state().id; }
uint64_t NamespaceHandle::epoch() const { return session_->state().epoch; }
NamespaceState NamespaceHandle::state() const { return session_->state(); }

absl::Status NamespaceHandle::Refresh() {
  const Deadline deadline = session_->core().DeadlineOf(0, session_->core().options().deadlines.open_ms);
  return session_->Reopen(session_->state().opens, deadline, /*cancel=*/nullptr);
}

absl::StatusOr<std::vector<PutResult>> NamespaceHandle::PutBlocks(std::span<const PutBlock> blocks,
                                                                  const PutOptions& options) {
  return client::PutBlocks(session_, blocks, options, PutDeadline(*session_, options));
}

absl::StatusOr<std::vector<PutResult>> NamespaceHandle::PutContainers(std::span<const PutContainer> blocks,
                                                                      const PutOptions& options) {
  return client::PutContainers(session_, blocks, options);
}

absl::StatusOr<std::unique_ptr<PutStream>> NamespaceHandle::OpenPut(std::vector<PutBlock> blocks,
                                                                    PutOptions options) {
  return PutStream::Open(session_, std::move(blocks), std::move(options));
}

absl::StatusOr<std::vector<GetResult>> NamespaceHandle::GetBlocks(std::span<const GetBlock> blocks,
                                                                  const GetOptions& options,
                                                                  const LayerCallback& on_layer) {
  return client::GetBlocks(session_, blocks, options, GetDeadline(*session_, options), on_layer);
}

absl::StatusOr<std::unique_ptr<GetStream>> NamespaceHandle::OpenGet(std::vector<GetBlock> blocks,
                                                                    GetOptions options) {
  return GetStream::Open(session_, std::move(blocks), std::move(options));
}

absl::StatusOr<std::vector<ContainersOfBlock>> NamespaceHandle::GetContainers(std::span<const BlockKey> keys,
                                                                              GetOptions options) {
  return client::GetContainers(session_, keys, std::move(options));
}

absl::StatusOr<MatchResult> NamespaceHandle::Match(std::span<const BlockKey> keys,
                                                   const MatchOptions& options) {
  return MatchKeys(session_, keys, options, LookupDeadline(*session_, options.deadline_ms));
}

absl::StatusOr<std::vector<bool>> NamespaceHandle::Exists(std::span<const BlockKey> keys,
                                                          const KeyOptions& options) {
  return KeysExist(session_, keys, options);
}

absl::StatusOr<std::vector<bool>> NamespaceHandle::Delete(std::span<const BlockKey> keys,
                                                          const KeyOptions& options) {
  return DeleteKeys(session_, keys, options);
}

absl::StatusOr<std::vector<BlockOutcome>> NamespaceHandle::Prefetch(std::span<const BlockKey> keys,
                                                                    const KeyOptions& options) {
  return PrefetchKeys(session_, keys, options);
}

absl::StatusOr<LeaseResult> NamespaceHandle::Lease(std::span<const BlockKey> keys,
                                                   const KeyOptions& options) {
  return LeaseKeys(session_, keys, options);
}

absl::StatusOr<std::vector<BlockOutcome>> NamespaceHandle::Pin(std::span<const BlockKey> keys,
                                                               const KeyOptions& options) {
  return PinKeys(session_, keys, options);
}

absl::StatusOr<std::vector<bool>> NamespaceHandle::Unpin(std::span<const BlockKey> keys,
                                                         const KeyOptions& options) {
  return UnpinKeys(session_, keys, options);
}

absl::StatusOr<std::unique_ptr<SequenceWriter>> NamespaceHandle::OpenSequence(SequenceOptions options) {
  return SequenceWriter::Open(session_, std::move(options));
}

absl::StatusOr<std::unique_ptr<WatchReader>> NamespaceHandle::Watch(WatchOptions options,
                                                                    WatchReader::Callback callback) {
  return WatchReader::Start(session_, options, std::move(callback));
}

absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> NamespaceHandle::GetCodebooks(const Digest& id) {
  const Deadline deadline = session_->core().DeadlineOf(0, session_->core().options().deadlines.lookup_ms);
  auto bytes = session_->FetchCodebooks(id.IsZero() ? "" : std::string(id.view()), deadline, nullptr);
  if (!bytes.ok()) return bytes.status();
  auto set = codec::CodebookSet::Parse(*bytes);
  if (!set.ok()) return set.status();
  if (!id.IsZero() && (*set)->id() != id) {
    return absl::DataLossError("the daemon sent another codebook set than the one asked for");
  }
  session_->codebooks().Add(*set);
  return set;
}

absl::StatusOr<Digest> NamespaceHandle::PutCodebooks(const codec::CodebookSet& set) {
  v1::PutCodebooksRequest request;
  v1::PutCodebooksResponse response;
  request.set_set(set.canonical_bytes());
  const Deadline deadline = session_->core().DeadlineOf(0, session_->core().options().deadlines.lookup_ms);
  if (auto s = CallUnary(session_, &v1::KvCache::Stub::PutCodebooks, "put codebooks", Repeat::kTransport,
                         deadline, /*cancel=*/nullptr, &request, &response);
      !s.ok()) {
    return s;
  }
  if (response.set_id() != set.id().view())
    return absl::DataLossError("the daemon computes another id for the set");
  return set.id();
}

absl::Status NamespaceHandle::AsyncPut(std::vector<PutBlock> blocks, PutOptions options,
                                       std::function<void(absl::StatusOr<std::vector<PutResult>>)> done) {
  const Deadline deadline = PutDeadline(*session_, options);
  const auto cancel = options.cancel;
  return SubmitCall(
      session_->core(), deadline, cancel, std::move(done),
      [session = session_, blocks = std::move(blocks), options = std::move(options)](const Deadline& until) {
        return client::PutBlocks(session, blocks, options, until);
      });
}

absl::Status NamespaceHandle::AsyncGet(std::vector<GetBlock> blocks, GetOptions options,
                                       LayerCallback on_layer,
                                       std::function<void(absl::StatusOr<std::vector<GetResult>>)> done) {
  const Deadline deadline = GetDeadline(*session_, options);
  const auto cancel = options.cancel;
  return SubmitCall(session_->core(), deadline, cancel, std::move(done),
                    [session = session_, blocks = std::move(blocks), options = std::move(options),
                     on_layer = std::move(on_layer)](const Deadline& until) {
                      return client::GetBlocks(session, blocks, options, until, on_layer);
                    });
}

absl::Status NamespaceHandle::AsyncMatch(std::vector<BlockKey> keys, MatchOptions options,
                                         std::function<void(absl::StatusOr<MatchResult>)> done) {
  const Deadline deadline = LookupDeadline(*session_, options.deadline_ms);
  const auto cancel = options.cancel;
  return SubmitCall(session_->core(), deadline, cancel, std::move(done),
                    [session = session_, keys = std::move(keys), options = std::move(options)](
                        const Deadline& until) { return MatchKeys(session, keys, options, until); });
}

}  // namespace kvcompd::client
