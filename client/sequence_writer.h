// SequenceWriter: the growing KV of one sequence. AppendBuffer: the same, computing the block keys.
//
// Called by decode workers after each step or every few steps. One thread at a time.
//
//   auto seq = ns->OpenSequence({.parent = last_prefix_key, .shard = shard});
//   AppendBuffer buffer(std::move(*seq), tokens_per_block);
//   auto r = buffer.Append(token_ids, place);       // keys of the blocks that these tokens fill are computed
//   auto sealed = buffer.Seal(/*keep_tail=*/true);
//
// Append is idempotent by its first token and therefore repeated where the transport fails, and so is Seal. A
// sequence does not survive the daemon: after a restart Append says NOT_FOUND, and the caller puts the blocks
// again.
#ifndef KVCOMPD_CLIENT_SEQUENCE_WRITER_H_
#define KVCOMPD_CLIENT_SEQUENCE_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"
#include "client/cancellation.h"
#include "client/retry.h"

namespace kvcompd::client {

class NamespaceSession;

struct SequenceOptions {
  BlockKey parent;  // of the block before the first appended token; empty at a text's start
  ShardRange shard;
  uint32_t ttl_ms = 0;  // since the last Append; 0: the daemon's default
  std::string cache_salt;
  uint32_t deadline_ms = 0;              // of one call as a whole; 0: CallDeadlines::append_ms
  std::shared_ptr<Cancellation> cancel;  // of all calls of the sequence; may be null
};

struct AppendResult {
  uint64_t tokens = 0;  // held by the sequence, committed ones included
  uint64_t committed_tokens = 0;
  // Blocks that this append filled; already_stored where an earlier attempt committed them.
  std::vector<PutResult> committed;
};

using AppendDone = std::function<void(absl::StatusOr<AppendResult>)>;

struct SealResult {
  std::optional<PutResult> last;  // nothing where the tail was empty or dropped
  uint64_t tokens = 0;
};

class SequenceWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SequenceWriter>> Open(std::shared_ptr<NamespaceSession> session,
                                                              SequenceOptions options);
  const std::string& handle() const { return handle_; }  // for GetOptions::sequence
  uint32_t ttl_ms() const { return ttl_ms_; }
  const SequenceOptions& options() const { return options_; }
  uint32_t tokens_per_block() const;

  // Tokens [first_token, first_token + tokens) of the sequence. block_keys: of the blocks that end in them,
  // in order. Cut into messages that the daemon takes, so where it fails the daemon may hold a part of them:
  // the same tokens again make that good. FAILED_PRECONDITION: a gap.
  absl::StatusOr<AppendResult> Append(uint64_t first_token, uint32_t tokens,
                                      std::span<const BlockKey> block_keys, const BlockPlace& source);
  // The same on the client's threads, as NamespaceHandle's Async calls. The writer outlives it, and nothing
  // else is called until `done` is.
  absl::Status AsyncAppend(uint64_t first_token, uint32_t tokens, std::vector<BlockKey> block_keys,
                           BlockPlace source, AppendDone done);
  // Tokens that the daemon may hold: the end of the last message sent, whatever became of it.
  uint64_t sent_tokens() const { return sent_tokens_; }
  // Ends the sequence. last_key: of the shorter last block; empty: the tail is dropped. tokens, with a
  // last_key: of the whole sequence; FAILED_PRECONDITION where the daemon holds more or fewer.
  absl::StatusOr<SealResult> Seal(const BlockKey& last_key, uint64_t tokens);

 private:
  friend class AppendBuffer;
  SequenceWriter() = default;
  Deadline CallDeadline() const;
  absl::StatusOr<AppendResult> AppendUntil(uint64_t first_token, uint32_t tokens,
                                           std::span<const BlockKey> block_keys, const BlockPlace& source,
                                           const Deadline& deadline);
  absl::StatusOr<AppendResult> AppendPiece(uint64_t first_token, uint32_t tokens,
                                           std::span<const BlockKey> block_keys, const BlockPlace& source,
                                           const Deadline& deadline);
  std::shared_ptr<NamespaceSession> session_;
  SequenceOptions options_;
  std::string handle_;
  uint32_t ttl_ms_ = 0;
  uint64_t sent_tokens_ = 0;
};

class AppendBuffer {
 public:
  // extra_keys as ChainHash takes them.
  explicit AppendBuffer(std::unique_ptr<SequenceWriter> sequence, std::vector<std::string> extra_keys = {});

  // The next tokens. Where it fails the daemon may hold some of them: the next Append must start with those
  // (pending_tokens), same ids and same values, and may go on after them; FAILED_PRECONDITION else.
  absl::StatusOr<AppendResult> Append(std::span<const uint32_t> token_ids, const BlockPlace& source);
  // The same on the client's threads. The buffer and the memory outlive it; until `done` is called, Append
  // and Seal are FAILED_PRECONDITION. `done` may start the next one.
  absl::Status AsyncAppend(std::vector<uint32_t> token_ids, BlockPlace source, AppendDone done);
  // keep_tail: commits the tail as a shorter last block; FAILED_PRECONDITION where tokens are pending. Else
  // it is dropped, and what is pending with it. May be called again where it fails.
  absl::StatusOr<SealResult> Seal(bool keep_tail);
  uint64_t tokens() const { return tokens_; }  // of the Appends that succeeded
  size_t pending_tokens() const { return pending_ids_.size(); }
  const std::vector<BlockKey>& keys() const { return keys_; }  // of the full blocks so far
  SequenceWriter& sequence() { return *sequence_; }

 private:
  absl::Status CheckNext(std::span<const uint32_t> token_ids) const;
  absl::StatusOr<AppendResult> AppendUntil(std::span<const uint32_t> token_ids, const BlockPlace& source,
                                           const Deadline& deadline);

  std::unique_ptr<SequenceWriter> sequence_;
  std::vector<std::string> extra_keys_;
  std::atomic<bool> busy_{false};  // an AsyncAppend is under way
  uint64_t tokens_ = 0;
  BlockKey parent_;
  std::vector<uint32_t> tail_ids_;     // fewer than a block
  std::vector<uint32_t> pending_ids_;  // of a failed Append, as many as were sent
  std::vector<BlockKey> keys_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_SEQUENCE_WRITER_H_
