// SequenceTable: growing KV of sequences. A sequence is known by a handle, belongs to one worker's shard, and
// keeps the raw rows of one open block (its tail); the service encodes and commits the tail when it is full.
//
// A sealed sequence is remembered until its TTL ends, without memory for a tail, so that a Seal whose answer
// was lost can be repeated.
//
// Called by the service's OpenSequence, Append, Seal and Get. Thread-safe. A SequenceLock gives one caller
// the sequence for itself and may be handed from thread to thread; while it lives the sequence does not
// expire.
//
//   auto seq = table.Acquire(*ns, handle);
//   do {                                          // the same call again goes on where the tail was full
//     if (auto copied = seq->Append(first_token, tokens, data); !copied.ok()) return copied.status();
//     if (seq->tail_full()) { encode seq->TailRows(layer, tensor), commit; seq->TailCommitted(block); }
//   } while (seq->tokens() < first_token + tokens);
//   seq.Renew();
#ifndef KVCOMPD_SERVER_STORE_SEQUENCE_TABLE_H_
#define KVCOMPD_SERVER_STORE_SEQUENCE_TABLE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/base/clock.h"
#include "codec/base/mutex.h"
#include "codec/base/types.h"
#include "server/ops/metrics.h"
#include "server/store/store.h"

namespace kvcompd::server {

class SequenceTable;

// A block that a sequence brought into the store.
struct SequenceBlock {
  BlockKey key;
  Generation generation;
  uint64_t encoded_bytes = 0;
  uint64_t raw_bytes = 0;
  bool already_stored = false;
};

// How a sequence ended. Empty `last`: its tail was empty or dropped.
struct SealRecord {
  BlockKey last_key;  // as asked for
  std::optional<SequenceBlock> last;
  uint64_t tokens = 0;
};

// One sequence; only its holder touches it.
class Sequence {
 public:
  Sequence(std::shared_ptr<Namespace> ns, const BlockKey& parent, const ShardRange& shard, Store* store);

  const std::shared_ptr<Namespace>& ns() const { return ns_; }
  const BlockKey& parent() const { return parent_; }  // of the open block: the last one committed
  const ShardRange& shard() const { return shard_; }
  uint64_t committed_tokens() const { return committed_tokens_; }
  uint32_t tail_tokens() const { return tail_tokens_; }
  uint64_t tokens() const { return committed_tokens_ + tail_tokens_; }
  bool tail_full() const { return tail_tokens_ == tokens_per_block(); }
  uint32_t tokens_per_block() const { return ns_->descriptor().tokens_per_block; }
  uint64_t tail_bytes() const;  // of a whole block's rows

  // Copies rows into the tail until it is full, and says how many. `data` is, for each layer of the shard, K
  // then V (where there is one): [heads, tokens, channels] of tokens first_token on. Tokens held already are
  // skipped, whatever they bring. FAILED_PRECONDITION (Reason::kGap): first_token is past the end;
  // INVALID_ARGUMENT: the length of data; RESOURCE_EXHAUSTED (quota or memory): no room for the tail. Nothing
  // is changed by an error; *reason says why.
  absl::StatusOr<uint32_t> Append(uint64_t first_token, uint32_t tokens, ByteSpan data, Reason* reason);
  // One layer's K or V of the tail, [heads, tokens_per_block, channels]; the first tail_tokens() rows of each
  // head hold. layer_index counts within the shard. Empty while nothing was appended, and for a V that is
  // not.
  ByteSpan TailRows(uint32_t layer_index, Tensor tensor) const;
  // The tail is a block of its own now: the next one begins.
  void TailCommitted(const SequenceBlock& block);
  // Of the block with this number, counted from the sequence's start; null where it is not remembered.
  const SequenceBlock* Committed(uint64_t block) const;
  // Blocks before this one will not be asked for again.
  void ForgetBefore(uint64_t block);

  const std::optional<SealRecord>& sealed() const { return sealed_; }
  void Seal(SealRecord record);  // frees the tail

 private:
  // Of one append, so that its answer can be given again. An append that fills more is not told of the first.
  static constexpr size_t kMaxRemembered = 1024;

  friend class SequenceTable;
  const AttentionGroup& group() const { return *group_; }
  uint64_t RowBytes(Tensor tensor) const;
  uint64_t TailOffset(uint32_t layer_index, Tensor tensor) const;
  void CopyRows(ByteSpan data, uint32_t data_tokens, uint32_t skip, uint32_t rows);

  const std::shared_ptr<Namespace> ns_;
  const AttentionGroup* const group_;  // of ns_'s descriptor
  const ShardRange shard_;
  Store* const store_;
  BlockKey parent_;
  uint64_t committed_tokens_ = 0;
  uint32_t tail_tokens_ = 0;
  ChargedSlot tail_;               // taken by the first append
  uint64_t first_remembered_ = 0;  // number of the first of blocks_
  std::deque<SequenceBlock> blocks_;
  std::optional<SealRecord> sealed_;

  // Under SequenceTable's lock.
  uint32_t ttl_ms_ = 0;
  int64_t expires_us_ = 0;
  bool held_ = false;
  bool counted_sealed_ = false;  // it stands in the table's list of sealed ones
};

// Holds a sequence. Move-only.
class SequenceLock {
 public:
  SequenceLock(SequenceLock&& other) noexcept;
  SequenceLock& operator=(SequenceLock&&) = delete;
  ~SequenceLock();  // lets go
  Sequence* operator->() const { return sequence_.get(); }
  Sequence& operator*() const { return *sequence_; }
  // The TTL counts from when this lock lets go; without it, from before.
  void Renew() { renew_ = true; }

 private:
  friend class SequenceTable;
  SequenceLock(SequenceTable* table, std::string handle, std::shared_ptr<Sequence> sequence);
  SequenceTable* table_;
  std::string handle_;
  std::shared_ptr<Sequence> sequence_;
  bool renew_ = false;
};

class SequenceTable {
 public:
  struct Options {
    uint32_t max_sequences = 16'384;  // sealed ones that are remembered included; they give way
    uint32_t default_ttl_ms = 60'000;
    uint32_t max_ttl_ms = 3'600'000;
    absl::Status Validate() const;
  };
  // All of them must outlive the table, and the table its locks.
  SequenceTable(const Options& options, Store* store, const Clock* clock, Metrics* metrics);
  SequenceTable(const SequenceTable&) = delete;
  SequenceTable& operator=(const SequenceTable&) = delete;

  struct Opened {
    std::string handle;  // 16 bytes
    uint32_t ttl_ms = 0;
  };
  // shard: resolved. ttl_ms 0: the default. INVALID_ARGUMENT: the shard is not of the namespace's model;
  // RESOURCE_EXHAUSTED: max_sequences.
  absl::StatusOr<Opened> Open(const std::shared_ptr<Namespace>& ns, const BlockKey& parent,
                              const ShardRange& shard, uint32_t ttl_ms);
  // NOT_FOUND: unknown, expired or of another namespace; ABORTED: another call holds it.
  absl::StatusOr<SequenceLock> Acquire(const Namespace& ns, const std::string& handle);
  // Ends those whose TTL is over.
  void Tick();
  size_t size() const;  // open ones
  const Options& options() const { return options_; }

 private:
  friend class SequenceLock;
  void Release(const std::string& handle, Sequence* sequence, bool renew);
  bool ForgetSealed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // one; false: there is none

  const Options options_;
  Store* const store_;
  const Clock* const clock_;
  prometheus::Counter* const refused_;
  prometheus::Counter* const expired_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Sequence>> sequences_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> sealed_
      ABSL_GUARDED_BY(mutex_);                      // handles, in order; expired ones may be among them
  size_t sealed_live_ ABSL_GUARDED_BY(mutex_) = 0;  // of sequences_
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_SEQUENCE_TABLE_H_
