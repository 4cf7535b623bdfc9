// SequenceWriter: the growing KV of one sequence. AppendBuffer: the same, computing the block keys.
//
// Called by decode workers after each step or every few steps. One thread at a time.
//
//   auto seq = ns->OpenSequence({.parent = last_prefix_key, .shard = shard});
//   AppendBuffer buffer(std::move(*seq), tokens_per_block);
//   auto r = buffer.Append(token_ids, place);       // keys of the blocks that these tokens fill are computed
//   auto sealed = buffer.Seal(/*keep_tail=*/true);
//
// Append is idempotent by its first token and therefore repeated where the transport fails. A sequence does
// not survive the daemon: after a restart Append says NOT_FOUND, and the caller puts the blocks again.
#ifndef KVCOMPD_CLIENT_SEQUENCE_WRITER_H_
#define KVCOMPD_CLIENT_SEQUENCE_WRITER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/block_types.h"

namespace kvcompd::client {

class NamespaceSession;

struct SequenceOptions {
  BlockKey parent;  // of the block before the first appended token; empty at a text's start
  ShardRange shard;
  uint32_t ttl_ms = 0;  // since the last Append; 0: the daemon's default
  std::string cache_salt;
  uint32_t deadline_ms = 0;  // of one call; 0: CallDeadlines::append_ms
};

struct AppendResult {
  uint64_t tokens = 0;  // held by the sequence, committed ones included
  uint64_t committed_tokens = 0;
  std::vector<PutResult> committed;  // blocks that this append filled
};

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
  // in order. Cut into messages that the daemon takes. FAILED_PRECONDITION: a gap.
  absl::StatusOr<AppendResult> Append(uint64_t first_token, uint32_t tokens,
                                      std::span<const BlockKey> block_keys, const BlockPlace& source);
  // Ends the sequence. last_key: of the shorter last block; empty: the tail is dropped.
  absl::StatusOr<SealResult> Seal(const BlockKey& last_key);

 private:
  SequenceWriter() = default;
  absl::StatusOr<AppendResult> AppendPiece(uint64_t first_token, uint32_t tokens,
                                           std::span<const BlockKey> block_keys, const BlockPlace& source);
  std::shared_ptr<NamespaceSession> session_;
  SequenceOptions options_;
  std::string handle_;
  uint32_t ttl_ms_ = 0;
};

class AppendBuffer {
 public:
  // extra_keys as ChainHash takes them.
  AppendBuffer(std::unique_ptr<SequenceWriter> sequence, std::vector<std::string> extra_keys = {});

  // The next tokens; where it fails nothing is taken, and the same tokens may be appended again.
  absl::StatusOr<AppendResult> Append(std::span<const uint32_t> token_ids, const BlockPlace& source);
  absl::StatusOr<SealResult> Seal(bool keep_tail);
  uint64_t tokens() const { return tokens_; }
  const std::vector<BlockKey>& keys() const { return keys_; }  // of the full blocks so far
  SequenceWriter& sequence() { return *sequence_; }

 private:
  std::unique_ptr<SequenceWriter> sequence_;
  std::vector<std::string> extra_keys_;
  uint64_t tokens_ = 0;
  BlockKey parent_;
  std::vector<uint32_t> tail_ids_;  // fewer than a block
  std::vector<BlockKey> keys_;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_SEQUENCE_WRITER_H_
