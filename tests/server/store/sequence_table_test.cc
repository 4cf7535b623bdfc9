#include "server/store/sequence_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

constexpr uint32_t kChannels = 8;
constexpr ShardRange kShard{0, 1, 2, 0, 2};  // heads 1 and 2 of both layers

// What every element of a row holds: its place, so that a row at a wrong place is seen.
uint16_t Value(uint32_t layer, Tensor tensor, uint32_t head, uint64_t token, uint32_t channel) {
  return static_cast<uint16_t>((((layer * 2 + (tensor == Tensor::kV)) * 2 + head) * 1000 + token) * 8 +
                               channel);
}

// Rows of `tokens` tokens from first_token on, as Append takes them.
std::string Rows(uint64_t first_token, uint32_t tokens) {
  std::string data;
  for (uint32_t layer = 0; layer < 2; ++layer) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      for (uint32_t head = 0; head < 2; ++head) {
        for (uint64_t token = first_token; token < first_token + tokens; ++token) {
          for (uint32_t channel = 0; channel < kChannels; ++channel) {
            const uint16_t value = Value(layer, tensor, head, token, channel);
            data.append(reinterpret_cast<const char*>(&value), sizeof value);
          }
        }
      }
    }
  }
  return data;
}

class SequenceTableTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    table_ = std::make_unique<SequenceTable>(SequenceTable::Options{.max_sequences = 3}, store_.get(),
                                             &clock_, &metrics_);
    handle_ = table_->Open(ns_, BlockKey(), kShard, 0).value().handle;
  }
  void TearDown() override { table_.reset(); }

  absl::StatusOr<SequenceLock> Lock() { return table_->Acquire(*ns_, handle_); }
  absl::StatusOr<uint32_t> Append(Sequence& seq, uint64_t first_token, uint32_t tokens) {
    const std::string data = Rows(first_token, tokens);
    return seq.Append(first_token, tokens, AsBytes(data), &reason_);
  }
  // The tail holds the rows of the tokens it says.
  static void ExpectTail(const Sequence& seq) {
    for (uint32_t layer = 0; layer < 2; ++layer) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const ByteSpan rows = seq.TailRows(layer, tensor);
        ASSERT_EQ(rows.size(), 2u * 64 * kChannels * 2);
        for (uint32_t head = 0; head < 2; ++head) {
          for (uint32_t t = 0; t < seq.tail_tokens(); ++t) {
            for (uint32_t channel = 0; channel < kChannels; ++channel) {
              uint16_t value = 0;
              std::memcpy(&value, rows.data() + ((head * 64 + t) * kChannels + channel) * 2, 2);
              ASSERT_EQ(value, Value(layer, tensor, head, seq.committed_tokens() + t, channel));
            }
          }
        }
      }
    }
  }

  std::unique_ptr<SequenceTable> table_;
  std::string handle_;
  Reason reason_ = Reason::kNone;
};

TEST_F(SequenceTableTest, AppendsFillBlocks) {
  auto seq = Lock();
  ASSERT_TRUE(seq.ok()) << seq.status();
  EXPECT_TRUE((*seq)->TailRows(0, Tensor::kK).empty());
  const std::string data = Rows(0, 150);
  uint32_t blocks = 0;
  while ((*seq)->tokens() < 150) {
    auto copied = (*seq)->Append(0, 150, AsBytes(data), &reason_);
    ASSERT_TRUE(copied.ok()) << copied.status();
    ASSERT_GT(*copied, 0u);
    ExpectTail(**seq);
    if ((*seq)->tail_full()) (*seq)->TailCommitted({.key = TestKey(++blocks)});
  }
  EXPECT_EQ(blocks, 2u);
  EXPECT_EQ((*seq)->committed_tokens(), 128u);
  EXPECT_EQ((*seq)->tail_tokens(), 22u);
  EXPECT_EQ((*seq)->parent(), TestKey(2));
  ASSERT_NE((*seq)->Committed(0), nullptr);
  EXPECT_EQ((*seq)->Committed(0)->key, TestKey(1));
  EXPECT_EQ((*seq)->Committed(1)->key, TestKey(2));
  EXPECT_EQ((*seq)->Committed(2), nullptr);
  (*seq)->ForgetBefore(1);
  EXPECT_EQ((*seq)->Committed(0), nullptr);
  EXPECT_EQ((*seq)->Committed(1)->key, TestKey(2));
}

TEST_F(SequenceTableTest, AppendIsIdempotentByFirstToken) {
  auto seq = Lock();
  ASSERT_TRUE(seq.ok());
  EXPECT_EQ(Append(**seq, 0, 10).value(), 10u);
  EXPECT_EQ(Append(**seq, 0, 10).value(), 0u);
  EXPECT_EQ(Append(**seq, 5, 10).value(), 5u);  // five overlap
  EXPECT_EQ(Append(**seq, 3, 2).value(), 0u);
  EXPECT_EQ((*seq)->tokens(), 15u);
  ExpectTail(**seq);
}

TEST_F(SequenceTableTest, AGapIsRefused) {
  auto seq = Lock();
  ASSERT_TRUE(seq.ok());
  EXPECT_EQ(Append(**seq, 1, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(reason_, Reason::kGap);
  EXPECT_EQ(Append(**seq, 0, 4).value(), 4u);
  EXPECT_EQ(Append(**seq, 5, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*seq)->tokens(), 4u);
}

TEST_F(SequenceTableTest, AFullTailTakesNothing) {
  auto seq = Lock();
  ASSERT_TRUE(seq.ok());
  EXPECT_EQ(Append(**seq, 0, 100).value(), 64u);
  EXPECT_EQ(Append(**seq, 0, 100).value(), 0u);
  EXPECT_TRUE((*seq)->tail_full());
  ExpectTail(**seq);
}

TEST_F(SequenceTableTest, TheLengthOfDataIsChecked) {
  auto seq = Lock();
  ASSERT_TRUE(seq.ok());
  std::string data = Rows(0, 4);
  data.pop_back();
  EXPECT_EQ((*seq)->Append(0, 4, AsBytes(data), &reason_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*seq)->Append(0, UINT32_MAX, AsBytes(data), &reason_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->stats().tail_bytes, 0u);
}

TEST_F(SequenceTableTest, TailsAreChargedAndFreed) {
  {
    auto seq = Lock();
    ASSERT_TRUE(seq.ok());
    ASSERT_TRUE(Append(**seq, 0, 1).ok());
    EXPECT_EQ((*seq)->tail_bytes(), 2u * 2 * 2 * 64 * kChannels * 2);
    EXPECT_EQ(store_->stats().tail_bytes, (*seq)->tail_bytes());
    ExpectBalanced();
    (*seq)->Seal({.tokens = 0});
    seq->Renew();
    ExpectEmpty();
  }
  EXPECT_EQ(table_->size(), 0u);
}

TEST_F(SequenceTableTest, ASealedOneIsRememberedUntilItsTtlEnds) {
  {
    auto seq = Lock();
    ASSERT_TRUE(Append(**seq, 0, 3).ok());
    (*seq)->Seal({.last_key = TestKey(9), .tokens = 3});
    seq->Renew();
  }
  AdvanceMs(59'999);
  table_->Tick();
  {
    auto seq = Lock();
    ASSERT_TRUE(seq.ok()) << seq.status();
    ASSERT_TRUE((*seq)->sealed().has_value());
    EXPECT_EQ((*seq)->sealed()->last_key, TestKey(9));
    EXPECT_EQ((*seq)->sealed()->tokens, 3u);
    EXPECT_EQ(Append(**seq, 3, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  AdvanceMs(1);
  table_->Tick();
  EXPECT_EQ(Lock().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(metrics_.Value("kvcompd_sequences_expired_total"), 0) << "it had ended by its seal";
}

TEST_F(SequenceTableTest, SealedOnesGiveWay) {
  (*Lock())->Seal({});
  EXPECT_TRUE(table_->Open(ns_, BlockKey(), kShard, 0).ok());
  EXPECT_TRUE(table_->Open(ns_, BlockKey(), kShard, 0).ok());
  EXPECT_EQ(table_->size(), 2u);
  EXPECT_TRUE(Lock().ok());
  EXPECT_TRUE(table_->Open(ns_, BlockKey(), kShard, 0).ok());
  EXPECT_EQ(Lock().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(table_->Open(ns_, BlockKey(), kShard, 0).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(table_->size(), 3u);
}

TEST_F(SequenceTableTest, WithoutMemoryNothingChanges) {
  auto hold = Begin(TestKey(1), {.bytes = kMiB});
  ASSERT_EQ(hold.verdict, PutVerdict::kWanted);
  auto seq = Lock();
  ASSERT_TRUE(seq.ok());
  EXPECT_EQ(Append(**seq, 0, 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*seq)->tokens(), 0u);
  hold.staging.reset();
  EXPECT_EQ(Append(**seq, 0, 1).value(), 1u);
}

TEST_F(SequenceTableTest, OneHolderAtATime) {
  {
    auto first = Lock();
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(Lock().status().code(), absl::StatusCode::kAborted);
    ASSERT_TRUE(Append(**first, 0, 7).ok());
  }
  auto second = Lock();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->tokens(), 7u);
}

TEST_F(SequenceTableTest, ExpiresAfterItsLastAppend) {
  AdvanceMs(59'999);
  table_->Tick();
  {
    auto seq = Lock();
    ASSERT_TRUE(seq.ok());
    ASSERT_TRUE(Append(**seq, 0, 1).ok());
    AdvanceMs(100'000);
    table_->Tick();  // held: it stays
    EXPECT_EQ(Append(**seq, 1, 1).value(), 1u);
    EXPECT_EQ(Lock().status().code(), absl::StatusCode::kAborted);
    seq->Renew();
  }
  AdvanceMs(59'999);
  EXPECT_TRUE(Lock().ok());  // which does not renew it
  AdvanceMs(1);
  EXPECT_EQ(Lock().status().code(), absl::StatusCode::kNotFound);  // before any Tick
  EXPECT_EQ(table_->size(), 1u);
  table_->Tick();
  EXPECT_EQ(table_->size(), 0u);
  EXPECT_EQ(metrics_.Value("kvcompd_sequences_expired_total"), 1);
  ExpectEmpty();
}

TEST_F(SequenceTableTest, SequencesAreLimitedAndChecked) {
  EXPECT_TRUE(table_->Open(ns_, BlockKey(), kShard, 0).ok());
  EXPECT_EQ(table_->Open(ns_, BlockKey(), kShard, UINT32_MAX).value().ttl_ms, 3'600'000u);
  EXPECT_EQ(table_->Open(ns_, BlockKey(), kShard, 0).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.Value("kvcompd_sequences_refused_total", {{"reason", "limit"}}), 1);
  EXPECT_EQ(table_->Open(ns_, BlockKey(), {7, 0, 1, 0, 1}, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table_->Acquire(*Open("other"), handle_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace kvcompd::server
